"""The tool that runs the lessons finds what it is there to find. The lessons themselves: `make lessons`."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from jupytext.cli import jupytext

from notebooks import LESSONS
from notebooks.tool import Course, LessonError, changes, find, go_through, out_of_step, picture_difference, same_text

SLUG = "01_tiny"
TEXT = """---
jupytext:
  formats: ipynb,md:myst
---

# A tiny lesson

```{code-cell} ipython3
from matplotlib.figure import Figure

print("one", 0.5)
```

```{code-cell} ipython3
:tags: [timing]

from time import perf_counter

print(f"it is {perf_counter():.3f} s")
```

```{code-cell} ipython3
from ddg_ref.runs.plots import Picture

picture = Picture(2, 1)
axes = picture.add_subplot()
axes.plot([0, 1])
picture
```
"""


@pytest.fixture(scope="module")
def executed(tmp_path_factory) -> Course:
    """The tiny lesson, executed once."""
    course = Course(tmp_path_factory.mktemp("course"), [SLUG])
    (course.folder / f"{SLUG}.md").write_text(TEXT)
    course.execute(SLUG)
    return course


@pytest.fixture
def course(executed: Course, tmp_path: Path) -> Course:
    """A copy of it that a test may spoil, whose runs come out as the first one did."""

    class Rerun(Course):
        def run(self, slug: str) -> nbformat.NotebookNode:
            return executed.read_notebook(slug)

    for path in executed.folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return Rerun(tmp_path, [SLUG])


def spoil(course: Course, change: Callable[[nbformat.NotebookNode], None]) -> None:
    notebook = course.read_notebook(SLUG)
    change(notebook)
    nbformat.write(notebook, course.folder / f"{SLUG}.ipynb")


def lesson(folder: Path, code: str, **options: float) -> Course:
    """A lesson of one cell, not yet executed."""
    (folder / f"{SLUG}.md").write_text(TEXT[: TEXT.index("```")] + f"```{{code-cell}} ipython3\n{code}\n```\n")
    return Course(folder, [SLUG], **options)


def test_a_second_run_agrees(executed, tmp_path):
    executed.check(SLUG)
    path = executed.folder / f"{SLUG}.ipynb"
    once = json.loads(path.read_text())
    executed.execute(SLUG)
    again = json.loads(path.read_text())
    for cell in (once["cells"][2], again["cells"][2]):  # the measured time
        del cell["outputs"]
    assert once == again
    assert set(once["metadata"]) == {"jupytext", "kernelspec", "language_info"}
    assert all(cell["metadata"].keys() <= {"tags"} for cell in once["cells"])


def test_a_changed_output_is_found(course):
    def change(notebook):
        notebook.cells[1].outputs[0].text = "two 0.5\n"

    spoil(course, change)
    with pytest.raises(LessonError, match=r"cell 2 \(from matplotlib.*\): was 'two 0.5', now 'one 0.5'"):
        course.check(SLUG)


def test_a_changed_figure_is_found(course, tmp_path_factory):
    code = "from ddg_ref.runs.plots import Picture\np = Picture(2, 1)\np.add_subplot().plot([1, 0])\np"
    other = lesson(tmp_path_factory.mktemp("other"), code)
    other.execute(SLUG)
    figure = other.read_notebook(SLUG).cells[1].outputs[0]

    def change(notebook):
        notebook.cells[3].outputs[0].data["image/png"] = figure.data["image/png"]

    spoil(course, change)
    with pytest.raises(LessonError, match=r"cell 4 .* the figure changed: \d"):
        course.check(SLUG)
    png = figure.data["image/png"]
    assert picture_difference(png, png) == ""


def test_a_missing_output_is_found(course):
    def change(notebook):
        notebook.cells[1].outputs = []

    spoil(course, change)
    with pytest.raises(LessonError, match="now gives stream stdout instead of nothing"):
        course.check(SLUG)


def test_measured_times_may_change_and_words_beside_them_may_not(course):
    def slower(notebook):
        notebook.cells[2].outputs[0].text = "it is 1.25 s\n"

    spoil(course, slower)
    course.check(SLUG)

    def reworded(notebook):
        notebook.cells[2].outputs[0].text = "it was 1.25 s\n"

    spoil(course, reworded)
    with pytest.raises(LessonError, match=r"cell 3 .* was 'it was 1.25 s'"):
        course.check(SLUG)


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("a 0.50001", "a 0.50002", True),
        ("a 0.500", "a 0.502", False),
        ("a 7", "a 8", False),
        ("a 70001", "a 70002", False),
        ("1.5e-3 b", "1.5e-4 b", False),
        ("a 0.5", "b 0.5", False),
        ("0.5", "0.5 0.5", False),
    ],
)
def test_text_is_compared_to_a_thousandth(old, new, same):
    assert same_text(old, new) is same


@pytest.mark.parametrize("kind", ["md", "ipynb"])
def test_a_missing_file_is_found(course, kind, capsys):
    (course.folder / f"{SLUG}.{kind}").unlink()
    assert go_through(course, "check", [SLUG]) == 1
    assert f"{SLUG}.{kind} is missing" in capsys.readouterr().out


def test_a_file_that_is_no_lesson_is_found(course, capsys):
    (course.folder / "02_other.ipynb").touch()
    assert go_through(course, "check", [SLUG]) == 1
    assert "02_other: not listed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("# A tiny lesson", "# A small lesson", r"cell 1 \(# A small lesson\) differs"),
        ('print("one", 0.5)', 'print("one", 1 / 2)', r"cell 2 .* differs"),
        (":tags: [timing]\n", ":tags: [other]\n", r"cell 3 .* differs"),
        (
            ":tags: [timing]\n",
            "---\nmystnb: {figure: {caption: New.}}\ntags: [timing]\n---\n",
            r"cell 3 .* differs",
        ),
        ("picture\n```\n", "picture\n```\n\nThe end.\n", r"cell 5 \(The end.\) is in the text only"),
        (TEXT[TEXT.rindex("```{code-cell}") :], "", r"cell 4 .* is in the notebook only"),
    ],
)
def test_text_and_notebook_out_of_step_are_found(course, old, new, message):
    path = course.folder / f"{SLUG}.md"
    assert TEXT.count(old) == 1
    path.write_text(TEXT.replace(old, new))
    with pytest.raises(LessonError, match=message):
        course.check(SLUG)


REWORDED = TEXT.replace("A tiny lesson", "Of words").replace("tags: [timing]\n", "tags: [timing, hide-input]\n")


def test_new_words_leave_outputs_as_they_are(course):
    path = course.folder / f"{SLUG}.ipynb"
    before = path.read_bytes()
    course.words(SLUG)
    assert path.read_bytes() == before
    (course.folder / f"{SLUG}.md").write_text(REWORDED + "\nThe end.\n")
    old = course.read_notebook(SLUG)
    course.words(SLUG)
    new = course.read_notebook(SLUG)
    assert list(out_of_step(course.read_text(SLUG), new)) == []
    assert (new.cells[0].source, new.cells[-1].source) == ("# Of words", "The end.")
    assert [cell.get("outputs") for cell in new.cells[:-1]] == [cell.get("outputs") for cell in old.cells]


@pytest.mark.parametrize(
    ("old", "new", "cell"),
    [
        ('print("one", 0.5)', 'print("one", 1 / 2)', "cell 2 "),
        ("picture\n```\n", "picture\n```\n\n```{code-cell} ipython3\n2\n```\n", r"cell 5 \(2\)"),
        (TEXT[TEXT.rindex("```{code-cell}") :], "", "cell 4 "),
    ],
)
def test_outputs_are_not_kept_for_other_code(course, old, new, cell):
    (course.folder / f"{SLUG}.md").write_text(REWORDED.replace(old, new))
    path = course.folder / f"{SLUG}.ipynb"
    before = path.read_bytes()
    with pytest.raises(LessonError, match=f"{cell}.*differs.*execute the lesson again"):
        course.words(SLUG)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("1 / 0", r"cell 2 \(1 / 0\) raised ZeroDivisionError: division by zero"),
        ("import sys\nprint('oh', file=sys.stderr)", "writes to stderr: oh"),
        ("import warnings\nwarnings.warn('careful')", "writes to stderr: .*UserWarning: careful"),
        ("object()", "shows '0x.*', which is different on every machine"),
        ("import os\nos._exit(1)", r"cell 2 \(import os\) ended the kernel"),
        (
            "from ipywidgets import interact\ninteract(lambda x: 1 / (x - 3), x=(1, 5))\nNone",
            "shows an error: ZeroDivisionError",
        ),
    ],
)
def test_a_lesson_that_fails_is_not_written(tmp_path, code, message):
    with pytest.raises(LessonError, match=message):
        lesson(tmp_path, code).execute(SLUG)
    assert not (tmp_path / f"{SLUG}.ipynb").exists()


def test_an_error_that_was_committed_is_found(course):
    def change(notebook):
        notebook.cells[1].outputs = [nbformat.v4.new_output("error", ename="E", evalue="oh", traceback=[])]

    spoil(course, change)
    with pytest.raises(LessonError, match="shows an error: E: oh"):
        course.check(SLUG)


def test_a_lesson_that_takes_too_long_is_stopped_and_the_cell_named(tmp_path):
    course = lesson(tmp_path, "import time\ntime.sleep(100)", limit=1)
    with pytest.raises(LessonError, match=r"cell 2 \(import time\) was at work when 1 s were over"):
        course.execute(SLUG)


def test_a_lesson_whose_cells_take_too_long_together_is_refused(tmp_path):
    with pytest.raises(LessonError, match=r"took [\d.]+ s, more than 0.1 s in all"):
        lesson(tmp_path, "import time\ntime.sleep(0.2)", limit=0.1).execute(SLUG)


def test_a_cell_with_a_widget_leaves_no_output(tmp_path):
    course = lesson(tmp_path, "from ipywidgets import interact\ninteract(lambda x: print(x), x=(1, 5))\nprint('here')")
    course.execute(SLUG)
    assert course.read_notebook(SLUG).cells[1].outputs == []
    course.check(SLUG)


def test_nothing_changes_between_equal_notebooks(executed):
    notebook = executed.read_notebook(SLUG)
    assert not list(changes(notebook, notebook))


def test_lessons_are_found_by_number():
    assert find([]) == list(LESSONS)
    assert find(["02", "1"]) == [LESSONS[1], LESSONS[0]]
    with pytest.raises(LessonError, match="1 to 10, got 'ten'"):
        find(["ten"])


ROOT = Path(__file__).parents[1]
TEXTS = sorted([*ROOT.glob("notebooks/[0-9]*.md"), *ROOT.glob("notebooks/exercises/source/*/*.md")])


def saved_elsewhere(notebook: dict) -> None:
    """What other versions of Jupyter and Python, on other machines, write into a notebook that they save."""
    notebook["nbformat_minor"] = max(5, nbformat.current_nbformat_minor)
    notebook["metadata"] |= {
        "kernelspec": {"display_name": "My environment", "language": "python", "name": "my-environment"},
        "language_info": {
            "codemirror_mode": {"name": "ipython", "version": 3},
            "file_extension": ".py",
            "mimetype": "text/x-python",
            "name": "python",
            "nbconvert_exporter": "python",
            "pygments_lexer": "ipython3",
            "version": "3.99.1",
        },
        "toc": {"base_numbering": 1},
        "widgets": {"application/vnd.jupyter.widget-state+json": {"state": {}}},
    }
    for count, cell in enumerate(notebook["cells"]):
        cell["metadata"] |= {"editable": True, "slideshow": {"slide_type": ""}, "trusted": True, "vscode": {"id": "a"}}
        if cell["cell_type"] == "code":
            cell["execution_count"] = count
            cell["metadata"] |= {
                "collapsed": False,
                "execution": {"iopub.status.busy": "now"},
                "jupyter": {"busy": True},
            }


@pytest.mark.parametrize("change", [lambda notebook: None, saved_elsewhere])
@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.stem)
def test_a_saved_notebook_changes_in_its_text_what_was_changed_in_it(text, change, tmp_path):
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    copy = tmp_path / text.relative_to(ROOT)
    copy.parent.mkdir(parents=True)
    copy.write_bytes(text.read_bytes())
    jupytext(["--to", "ipynb", "--quiet", str(copy)])  # with the cells of the text, and the metadata of the notebook
    notebook = json.loads(copy.with_suffix(".ipynb").read_text())
    notebook["metadata"] = json.loads(text.with_suffix(".ipynb").read_text())["metadata"]
    change(notebook)
    first = next(cell for cell in notebook["cells"] if cell["cell_type"] == "markdown")
    first["source"] = ["Changed.\n", *first["source"]]
    copy.with_suffix(".ipynb").write_text(json.dumps(notebook))
    os.utime(copy, (1, 1))  # the notebook is the newer one
    jupytext(["--sync", "--quiet", str(copy.with_suffix(".ipynb"))])
    header, body = text.read_text().split("---\n\n", 1)
    assert copy.read_text() == f"{header}---\n\nChanged.\n{body}"


@pytest.mark.parametrize("slug", LESSONS)
def test_no_lesson_shows_the_loop_that_exercise_5_lets_students_repair(slug):
    text = (ROOT / "notebooks" / f"{slug}.ipynb").read_text()
    assert "def work(" not in text
    assert "right.give_activation(" not in text
