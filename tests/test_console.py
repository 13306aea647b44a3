"""What is printed is printed whole: on a narrow terminal, in a pipe, in any encoding."""

import io
import sys

import pytest
from rich.table import Table

from ddg_ref.tools.console import WholeConsole, console

ROWS = [("distance", "0.000562 > -0.000125", "family='sine', K=2, steps='harmonic'"), ("lemma", "5e-15", "gamma")]


def table(**options):
    result = Table(**options)
    for heading in ("claim", "worst measured/bound"):
        result.add_column(heading)
    result.add_column("attained at", overflow="fold")
    for row in ROWS:
        result.add_row(*row)
    return result


def printed(width, *objects, **options):
    file = io.StringIO()
    WholeConsole(file=file, force_terminal=True, color_system=None, width=width).print(*objects, **options)
    return file.getvalue()


@pytest.mark.parametrize("options", [{}, {"box": None, "pad_edge": False}], ids=["box", "plain"])
@pytest.mark.parametrize("width", [1, 2, 10, 40, 60, 79, 80, 81, 90, 200])
def test_no_cell_of_a_table_is_cut(width, options):
    lines = printed(width, table(**options)).splitlines()
    assert "…" not in "".join(lines)
    for claim, sides, _ in ROWS:
        assert any(claim in line and sides in line for line in lines)
    assert any("worst measured/bound" in line for line in lines)
    start = next(line for line in lines if "attained at" in line).index("attained at")
    folded = "".join(line[start:].strip(" │┃").ljust(16) for line in lines)
    for _, _, case in ROWS:
        assert case.replace(" ", "") in folded.replace(" ", "")


def test_a_column_that_may_fold_does_so_before_lines_become_longer_than_the_terminal():
    for width in (61, 70, 80):
        assert max(map(len, printed(width, table(box=None, pad_edge=False)).splitlines())) <= width
    whole = printed(200, table(box=None, pad_edge=False))
    assert ROWS[0][2] in whole
    assert max(map(len, whole.splitlines())) < 100


def test_words_and_numbers_longer_than_the_terminal_are_there():
    text = "found 0.123456789012345678901234567890123 at last"
    assert printed(20, text).replace("\n", "").replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8", "cp437"])
@pytest.mark.parametrize("stderr", [False, True])
def test_what_cannot_be_encoded_is_replaced(monkeypatch, encoding, stderr):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stderr" if stderr else "stdout", io.TextIOWrapper(raw, encoding, newline="\n"))
    shown = console(stderr=stderr)
    shown.print("γL ≤ 0.25, a name with \udce9", table(title="∇f"))
    print("γ", file=sys.stderr if stderr else sys.stdout, flush=True)
    text = raw.getvalue().decode(encoding)
    assert "0.25" in text
    assert ROWS[0][1] in text
    if encoding == "ascii":
        assert "\\u03b3L \\u2264 0.25" in text


def test_in_a_pipe_lines_are_as_long_as_they_need_to_be(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setenv("COLUMNS", "40")
    text = "number " * 100 + "0.1"
    console().print(text)
    console().print(table())
    assert text in file.getvalue().splitlines()
    assert ROWS[0][2] in file.getvalue()


@pytest.mark.parametrize("columns", ["0", "1", "40", "wide"])
def test_a_terminal_of_any_width(monkeypatch, columns):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    file = Terminal()
    monkeypatch.setattr(sys, "stdout", file)
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    console().print(table())
    assert ROWS[0][1] in file.getvalue()
