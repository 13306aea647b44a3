"""What can be said of the exercises without running them; `make grade` runs them."""

import json
import linecache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

from ddg_ref.splitting import balance
from notebooks.exercises.accidents import ACCIDENTS, ALL_TESTS, ASSIGNMENT
from notebooks.exercises.grading import AnswerError, expect_close, expect_equal, for_every, own_work
from notebooks.exercises.names import unknown
from notebooks.exercises.oracles import check_best_cuts

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
        assert not (marks["solution"] and marks["grade"]), "a cell holds an answer, its tests, or what is given"
        assert marks["locked"] != marks["solution"]
        if marks["grade"]:
            assert marks["points"] > 0
            assert markers(cell) in ([], list(MARKERS[2:]))
        elif marks["locked"]:
            assert not markers(cell)
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


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_tests_import_what_they_use_and_ask_for_names_that_are_shown(name):
    assert unknown(NOTEBOOKS[name]) == {}


@pytest.mark.parametrize(
    ("answer", "test", "missing"),
    [
        ("### BEGIN SOLUTION\nx = 1\n### END SOLUTION", "print(x)", {"x"}),
        ("x = None\n### BEGIN SOLUTION\nx = 1\n### END SOLUTION", "print(x)", set()),
        ("def f():\n    ### BEGIN SOLUTION\n    x = 1\n    ### END SOLUTION", "def g():\n    return f() + x", {"x"}),
        ("import numpy as np\nx = None", "from numpy import sum\nsum(np.ones(x))", set()),
    ],
)
def test_a_name_that_is_not_shown_is_found(answer, test, missing):
    def cell(grade_id: str, code: str, *, solution: bool) -> dict:
        marks = {"grade_id": grade_id, "solution": solution, "grade": not solution}
        return {"metadata": {"nbgrader": marks}, "source": code}

    book = {"cells": [cell("a", answer, solution=True), cell("b", test, solution=False)]}
    assert unknown(book) == ({"b": missing} if missing else {})


@pytest.mark.parametrize("got", [[1, 2], (1, 2), range(1, 3), np.array([1, 2]), [np.int64(1), 2.0]])
def test_sequences_of_the_same_numbers_are_the_same_answer(got):
    expect_equal("numbers", got, [1, 2], "")
    expect_equal("pair", (0, got), [0, [1, 2]], "")
    expect_close("numbers", got, [1, 2], "")
    check_best_cuts(lambda costs, K: got, [1, 1, 1], 3)


@pytest.mark.parametrize("got", [None, "12", [1, None], [[1], [1, 2]], {}])
def test_what_holds_no_numbers_is_no_answer(got):
    with pytest.raises(AnswerError, match="expected numbers of shape"):
        expect_close("numbers", got, [1, 2], "")


def test_the_librarys_own_function_is_no_answer_while_one_is_tried():
    with pytest.raises(AnswerError, match="expected code of your own"):
        check_best_cuts(balance, [1, 2, 3], 2)
    assert balance([1, 2, 3], 2) == [2]
    with pytest.raises(ZeroDivisionError), own_work(balance):
        raise ZeroDivisionError
    assert balance([1, 2, 3], 2) == [2]


def test_a_message_quotes_the_line_of_an_answer_and_never_that_of_a_test():
    def run(name: str, code: str, **names: object) -> dict:
        path = f"/tmp/ipykernel_1/{name}.py"
        linecache.cache[path] = (len(code), None, code.splitlines(keepends=True), path)
        exec(compile(code, path, "exec"), names)
        return names

    answer = run("answer", "def answer(x):\n    return 1 / x\n")["answer"]
    test = "def test(x):\n    answer(x) + 'secret'\n"
    for divisor, expected in ((0, r"division by zero \(in the line `return 1 / x`\)"), (1, r"'str'\nInput")):
        with pytest.raises(AnswerError, match=expected) as failure:
            for_every(x=st.just(divisor))(run("test", test, answer=answer)["test"])
        assert "secret" not in str(failure.value)
