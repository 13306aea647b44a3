"""What every lesson has, whatever it is about; found by reading it. That it runs is for `make lessons`."""

import re
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest

from notebooks import LESSONS

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
WIDTH = 104
"""Of a page of the book, in letters of code."""
WORDS, LINES, PREDICTION, QUESTION = 120, 20, 0.75, 1.5
"""A minute has so many words, or lines of code; a prediction and a question take so many minutes. Formulas count as a
word each. It fits what readers were told at first where they were right, and is no more than that."""
PICTURES = r"(?:picture|figure)s?"
BELOW, ABOVE = rf"\b{PICTURES} below\b|\bbelow is a {PICTURES}\b", rf"\b{PICTURES} above\b"

every_lesson = pytest.mark.parametrize("slug", LESSONS)


def body(slug: str) -> str:
    """The text, without front matter."""
    return (FOLDER / f"{slug}.md").read_text(encoding="utf-8").partition("\n---\n")[2]


def minutes(text: str) -> float:
    """How long it takes to read, without what is optional and without the answers."""
    text = re.sub(r"<details>.*?</details>", "", text, flags=re.DOTALL)
    code = "".join(re.findall(r"```\{code-cell\}.*?\n(.*?)```", text, flags=re.DOTALL))
    prose = re.sub(
        r"\$\$.*?\$\$|\$[^$]+\$", " formula ", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.DOTALL
    )
    lines = sum(bool(line.strip()) for line in code.splitlines())
    questions = 3 * QUESTION
    return len(re.findall(r"\w+", prose)) / WORDS + lines / LINES + PREDICTION * prose.count("**Predict") + questions


def broken_promises(cells: list[nbformat.NotebookNode]) -> list[str]:
    """Pictures that the text says are above or below, where no cell near it has one."""
    found = []
    for place, cell in enumerate(cells):
        if cell.cell_type != "markdown":
            continue
        text = " ".join(cell.source.split())
        for promise, near in ((BELOW, cells[place + 1 : place + 4]), (ABOVE, cells[max(0, place - 6) : place])):
            if re.search(promise, text) and not any(has_picture(other) for other in near):
                found.append(re.search(promise, text)[0])
    return found


def has_picture(cell: nbformat.NotebookNode) -> bool:
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def uncaptioned(cells: list[nbformat.NotebookNode]) -> list[str]:
    """First lines of the cells that have a picture and no caption, or a caption and no picture."""
    captions = [bool(cell.metadata.get("mystnb", {}).get("figure", {}).get("caption")) for cell in cells]
    return [
        cell.source.partition("\n")[0]
        for cell, caption in zip(cells, captions, strict=True)
        if has_picture(cell) != caption
    ]


def longest_line(book: nbformat.NotebookNode) -> int:
    """How many letters the longest line of code, or of what code printed, has."""
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    printed = [output.get("text", "") for cell in code for output in cell.outputs]
    printed += [output.get("data", {}).get("text/plain", "") for cell in code for output in cell.outputs]
    texts = [cell.source for cell in code] + printed
    return max((len(line) for text in texts for line in text.split("\n")), default=0)


def notebook(slug: str) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / f"{slug}.ipynb", as_version=4)


@every_lesson
def test_it_says_why_and_how_long_and_what_is_needed(slug):
    opening, found, rest = body(slug).partition("After this lesson you can")
    assert found
    assert len(opening.split()) >= 40, "an opening that says why"
    (stated,) = re.findall(r"About (\d+) minutes\b", rest)
    assert minutes(body(slug)) == pytest.approx(int(stated), rel=0.2)
    assert re.search(r"You need \w+", rest)


@every_lesson
def test_its_questions_have_answers_that_are_hidden(slug):
    questions = body(slug).partition("## Questions")[2]
    for number in range(1, 4):
        assert re.search(rf"(?m)^(\*\*)?{number}\.", questions)
    assert questions.count("<details><summary>Answer</summary>") == questions.count("</details>") == 3


@pytest.mark.parametrize(("slug", "following"), list(pairwise(LESSONS)))
def test_it_leads_on(slug, following):
    assert f"({following}.ipynb)" in body(slug).rpartition("Next: ")[2]


@every_lesson
def test_no_line_is_clipped(slug):
    assert longest_line(notebook(slug)) <= WIDTH


@every_lesson
def test_pictures_that_are_promised_are_there(slug):
    assert broken_promises(notebook(slug).cells) == []


@every_lesson
def test_every_caption_has_its_picture(slug):
    assert uncaptioned(notebook(slug).cells) == []


def test_a_caption_without_a_picture_is_found():
    caption = {"mystnb": {"figure": {"caption": "Two paths."}}}
    cell = nbformat.v4.new_code_cell("interact(plane)", metadata=caption)
    assert uncaptioned([cell]) == ["interact(plane)"]
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": ""})]
    assert uncaptioned([cell]) == []
    cell.metadata = nbformat.from_dict({"mystnb": {"image": {"alt": "Two paths."}}})
    assert uncaptioned([cell]) == ["interact(plane)"]


def test_a_promise_without_a_picture_is_found():
    text = nbformat.v4.new_markdown_cell("With a kernel there is a slider; the picture\nbelow shows one case.")
    widget, code = nbformat.v4.new_code_cell("interact(draw)"), nbformat.v4.new_code_cell("draw()")
    assert broken_promises([text, widget]) == ["picture below"]
    code.outputs = [nbformat.v4.new_output("display_data", {"image/png": ""})]
    assert broken_promises([text, widget, code]) == []
    assert broken_promises([nbformat.v4.new_markdown_cell("as the figures above show")]) == ["figures above"]


def test_long_lines_are_found():
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x" * 50 + "\n" + "y" * 105)])
    assert longest_line(book) == 105
    printed = nbformat.v4.new_output("stream", name="stdout", text="z" * 106 + "\n")
    book.cells[0].outputs = [printed]
    assert longest_line(book) == 106


def test_time_is_counted():
    assert minutes("word " * 1200) == pytest.approx(14.5)
    assert minutes("> **Predict.** $a + b = c$\n") == pytest.approx(2 / 120 + 5.25)
    assert minutes("```{code-cell} ipython3\n" + "x = 1\n" * 40 + "```\n") == pytest.approx(6.5)
    assert minutes("<details><summary>Answer</summary>\n" + "word " * 1200 + "</details>") == pytest.approx(4.5)
