"""Grade the exercises themselves, through nbgrader: `python -m notebooks.exercises.check [ASSIGNMENT ...]`.

For each assignment, in a course directory of its own that is thrown away afterwards:

- the notebook is what its text says, and the release version shows neither solutions nor hidden tests;
- it can be completed: every name that a test asks for stands in what students see;
- the solution scores full marks; the untouched release version scores zero in every graded cell;
- each wrong answer kept under `wrong/` loses points, with the message that is meant for it; one that only avoids the
  question gets none.

And once, for the first assignment: what is in accidents.py costs what it says there, and no other submission anything.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from nbgrader.api import Gradebook

from notebooks.exercises.accidents import ACCIDENTS, ASSIGNMENT, SECONDS
from notebooks.exercises.build import ASSIGNMENTS, HERE, Notebook, notebook, text_of
from notebooks.exercises.names import unknown

# nbgrader looks for alembic, which is installed beside it, on the path; one thread per kernel leaves room for two.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
os.environ["OPENBLAS_NUM_THREADS"] = "1"

FEWEST_WRONG_ANSWERS = 3
HABITS = ("library_call", "oracle_call", "library_differences", "differences")
"""Wrong answers that give the right numbers, and get no points at all: those of the tests that follow their cell."""
AT_ONCE = 2
"""Assignments graded at the same time."""


@dataclass(frozen=True)
class WrongAnswer:
    """A typical mistake: what stands in one solution cell instead of the solution, and the message it must meet."""

    name: str
    cell: str
    message: str
    reveals: str
    code: str

    @staticmethod
    def read(path: Path) -> "WrongAnswer":
        """Three comment lines, then the code. Raises ValueError if one is missing."""
        lines = path.read_text().splitlines(keepends=True)
        values = []
        for line, key in zip([*lines, "", "", ""], ("cell", "message", "reveals"), strict=False):
            if not line.startswith(f"# {key}: "):
                raise ValueError(f"{path}: expected a line `# {key}: ...`, got {line.strip()!r}; see the others")
            values.append(line.split(": ", 1)[1].strip())
        cell, message, reveals = values
        return WrongAnswer(path.stem, cell, message, reveals, "".join(lines[3:]))


def wrong_answers(name: str) -> list[WrongAnswer]:
    return [WrongAnswer.read(path) for path in sorted((HERE / "wrong" / name).glob("*.py"))]


def graded_cells(book: Notebook, kind: str) -> dict[str, Any]:
    """The cells that nbgrader calls `kind` ("solution" or "grade"), by their grade_id."""
    found = [(cell["metadata"].get("nbgrader", {}), cell) for cell in book["cells"]]
    return {marks["grade_id"]: cell for marks, cell in found if marks.get(kind)}


def tests_of(book: Notebook, solution: str) -> list[str]:
    """The cells with tests between a solution cell and the next."""
    marks = [cell["metadata"]["nbgrader"] for cell in book["cells"] if "nbgrader" in cell["metadata"]]
    start = next(i for i, mark in enumerate(marks) if mark["grade_id"] == solution) + 1
    return [mark["grade_id"] for mark in takewhile(lambda mark: mark["grade"], marks[start:])]


def answered(release: Notebook, answers: dict[str, str]) -> Notebook:
    """The release version with these sources in its solution cells."""
    book: Notebook = json.loads(json.dumps(release))
    for grade_id, cell in graded_cells(book, "solution").items():
        cell["source"] = answers.get(grade_id, cell["source"])
    return book


def errors_of(cell: dict[str, Any]) -> str:
    """The error messages among a cell's outputs, as plain text on one line."""
    texts = [f"{output['ename']}: {output['evalue']}" for output in cell["outputs"] if output["output_type"] == "error"]
    return " ".join(re.sub(r"\x1b\[[0-9;]*m", "", " ".join(texts)).split())


class Course:
    """nbgrader at work on one assignment in a temporary course directory."""

    def __init__(self, name: str, root: Path) -> None:
        self.name, self.root = name, root
        shutil.copytree(text_of(name).parent, root / "source" / name)
        self._nbgrader("generate_assignment")
        self.release = self._get("release")

    def submit(self, student: str, book: Notebook) -> None:
        self._put(book, "submitted", student)

    def grade(self, *options: str, all_can_be_read: bool = True) -> str:
        """Autograde what has not been graded; what nbgrader prints. It fails if a submission cannot be read."""
        return self._nbgrader("autograde", *options, returncode=0 if all_can_be_read else 1)

    def scores(self, student: str) -> dict[str, tuple[float, float]]:
        """Score and maximum of each graded cell."""
        with Gradebook(f"sqlite:///{self.root / 'gradebook.db'}", "ddg") as gradebook:
            (graded,) = gradebook.find_submission(self.name, student).notebooks
            return {grade.cell.name: (grade.score, grade.max_score) for grade in graded.grades}

    def text(self, student: str) -> str:
        """The graded notebook."""
        return self._place("autograded", student).read_text()

    def errors(self, student: str) -> dict[str, str]:
        """What each graded cell said."""
        graded = graded_cells(self._get("autograded", student), "grade")
        return {grade_id: errors_of(cell) for grade_id, cell in graded.items()}

    def _place(self, *step: str) -> Path:
        return self.root.joinpath(*step, self.name, f"{self.name}.ipynb")

    def _put(self, book: Notebook, *step: str) -> None:
        self._place(*step).parent.mkdir(parents=True)
        self._place(*step).write_text(json.dumps(book))

    def _get(self, *step: str) -> Notebook:
        book: Notebook = json.loads(self._place(*step).read_text())
        return book

    def _nbgrader(self, command: str, *options: str, returncode: int = 0) -> str:
        """Runs beside nbgrader_config.py, which it reads; its output. Raises RuntimeError if it ends otherwise."""
        arguments = ["nbgrader", command, self.name, f"--course-dir={self.root}", *options]
        done = subprocess.run([sys.executable, "-m", *arguments], cwd=HERE, capture_output=True, text=True, check=False)
        if done.returncode != returncode:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout + done.stderr


def examine(name: str) -> list[str]:
    """What is wrong with an assignment; nothing if all is well."""
    text = text_of(name)
    if not text.exists() or not text.with_suffix(".ipynb").exists():
        return [f"expected {text} and the notebook beside it, found at most one; write it, then run build"]
    source = json.loads(text.with_suffix(".ipynb").read_text())
    wrong = wrong_answers(name)
    problems = []
    if source != notebook(text):
        problems.append("expected the notebook to be what its text says, but it differs; run build")
    for cell, names in unknown(source).items():
        problems.append(f"{cell}: expected to import or to be shown what it uses, got {sorted(names)}")
    if len(wrong) < FEWEST_WRONG_ANSWERS:
        problems.append(f"expected at least {FEWEST_WRONG_ANSWERS} wrong answers, found {len(wrong)}; add some")

    with TemporaryDirectory() as folder:
        course = Course(name, Path(folder))
        released = sorted(path.name for path in (course.root / "release" / name).iterdir())
        if released != [f"{name}.ipynb"]:
            problems.append(f"expected the notebook alone to be released, got {released}")
        shown = json.dumps(course.release)
        problems += [f"the release version shows {mark!r}" for mark in ("SOLUTION", "HIDDEN TESTS") if mark in shown]
        if "BEGIN HIDDEN TESTS" not in json.dumps(source):
            problems.append("expected hidden tests, found none")

        solutions = {grade_id: cell["source"] for grade_id, cell in graded_cells(source, "solution").items()}
        course.submit("solution", answered(course.release, solutions))
        course.submit("untouched", course.release)
        for answer in wrong:
            if answer.cell not in solutions:
                problems.append(f"{answer.name}: expected a solution cell, got {answer.cell!r}; see the notebook")
            course.submit(answer.name, answered(course.release, solutions | {answer.cell: answer.code}))
        course.grade()

        for cell, (score, most) in course.scores("solution").items():
            if score != most:
                problems.append(f"solution: {score} of {most} in {cell}: {course.errors('solution')[cell]}")
        for cell, (score, _) in course.scores("untouched").items():
            if score or not course.errors("untouched")[cell]:
                problems.append(f"untouched: expected 0 and an error in {cell}, got {score}")
        for answer in wrong:
            errors, scores = course.errors(answer.name), course.scores(answer.name)
            lost = " | ".join(errors[cell] for cell, (score, most) in scores.items() if score < most)
            if answer.message not in lost:
                problems.append(f"{answer.name}: expected the message {answer.message!r}, got {lost!r}")
            if answer.name in HABITS:
                kept = [cell for cell in tests_of(source, answer.cell) if scores[cell][0]]
                problems += [f"{answer.name}: expected no points for a habit, got some in {cell}" for cell in kept]
        if name == ASSIGNMENT:
            problems += accidental(course, answered(course.release, solutions))
    return problems


def accidental(course: Course, solved: Notebook) -> list[str]:
    """Where an accident costs more, or less, than the guide says, or shows something else."""
    for accident in ACCIDENTS:
        folder = course.root / "submitted" / accident.name / course.name
        folder.mkdir(parents=True)
        (folder / f"{accident.file}.ipynb").write_text(accident.ruin(json.loads(json.dumps(solved))))
    printed = course.grade("--Contain.timeout=15", all_can_be_read=False)
    problems = []
    for accident in ACCIDENTS:
        lost = {cell: score for cell, (score, most) in course.scores(accident.name).items() if score < most}
        if lost != dict.fromkeys(accident.costs, 0):
            problems.append(f"{accident.name}: expected 0 in {list(accident.costs)} alone, got {lost}")
        if accident.shows not in (course.text(accident.name) if accident.graded else printed):
            problems.append(f"{accident.name}: expected to see {accident.shows!r}")
    if any(str(SECONDS) in (process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])):
        problems.append("processes: expected all that a submission starts to be ended")
    return problems


def main(names: list[str]) -> int:
    """The number of problems found, after printing them."""
    problems = []
    if not names:
        found = {path.name for folder in ("source", "wrong") for path in (HERE / folder).iterdir()}
        problems = [f"{name}: not among ASSIGNMENTS of build.py" for name in sorted(found - set(ASSIGNMENTS))]
    names = names or list(ASSIGNMENTS)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for name, its_problems in zip(names, pool.map(examine, names), strict=True):
            print(f"{name}: {'; '.join(its_problems) or 'as it should be'}", flush=True)
            problems += its_problems
    return len(problems)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
