"""The documents read on a page as they do in an editor."""

import re
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
FOLDERS = ("benchmarks", "book", "docs", "notebooks", "theory")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.md"))])
STARTS = {"bullet_list_open", "ordered_list_open", "blockquote_open", "heading_open", "hr", "html_block"}
"""Blocks that a line within a paragraph begins when it begins with their mark."""


def faults(text: str) -> list[str]:
    """Where a line of running text or of inline code became something else because of how it begins."""
    found, ends = [], set()
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        lines = token.map or [0, 0]
        if token.type == "paragraph_open":
            ends.add((lines[1], token.level))
        if token.type in STARTS and (lines[0], token.level) in ends:
            found.append(f"line {lines[0] + 1}: {token.type} without an empty line before it")
        if token.type == "heading_open" and set(token.markup) <= set("-="):
            found.append(f"line {lines[1]}: makes a heading of the lines above it")
        for child in token.children or []:
            if child.type == "text" and "`" in child.content:
                found.append(f"line {lines[0] + 1}: inline code that does not end: {child.content}")
    return found


def body(path: Path) -> str:
    """Without the front matter of a lesson."""
    text = path.read_text(encoding="utf-8")
    return text.partition("\n---\n")[2] if text.startswith("---\n") else text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_line_becomes_something_else(path):
    assert faults(body(path)) == []


def test_all_documents_are_found():
    assert {"README.md", "PROOFS.md", "index.md", "05_the_drained_pipeline.md"} <= {path.name for path in DOCUMENTS}


@pytest.mark.parametrize(
    "text",
    [
        "so `f(x) >= f(w)\n- ||a||` holds",
        "so `f(x) >= f(w)\n+ ||a||` holds",
        "so `f(x) = f(w)\n* ||a||` holds",
        "so `f(x)\n> 0` holds",
        "so `f(x)\n# 0` holds",
        "so `1 + 2 =\n1. + 2.` holds",
        "so `a\n---\nb` holds",
        "so `a\n===\nb` holds",
        "* point: `f(x) >= f(w)\n  - ||a||` holds",
        "> quoted: `f(x) >= f(w)\n> - ||a||` holds",
        "so $f(x) \\ge f(w)\n- a$ holds",
        "a difference, x\n- y, of two words",
        "| a | b |\n|---|---|\n| `x|y` | z |",
        "one `code that nobody ends",
    ],
)
def test_lines_that_become_something_else_are_found(text):
    assert faults(text)


@pytest.mark.parametrize(
    "text",
    [
        "so `f(x) >= f(w) -\n||a||` holds",
        "one\n\n- two\n- three `x` and\n  `four\n  five`",
        "# A\n\n> b\n> c\n\n    - `d\n    - e\n\n| `f` | g |\n|---|---|\n| ``h ` i`` | j |",
        "```\na `b\n- c\n```",
    ],
)
def test_lines_that_stay_what_they_are_pass(text):
    assert faults(text) == []


GREEK = "alpha|beta|gamma|eta|kappa|lambda|mu|nu|phi|pi|psi|rho|sigma|tau|theta|xi|zeta"
SIGNS = r"\b\d?K-\d|\b[fgw]\*(?=[ ,.;`])|\b[a-zA-Z]_[a-z0-9{]|\w\^[\w{(]|<=|>=|\|\||\b(sqrt|grad|sum_\w)\b"
ASCII_FORMULA = re.compile(rf"(?<![\w\\-])({GREEK}|eps|Lam)(?![\w-])|{SIGNS}|~|\b[a-z]'(?= )|`({GREEK}|top)_")
"""Mathematics that was typed and not set. A name of code has none of it."""
MATHEMATICS = r"\$\$.*?\$\$|\$[^$]+\$"
HALF_SET = re.compile(r"<=|>=|\|\||(?<!\\)~|(?<!\.)\.\.(?!\.)|\\mathrm\{(?:eps|Lam|inf|sqrt|grad)\}")
"""What was typed and then put between the signs of mathematics."""
PRINTED = r"^\| claim \| as stated \|.*\n(\|.*\n)+"
"""A table that stands as a command prints it, in letters that a terminal has: `test_matrix.py` compares the two."""
NAMES = rf"`(?!\d|\(|K-|(?:{GREEK}|top)_)[\w.:\[\]()+-]+`|`python -m [^`]+`"
"""Of code: names, calls and commands."""
THEORY = (
    "theory/README.md",
    "theory/PROOFS.md",
    "book/theory.md",
    "book/guide/notation.md",
    "book/guide/cheatsheet.md",
)


def typed_formulas(text: str) -> list[str]:
    """Formulas outside $ .. $ and blocks of code, in running text, tables and inline code."""
    text = re.sub(r"^```.*?^```|^    [^\n]*$|^<!--.*?-->", "", text, flags=re.DOTALL | re.MULTILINE)
    half_set = [formula for formula in re.findall(MATHEMATICS, text, re.DOTALL) if HALF_SET.search(formula)]
    text = re.sub(MATHEMATICS, "", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "", text)
    text = re.sub(NAMES, "", text)
    text = re.sub(PRINTED, "", text, flags=re.MULTILINE)
    return half_set + [line for line in text.splitlines() if ASCII_FORMULA.search(line)]


@pytest.mark.parametrize("name", THEORY)
def test_formulas_are_set(name):
    assert typed_formulas((ROOT / name).read_text(encoding="utf-8")) == []


TYPED = [
    "for gamma L < 1",
    "so `||a|| <= b`",
    "`x^t`",
    "the w_k of now",
    "| K^4 |",
    "sqrt(M) times",
    "a step `eta/2`",
    "`2K-1`",
    "K-1 modules",
    "`(K-1/2)`",
    "at g* it",
    "`w*`",
    "at most `eta_j`",
    "`top_t` of them",
    "s' the same with",
    "$G$ + eps",
]
HALF = [r"\gamma ~ A", r"G + \mathrm{eps}", r"\text{of } R2..", "a <= b"]


@pytest.mark.parametrize("text", TYPED)
def test_typed_formulas_are_found(text):
    assert typed_formulas(text)
    assert typed_formulas(f"    indented\n\n```\n{text}\n```\n\n{text}\n")
    assert not typed_formulas(f"$$\n\\gamma^2\n$$\n\n    {text}\n\n`bounds.paper_m_k`, $\\gamma L \\le 1$, mu-law\n")


@pytest.mark.parametrize("text", HALF)
def test_formulas_that_are_half_set_are_found(text):
    assert typed_formulas(f"so ${text}$ holds")
    assert typed_formulas(f"$$\n{text}\n$$\n")
    assert not typed_formulas(r"$1, \dots, n$, $f_1, ..., f_n$, $a \sim b$, $\varepsilon$")
