"""nbgrader's steps, with accidents contained: one costs at most the points of its own cell, and nobody else's.

`accept`, `Restore` and `Contain` are put in their places by nbgrader_config.py; accidents.py lists what they are for.
"""

import ast
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbconvert.preprocessors import ExecutePreprocessor
from nbformat.v4 import new_code_cell, new_output
from nbgrader import utils
from nbgrader.api import Gradebook
from nbgrader.preprocessors import Execute, NbGraderPreprocessor
from traitlets import Integer

from notebooks.exercises.kernel import LEFT_RUNNING

Cell = Any
Resources = Any


def accept(assignment: str, student: str, notebooks: list[str]) -> None:
    """Hook of nbgrader's, before a submission is read: its only notebook is graded whatever its name is.

    `notebooks` is the converter's list of paths, and is changed in place.
    """
    found = [Path(notebook) for notebook in notebooks]
    if len(found) == 1:
        wanted = found[0].with_name(f"{found[0].parent.name}.ipynb")
        if found[0] != wanted:
            shutil.copy(found[0], wanted)
            notebooks[:] = [str(wanted)]


class Restore(NbGraderPreprocessor):
    """Puts back the cells that were deleted, as they were released.

    nbgrader's `OverwriteCells.add_missing_cells` does so for tests alone, and fails if the cell before is missing too.
    """

    def preprocess(self, nb: Any, resources: Resources) -> tuple[Any, Resources]:
        marks = resources["nbgrader"]
        with Gradebook(marks["db_url"]) as gradebook:
            source = gradebook.find_notebook(marks["notebook"], marks["assignment"])
            graded = {cell.name: cell.max_score for cell in source.grade_cells}
            solutions = {cell.name for cell in source.solution_cells}
            after = 0  # where the next cell goes
            for cell in source.source_cells:
                places = [i for i, other in enumerate(nb.cells) if _grade_id(other) == cell.name]
                if not places:
                    self.log.warning("Cell %s is missing; it is put back as it was released", cell.name)
                    nb.cells.insert(after, _released(cell, graded.get(cell.name), cell.name in solutions))
                    places = [after]
                after = places[-1] + 1
        return nb, resources


def _grade_id(cell: Cell) -> str | None:
    found: str | None = cell.metadata.get("nbgrader", {}).get("grade_id")
    return found


def _released(cell: Any, points: float | None, solution: bool) -> Cell:
    """A code cell as the gradebook has it."""
    marks = {
        "grade_id": cell.name,
        "grade": points is not None,
        "locked": cell.locked,
        "solution": solution,
        "task": False,
        "schema_version": 3,
        "checksum": cell.checksum,
    }
    return new_code_cell(cell.source, metadata={"nbgrader": marks | ({} if points is None else {"points": points})})


class Contain(Execute):
    """Runs a submission. Where a cell ends its kernel, or does not end itself, a new kernel takes over.

    The new one is brought to where the old one was: the cells so far run again, without the tests, and without what
    the cell did that had the accident, except for the functions and classes that it defines.
    """

    max_output = Integer(100_000, help="Characters of output that are kept of a cell.").tag(config=True)

    def preprocess(self, nb: Any, resources: Resources, km: Any = None) -> tuple[Any, Resources]:
        self._again: list[str] = []  # what runs again of each cell so far
        before = resources["metadata"].get("path")
        with TemporaryDirectory() as folder:  # nothing that a cell deletes here is missed, one folder up included
            resources["metadata"]["path"] = str(Path(folder, "here"))
            Path(folder, "here").mkdir()
            try:
                return super().preprocess(nb, resources, km)
            finally:
                resources["metadata"]["path"] = before

    def preprocess_cell(self, cell: Cell, resources: Resources, index: int) -> tuple[Cell, Resources]:
        code = cell.source if cell.cell_type == "code" else ""
        accident = self._run(cell, index)
        graded = utils.is_grade(cell)
        self._again.append(definitions(code) if accident or graded else code)
        if accident:
            if not (graded and accident.startswith("left running")):  # the test has its result
                cell.outputs.append(new_output("error", ename="Accident", evalue=accident, traceback=[accident]))
            self._start_again()
        return cell, resources

    def _run(self, cell: Cell, index: int) -> str:
        """Executes the cell; what makes a new kernel necessary, if anything does."""
        self._accident, self._characters = "", 0
        try:
            ExecutePreprocessor.preprocess_cell(self, cell, self.resources, index)
        except DeadKernelError:
            self._accident = "this cell ended the kernel"
        except CellTimeoutError:  # nor did the output end when the cell was interrupted
            self._accident = "this cell did not end in time"
        return self._accident

    def _start_again(self) -> None:
        while True:
            self._cleanup_kernel()
            self.create_kernel_manager()
            self.start_new_kernel()
            self.start_new_kernel_client()
            for index, source in enumerate(self._again):
                cell = self.nb.cells[index]
                accident = self._run(new_code_cell(source), index)
                self.nb.cells[index] = cell
                if accident:
                    self._again[index] = "" if source == definitions(source) else definitions(source)
                    break
            else:
                return

    def on_cell_executed(self, **kwargs: Any) -> None:
        """Hook of nbclient's."""
        content = kwargs["execute_reply"]["content"]
        if content.get("ename") == self.error_on_timeout["ename"]:
            self._accident = "this cell did not end in time"
        else:
            super().on_cell_executed(**kwargs)
        for payload in content.get("payload", []):
            if payload["source"] == "ask_exit":
                self._accident = "this cell ended the kernel"
            elif payload["source"] == LEFT_RUNNING:
                self._accident = f"left running after this cell, and ended: {payload['text']}"

    def output(self, outs: list[Any], msg: dict[str, Any], display_id: str, cell_index: int) -> Any:
        """Hook of nbclient's. What is written to stderr is shown; nbgrader would take it for a failed test."""
        content = msg["content"]
        if msg["msg_type"] == "stream":
            content["name"] = "stdout"
            rest = max(0, self.max_output - self._characters)
            self._characters += len(content["text"])
            if not rest:
                return None
            if len(content["text"]) > rest:
                content["text"] = content["text"][:rest] + "\n(more output was left out)\n"
        return super().output(outs, msg, display_id, cell_index)


def definitions(source: str) -> str:
    """The imports, classes and functions of a cell, without tests that run where they are defined."""
    try:
        body: Sequence[ast.stmt] = ast.parse(source).body
    except SyntaxError:  # or IPython's own syntax
        return ""
    kept = [
        node
        for node in body
        if isinstance(node, ast.Import | ast.ImportFrom | ast.ClassDef | ast.FunctionDef)
        and not any("for_every" in ast.unparse(decorator) for decorator in getattr(node, "decorator_list", []))
    ]
    return "\n\n".join(ast.unparse(node) for node in kept)
