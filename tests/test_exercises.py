"""What can be said of the exercises without running them; `make grade` runs them."""

import json
from pathlib import Path

import pytest

from notebooks.exercises.accidents import ACCIDENTS, ALL_TESTS, ASSIGNMENT

EXERCISES = Path(__file__).parents[1] / "notebooks" / "exercises"
NOTEBOOKS = {path.stem: json.loads(path.read_text()) for path in sorted(EXERCISES.glob("source/*/*.ipynb"))}
MARKERS = ("### BEGIN SOLUTION", "### END SOLUTION", "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")


def markers(cell: dict) -> list[str]:
    return [line.strip() for line in cell["source"] if line.strip() in MARKERS]


def test_there_are_eight_exercises():
    assert len(NOTEBOOKS) >= 8


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_cells_are_marked_as_nbgrader_wants_them(name):
    ids = []
    for cell in NOTEBOOKS[name]["cells"]:
        assert not cell.get("outputs"), "sources carry no outputs"
        marks = cell["metadata"].get("nbgrader")
        if marks is None:
            assert not markers(cell)
            continue
        ids.append(marks["grade_id"])
        assert marks["schema_version"] == 3
        assert marks["solution"] != marks["grade"], "a cell holds an answer or its tests"
        assert marks["locked"] == marks["grade"]
        if marks["grade"]:
            assert marks["points"] > 0
            assert markers(cell) in ([], list(MARKERS[2:]))
        else:
            regions = len(markers(cell)) // 2
            assert regions
            assert markers(cell) == list(MARKERS[:2]) * regions
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_exercise_is_worth_ten_points(name):
    marks = [cell["metadata"].get("nbgrader", {}) for cell in NOTEBOOKS[name]["cells"]]
    assert sum(mark.get("points", 0) for mark in marks) == 10


WRONG_ANSWERS = sorted(EXERCISES.glob("wrong/*/*.py"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_exercise_has_wrong_answers_and_a_row_in_the_guide(name):
    assert sum(path.parent.name == name for path in WRONG_ANSWERS) >= 3
    assert f"`{name}` |" in (EXERCISES / "README.md").read_text()


@pytest.mark.parametrize("path", WRONG_ANSWERS, ids=lambda path: path.stem)
def test_the_guide_explains_every_wrong_answer(path):
    message, reveals = (line.split(": ", 1)[1] for line in path.read_text().splitlines()[1:3])
    row = f"| {int(path.parent.name[:2])} | `{path.stem}` | {message} | {reveals} |"
    assert row in (EXERCISES / "README.md").read_text()


def test_the_guide_has_the_table_of_accidents():
    rows = "\n".join(accident.row() for accident in ACCIDENTS)
    assert f"|---|---|---|---|\n{rows}\n\n" in (EXERCISES / "README.md").read_text()


def test_accidents_happen_to_the_cells_that_there_are():
    marks = [cell["metadata"].get("nbgrader", {}) for cell in NOTEBOOKS[ASSIGNMENT]["cells"]]
    assert tuple(mark["grade_id"] for mark in marks if mark.get("grade")) == ALL_TESTS
