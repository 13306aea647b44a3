"""IPython extension for the kernels that run submissions: keeps a cell's accident from reaching the cells after it.

Memory is limited, so that MemoryError comes before the system ends other people's processes. `%reset` does nothing.
After each cell a builtin that is hidden by a value (`sum = 0`, `list = [1, 2]`) is uncovered again, and the working
directory is the one it was, and there. Threads and processes that a cell leaves running are reported to
`contain.Contain`, which starts a new kernel.
"""

import builtins
import os
import sys
import threading
from typing import Any

import psutil
from IPython.core.error import UsageError

GIBIBYTES = 4
"""Of address space for one kernel. Every reference solution needs less than one."""
GRACE = 0.5
"""Seconds that threads may take to end after their cell."""
LEFT_RUNNING = "left_running"
"""Source of the payload that reports threads and processes; Jupyter's frontends ignore those that they do not know."""


def load_ipython_extension(shell: Any) -> None:
    """Called by IPython, before the first cell."""
    _limit_memory()
    for name in ("reset", "reset_selective"):
        shell.register_magic_function(_refuse, "line", name)
    before: set[threading.Thread] = set()

    def remember(info: Any) -> None:
        before.update(threading.enumerate())

    here = os.getcwd()

    def tidy(result: Any) -> None:
        os.makedirs(here, exist_ok=True)
        os.chdir(here)
        for name in _hidden_builtins(shell):
            del shell.user_ns[name]
        left = _left_running(before)
        if left:
            shell.payload_manager.write_payload({"source": LEFT_RUNNING, "text": ", ".join(left)}, single=False)

    shell.events.register("pre_run_cell", remember)
    shell.events.register("post_run_cell", tidy)


def _refuse(line: str) -> None:
    raise UsageError("the cells after this one need what the cells before it have defined: not done")


def _limit_memory() -> None:
    """Only Linux keeps to this limit; Windows has none of the kind."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (GIBIBYTES * 2**30,) * 2)


def _hidden_builtins(shell: Any) -> list[str]:
    """Names of functions and types that now stand for something that cannot be called."""
    names = vars(builtins).keys() & shell.user_ns.keys()
    return [
        name
        for name in names
        if callable(getattr(builtins, name)) and not callable(shell.user_ns[name]) and name != "_"
    ]


def _left_running(before: set[threading.Thread]) -> list[str]:
    """What did not run before the cell and does not end within the grace."""
    threads = [thread for thread in threading.enumerate() if thread not in before]
    for thread in threads:
        thread.join(GRACE / len(threads))
    names = [f"thread {thread.name}" for thread in threads if thread.is_alive()]
    processes = psutil.Process().children(recursive=True)
    _, alive = psutil.wait_procs(processes, timeout=GRACE if processes else 0)
    return names + [f"process {process.pid}" for process in alive if process.status() != psutil.STATUS_ZOMBIE]
