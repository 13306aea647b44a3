"""What happens to submissions by accident, what it costs, and what the instructor sees: the table of the guide.

`check` makes each of these submissions of exercise 1, from its solution, and grades them together.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from notebooks.exercises.build import Notebook

ASSIGNMENT = "01_backward_of_a_layer"
CELL = "softplus"
"""The solution cell that has the accident; two others, and four with tests, come after it."""
ITS_TESTS = ("softplus-by-hand", "softplus-hidden")
ALL_TESTS = (*ITS_TESTS, "rms-norm-by-hand", "rms-norm-hidden")

SECONDS = 98765
"""For how long threads and processes would run: a number by which they are recognised."""


@dataclass(frozen=True)
class Accident:
    """A submission: the solution, then `ruin`."""

    name: str
    what: str
    ruin: Callable[[Notebook], str]
    """Changes the notebook, and gives the text of the file."""
    costs: tuple[str, ...] = ()
    """Cells with tests that get 0 points. All others get theirs."""
    shows: str = ""
    """What stands in the graded notebook or, if `graded` is false, in what `nbgrader autograde` prints."""
    file: str = ASSIGNMENT
    graded: bool = True
    do: str = ""
    """What is left for the instructor to do."""

    def row(self) -> str:
        """Its line in the guide."""
        costs = {(): "nothing", ITS_TESTS: "the points of its cell", ALL_TESTS: "all"}[self.costs]
        return f"| {self.what} | {costs} | {f'`{self.shows}`' if self.shows else ''} | {self.do} |"


def _cell(book: Notebook) -> dict[str, Any]:
    found: dict[str, Any] = next(cell for cell in book["cells"] if _grade_id(cell) == CELL)
    return found


def _grade_id(cell: dict[str, Any]) -> object:
    return cell["metadata"].get("nbgrader", {}).get("grade_id")


def after(code: str) -> Callable[[Notebook], str]:
    """The code stands at the end of the cell."""

    def ruin(book: Notebook) -> str:
        _cell(book)["source"] = "".join(_cell(book)["source"]) + f"\n\n{code}\n"
        return json.dumps(book)

    return ruin


def inside(code: str) -> Callable[[Notebook], str]:
    """The code stands at the beginning of the function that the tests call."""

    def ruin(book: Notebook) -> str:
        line = "        x = cache\n"
        source = "".join(_cell(book)["source"])
        _cell(book)["source"] = source.replace(line, f"{line}        {code}\n")
        return json.dumps(book)

    return ruin


def without(*grade_ids: str) -> Callable[[Notebook], str]:
    """These cells are deleted."""

    def ruin(book: Notebook) -> str:
        book["cells"] = [cell for cell in book["cells"] if _grade_id(cell) not in grade_ids]
        return json.dumps(book)

    return ruin


def saved(nbformat: int, nbformat_minor: int, *, ids: bool) -> Callable[[Notebook], str]:
    """The file has another version, and cell ids or none."""

    def ruin(book: Notebook) -> str:
        for cell in book["cells"]:
            if not ids:
                cell.pop("id")
        return json.dumps(book | {"nbformat": nbformat, "nbformat_minor": nbformat_minor})

    return ruin


ENDED = "this cell ended the kernel"
LATE = "this cell did not end in time"
LEFT = "left running after this cell"
UNREAD = "There was an error processing assignment"
AGAIN = "put the file right or ask for it again, then `nbgrader autograde` once more: it grades what has no marks yet"
DEAF = """import time
while True:
    try:
        time.sleep(1)
    except BaseException:
        pass"""
THREADS = f"""import threading, time
for _ in range(20):
    threading.Thread(target=time.sleep, args=({SECONDS},)).start()"""
PROCESSES = f"import subprocess\nprocesses = [subprocess.Popen(['sleep', '{SECONDS}']) for _ in range(20)]"


def unreadable(name: str, what: str, ruin: Callable[[Notebook], str]) -> Accident:
    return Accident(name, what, ruin, ALL_TESTS, UNREAD, graded=False, do=AGAIN)


ACCIDENTS = (
    Accident("os_exit", "`os._exit(0)`", after("import os\nos._exit(0)"), shows=ENDED),
    Accident("os_exit_inside", "in a function: `os._exit(0)`", inside("import os; os._exit(0)"), ITS_TESTS, ENDED),
    Accident("quit", "`quit()`, `exit()`", after("quit()"), shows=ENDED),
    Accident("quit_inside", "in a function: `quit()`, `exit()`", inside("quit()"), ITS_TESTS, ENDED),
    Accident("sys_exit", "`sys.exit()`", after("import sys\nsys.exit()"), shows="SystemExit"),
    Accident("sys_exit_inside", "in a function: `sys.exit()`", inside("raise SystemExit"), ITS_TESTS, "SystemExit"),
    Accident("no_test", "a deleted test cell", without("softplus-hidden")),
    Accident("no_setup", "a deleted or changed cell that was given", without("setup")),
    Accident("no_answer", "a deleted answer", without(CELL), ITS_TESTS, "NotImplementedError"),
    Accident("no_cells", "a deleted answer and its tests", without(CELL, *ITS_TESTS), ITS_TESTS, "NotImplementedError"),
    Accident("syntax", "a syntax error", after("if x = 1:"), ITS_TESTS, "SyntaxError"),
    Accident("output", "100 MB of output", after("print('x' * 10**8)"), shows="(more output was left out)"),
    Accident("warning", "warnings, and whatever goes to stderr", inside("import warnings; warnings.warn('careful')")),
    Accident("loop", "an endless loop", after("while True:\n    pass"), shows=LATE),
    Accident("loop_inside", "in a function: an endless loop", inside("while True: pass"), ITS_TESTS, LATE),
    Accident("deaf_loop", "an endless loop that catches every exception", after(DEAF), shows=LATE),
    Accident("print_loop", "an endless loop that prints", after("while True:\n    print('x' * 1000)"), shows=LATE),
    Accident("memory", "100 GB of memory", after("np.ones(10**11 // 8)"), shows="MemoryError"),
    Accident("input", "`input()`", after("input()"), shows="StdinNotImplementedError"),
    Accident("threads", "threads left running", after(THREADS), shows=LEFT),
    Accident("processes", "processes left running", after(PROCESSES), shows=LEFT),
    Accident("reset", "`%reset`", after("%reset -f"), shows="the cells after this one need"),
    Accident("builtins", "values with names of builtins: `list = [1]`, `sum = 0`", after("list = sum = range = 0")),
    Accident("rm", "`!rm -rf *`", after("!rm -rf * ../*")),
    Accident("renamed", "the notebook under another name", json.dumps, file="My exercise (1)"),
    Accident("newer_minor", "saved with a newer minor version of the format", saved(4, 99, ids=True)),
    Accident("no_ids", "saved without cell ids", saved(4, 5, ids=False)),
    unreadable("newer_major", "saved with another major version of the format", saved(9, 0, ids=True)),
    unreadable("broken_json", "a file that is not JSON", lambda book: json.dumps(book)[:-9]),
)
