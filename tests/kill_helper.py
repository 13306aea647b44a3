"""Trains from the command line in forked children, killed with SIGKILL at random moments, until the run is finished.

`python kill_helper.py DIRECTORY KILLS OPTIONS...` prints one line of JSON. Children are forked once everything is
imported, so that the kills fall on training and on writing; every other one waits for a checkpoint being written.
"""

import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import matplotlib.pyplot  # noqa: F401 - imported by the command only as it ends
from sklearn import datasets  # noqa: F401

from ddg_ref.cli import main as cli
from ddg_ref.runs.checkpoints import list_checkpoints
from ddg_ref.runs.training import Training


def child(arguments: list[str]) -> int:
    """Run `ddg_ref` with these arguments in a process of its own; returns as it begins to train."""
    begun, begins = os.pipe()
    pid = os.fork()
    if pid:
        os.close(begins)
        os.read(begun, 1)
        os.close(begun)
        return pid

    def epochs(training, *callbacks, original=Training.epochs):
        os.write(begins, b"!")
        return original(training, *callbacks)

    code = 1
    try:
        Training.epochs = epochs
        sys.argv = ["ddg_ref", *arguments]
        os.fsync = lambda _: time.sleep(0.002)  # a disk takes its time, so kills fall between the steps of writing
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        cli.main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0
    finally:
        os._exit(code or 0)


def ended(pid: int) -> int | None:
    """The exit status, or None while the process runs."""
    found, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if found else None


def unfinished(directory: Path) -> set[tuple[str, int]]:
    """The checkpoints that are being written, or were when their process was killed."""
    found = set()
    for path in directory.glob("checkpoints/.*.tmp"):
        with suppress(FileNotFoundError):  # renamed meanwhile
            found.add((path.name, path.stat().st_ctime_ns))
    return found


def main() -> None:
    directory, kills, options = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    rng = random.Random(0)
    killed = while_writing = 0
    while True:
        old, resumes = unfinished(directory), bool(list_checkpoints(directory))
        pid = child(["train", "--resume", str(directory)] if resumes else ["train", "--out", str(directory), *options])
        status = None
        if killed < kills:
            begun = time.monotonic()
            wanted = rng.uniform(0, 0.15)
            after = rng.uniform(0, 0.014)
            while status is None and time.monotonic() - begun < wanted:
                status = ended(pid)
            while killed % 2 and status is None and not unfinished(directory) - old:
                status = ended(pid)
            begun = time.monotonic()
            while status is None and time.monotonic() - begun < after:
                status = ended(pid)
            if status is None:
                os.kill(pid, signal.SIGKILL)
        if status is None:
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status == -signal.SIGKILL:
            killed += 1
            while_writing += bool(unfinished(directory) - old)
        else:
            break
    print(json.dumps({"status": status, "killed": killed, "while_writing": while_writing}))


if __name__ == "__main__":
    main()
