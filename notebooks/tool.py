"""Runs the lessons. The text `NN_slug.md` is what people edit; the notebook `NN_slug.ipynb` is made from it.

    python -m notebooks.tool execute [NN...]   run the texts and write the notebooks, outputs included
    python -m notebooks.tool words [NN...]     write what changed around the code; outputs stay as they are
    python -m notebooks.tool check [NN...]     run them again and compare with the notebooks that are there

A cell tagged `timing` shows measured times: of its outputs only the kinds and the words are compared. Elsewhere words
and whole numbers must be the same, decimals agree to a thousandth (another processor rounds otherwise), and figures
agree pixel by pixel but for a few.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import re
import sys
import tempfile
from binascii import a2b_base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import zip_longest
from math import isclose
from pathlib import Path
from time import perf_counter

import jupytext
import nbformat
import numpy as np
from matplotlib.image import imread
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from notebooks import LESSONS, METADATA

HERE = Path(__file__).parent
ROOT = HERE.parent
LIMIT = 60
"""Seconds that a lesson may take on two cores."""
TIMING = "timing"
WIDGET = "application/vnd.jupyter.widget-view+json"
NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?")
PLACE = re.compile(rf"{re.escape(str(ROOT))}|\b0x[0-9a-f]{{6,}}|/(?:home|root|tmp|Users)/")
"""What differs from machine to machine or from run to run: paths and addresses."""


class LessonError(Exception):
    """One line that says what is wrong with a lesson."""


@dataclass(frozen=True)
class Course:
    """The lessons that should be in a folder, by slug, and how many seconds each may take."""

    folder: Path
    slugs: Sequence[str]
    limit: float = LIMIT

    def stray(self) -> list[str]:
        """Files that look like a lesson and are not one of them."""
        found = {path.stem for kind in ("md", "ipynb") for path in self.folder.glob(f"[0-9][0-9]_*.{kind}")}
        return sorted(found - set(self.slugs))

    def read_text(self, slug: str) -> NotebookNode:
        """The cells of the text, without outputs. Raises LessonError if it is missing."""
        path = self.folder / f"{slug}.md"
        if not path.exists():
            raise LessonError(f"{path.name} is missing: write it, or take it off notebooks.LESSONS")
        notebook = nbformat.v4.upgrade(jupytext.read(path, fmt="md:myst"))
        notebook.nbformat_minor = 5
        notebook.metadata = nbformat.from_dict(METADATA)
        ids: set[str] = set()
        for cell in notebook.cells:
            cell.id = _new_id(cell.source, ids)
        return notebook

    def read_notebook(self, slug: str) -> NotebookNode:
        """The notebook as it was written. Raises LessonError if it is missing or none."""
        path = self.folder / f"{slug}.ipynb"
        if not path.exists():
            raise LessonError(f"{path.name} is missing: python -m notebooks.tool execute {slug[:2]}")
        try:
            notebook = nbformat.read(path, as_version=4)
            nbformat.validate(notebook)
        except (ValueError, nbformat.ValidationError, nbformat.reader.NotJSONError) as error:
            raise LessonError(f"{path.name} is no notebook: {str(error).splitlines()[0]}") from None
        return notebook

    def run(self, slug: str) -> NotebookNode:
        """The text, run from top to bottom in a fresh kernel.

        Raises LessonError where it fails, takes too long, or has an output that no lesson may have.
        """
        notebook = self.read_text(slug)
        deadline, current = perf_counter() + self.limit, 0  # the time by when it must end, and the cell it is at

        def remaining(cell: NotebookNode) -> float:
            return max(1.0, deadline - perf_counter())

        def note(cell: NotebookNode, cell_index: int) -> None:
            nonlocal current
            current = cell_index

        with tempfile.TemporaryDirectory() as cache, _environment(cache):
            client = NotebookClient(
                notebook,
                kernel_name="python3",
                timeout_func=remaining,
                record_timing=False,
                coalesce_streams=True,  # else what is printed comes in pieces, now more, now fewer
                on_cell_start=note,
                extra_arguments=["--log-level=ERROR"],  # of the kernel; what it has to say to readers is in the cells
                resources={"metadata": {"path": str(self.folder)}},
            )
            client.widget_registry = {}  # its own handling of widgets now and then waits for an answer that never comes
            try:
                client.execute()
            except CellTimeoutError:
                raise LessonError(f"{_name(notebook, current)} was at work when {self.limit:g} s were over") from None
            except CellExecutionError as error:
                raise LessonError(f"{_name(notebook, current)} raised {error.ename}: {error.evalue}") from None
            except DeadKernelError:
                raise LessonError(f"{_name(notebook, current)} ended the kernel") from None
        if perf_counter() > deadline:
            raise LessonError(f"took {self.limit + perf_counter() - deadline:.1f} s, more than {self.limit:g} s in all")
        _raise_first(flaws(notebook))
        _clean(notebook)
        return notebook

    def execute(self, slug: str) -> None:
        """Run the text and write the notebook. Raises LessonError, and then writes nothing."""
        notebook = self.run(slug)
        nbformat.write(notebook, self.folder / f"{slug}.ipynb")

    def words(self, slug: str) -> None:
        """Write the notebook anew from the text and its own outputs. Raises LessonError if the code is another one."""
        text, notebook = self.read_text(slug), self.read_notebook(slug)
        ours, theirs = ([cell for cell in each.cells if cell.cell_type == "code"] for each in (text, notebook))
        for cell, done in zip_longest(ours, theirs):
            if cell is None or done is None or cell.source != done.source:
                name = _name(text, text.cells.index(cell)) if cell else _name(notebook, notebook.cells.index(done))
                raise LessonError(f"{name} differs between text and notebook: execute the lesson again")
            cell.outputs, cell.execution_count = done.outputs, done.execution_count
        nbformat.write(text, self.folder / f"{slug}.ipynb")

    def check(self, slug: str) -> None:
        """Raises LessonError unless text, notebook and what comes out when it is run now belong together."""
        text, committed = self.read_text(slug), self.read_notebook(slug)
        _raise_first(out_of_step(text, committed))
        _raise_first(flaws(committed))
        _raise_first(changes(committed, self.run(slug)))


def _raise_first(problems: Iterator[str]) -> None:
    for problem in problems:
        raise LessonError(problem)


def _new_id(source: str, taken: set[str]) -> str:
    """From the source alone, so that a cell keeps its id when others come and go."""
    for copy in range(len(taken) + 1):
        found = hashlib.sha256(f"{copy} {source}".encode()).hexdigest()[:8]
        if found not in taken:
            break
    taken.add(found)
    return found


@contextmanager
def _environment(cache: str) -> Iterator[None]:
    """What the kernel inherits: this copy of the library, no costs measured before, the same sums on any processor."""
    new = {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "DDG_REF_CACHE": cache,
        "IPYTHONDIR": cache,
        "OPENBLAS_NUM_THREADS": "1",
    }
    if platform.machine() in ("x86_64", "AMD64"):
        new["OPENBLAS_CORETYPE"] = "Haswell"  # else OpenBLAS sums in an order that depends on the processor
    old = {name: os.environ.get(name) for name in new}
    os.environ.update(new)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _clean(notebook: NotebookNode) -> None:
    """Drop widgets, which live only as long as a kernel, with what they show, and what a run adds to metadata."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = nbformat.from_dict(METADATA["language_info"])
    for cell in notebook.cells:
        if cell.cell_type == "code":
            if any(WIDGET in output.get("data", {}) for output in cell.outputs):
                cell.outputs = []
            for output in cell.outputs:
                if "metadata" in output:
                    output.metadata = {}


def _name(notebook: NotebookNode, index: int) -> str:
    """A cell, so that one finds it: its number and its first line."""
    first = notebook.cells[index].source.strip().partition("\n")[0]
    return f"cell {index + 1} ({first[:60]})"


def _tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))


def _edited(cell: NotebookNode) -> tuple[object, ...]:
    """What people edit in a text; captions and descriptions of figures stand under `mystnb`."""
    return cell.cell_type, cell.source, _tags(cell), cell.metadata.get("mystnb")


def out_of_step(text: NotebookNode, notebook: NotebookNode) -> Iterator[str]:
    """Where the cells of the two differ."""
    for index, (ours, theirs) in enumerate(zip_longest(text.cells, notebook.cells)):
        if ours is None:
            yield f"{_name(notebook, index)} is in the notebook only: execute the lesson again"
        elif theirs is None:
            yield f"{_name(text, index)} is in the text only: execute the lesson again"
        elif _edited(ours) != _edited(theirs):
            yield f"{_name(text, index)} differs between text and notebook: execute the lesson again"


def flaws(notebook: NotebookNode) -> Iterator[str]:
    """Outputs that no lesson may have: errors, warnings, paths and addresses of a machine."""
    for index, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"{_name(notebook, index)} shows an error: {output.ename}: {output.evalue}"
            elif output.get("name") == "stderr":
                yield f"{_name(notebook, index)} writes to stderr: {output.text.strip().splitlines()[0]}"
            for words in _texts(output).values():
                found = PLACE.search(words)
                if found:
                    yield f"{_name(notebook, index)} shows {found[0]!r}, which is different on every machine"


def changes(committed: NotebookNode, fresh: NotebookNode) -> Iterator[str]:
    """Where the outputs of two notebooks with the same cells differ."""
    for index, (old, new) in enumerate(zip(committed.cells, fresh.cells, strict=True)):
        if old.cell_type != "code":
            continue
        olds, news = old.outputs, new.outputs
        if [_kind(output) for output in olds] != [_kind(output) for output in news]:
            yield f"{_name(fresh, index)} now gives {_kinds(news)} instead of {_kinds(olds)}"
            continue
        for before, after in zip(olds, news, strict=True):
            yield from (f"{_name(fresh, index)}: {change}" for change in _changes(before, after, TIMING in _tags(new)))


def _kind(output: NotebookNode) -> tuple[str, ...]:
    return (output.output_type, output.get("name", ""), *sorted(output.get("data", {})))


def _kinds(outputs: list[NotebookNode]) -> str:
    return ", ".join(" ".join(filter(None, _kind(output))) for output in outputs) or "nothing"


def _texts(output: NotebookNode) -> dict[str, str]:
    """The outputs that are words, by kind; beside a picture its description is none of them."""
    if output.output_type == "stream":
        return {"text": output.text}
    data = dict(output.get("data", {}))
    if "image/png" in data:
        del data["image/png"]
        data.pop("text/plain", None)
    return {kind: value if isinstance(value, str) else str(value) for kind, value in data.items()}


def _changes(old: NotebookNode, new: NotebookNode, timing: bool) -> Iterator[str]:
    same: Callable[[str, str], bool] = same_words if timing else same_text
    news = _texts(new)
    for kind, before in _texts(old).items():
        if not same(before, news[kind]):
            yield _first_difference(before, news[kind], same)
    if not timing and "image/png" in old.get("data", {}):
        difference = picture_difference(old.data["image/png"], new.data["image/png"])
        if difference:
            yield f"the figure changed: {difference}"


def same_words(old: str, new: str) -> bool:
    """Equal but for the numbers, and for the blanks that line them up."""
    return [NUMBER.sub("#", old).split()] == [NUMBER.sub("#", new).split()]


def same_text(old: str, new: str) -> bool:
    """Equal, decimals up to a thousandth of their size."""
    return NUMBER.sub("#", old) == NUMBER.sub("#", new) and all(
        a == b or ("." in a and "." in b and isclose(float(a), float(b), rel_tol=1e-3))
        for a, b in zip(NUMBER.findall(old), NUMBER.findall(new), strict=True)
    )


def _first_difference(old: str, new: str, same: Callable[[str, str], bool]) -> str:
    for before, after in zip_longest(old.splitlines(), new.splitlines(), fillvalue=""):
        if not same(before, after):
            return f"was {before.strip()[:80]!r}, now {after.strip()[:80]!r}"
    return "the lines end differently"


def picture_difference(old: str, new: str) -> str:
    """In what two PNGs, in base 64, differ; empty if in next to nothing."""
    first, second = (imread(BytesIO(a2b_base64(png)), format="png") for png in (old, new))
    if first.shape != second.shape:
        return f"{first.shape[1]} x {first.shape[0]} pixels before, {second.shape[1]} x {second.shape[0]} now"
    part = float((np.abs(first - second).max(axis=-1) > 0.1).mean())
    return f"{100 * part:.2f}% of its pixels" if part > 0.001 else ""


def find(numbers: Sequence[str]) -> list[str]:
    """Slugs of the lessons with these numbers, all of them for none."""
    by_number = {int(slug[:2]): slug for slug in LESSONS}
    wanted = [int(text) if text.isdecimal() else 0 for text in numbers] or list(by_number)
    for number, text in zip(wanted, numbers, strict=False):
        if number not in by_number:
            raise LessonError(f"expected numbers of lessons, 1 to {len(LESSONS)}, got {text!r}")
    return [by_number[number] for number in wanted]


def go_through(course: Course, task: str, slugs: Sequence[str]) -> int:
    """Execute, reword or check these lessons of the course, one line each; the number of failures."""
    failures = 0
    for slug in slugs:
        started = perf_counter()
        try:
            getattr(course, task)(slug)
        except LessonError as error:
            failures += 1
            print(f"FAILED  {slug}: {error}", flush=True)
        else:
            print(f"ok      {slug}  {perf_counter() - started:.1f} s", flush=True)
    for slug in course.stray():
        failures += 1
        print(f"FAILED  {slug}: not listed in notebooks.LESSONS; add it there, or remove the file")
    return failures


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m notebooks.tool", description="Execute, reword or check the lessons."
    )
    parser.add_argument("task", choices=("execute", "words", "check"))
    parser.add_argument("numbers", nargs="*", metavar="NN", help="numbers of lessons (all)")
    chosen = parser.parse_args(arguments)
    try:
        slugs = find(chosen.numbers)
    except LessonError as error:
        parser.error(str(error))
    failures = go_through(Course(HERE, LESSONS), chosen.task, slugs)
    if failures:
        print(f"{failures} failed")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
