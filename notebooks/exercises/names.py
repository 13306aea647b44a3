"""Which names a test asks for: a student must be able to find them all in what a notebook shows."""

import builtins
import symtable
from collections.abc import Iterator
from typing import Any

from notebooks.exercises.build import Notebook
from notebooks.exercises.student import shown


def unknown(book: Notebook) -> dict[str, set[str]]:
    """For each cell with tests, by grade_id, the names that it neither binds itself nor finds in a visible answer.

    A visible answer is what a solution cell binds outside its solution. Names that a test took from elsewhere could be
    missing there, or mean something else: each test imports what it uses.
    """
    answers: set[str] = set()
    found = {}
    for cell in book["cells"]:
        marks: dict[str, Any] = cell["metadata"].get("nbgrader", {})
        source = "".join(cell["source"])
        if marks.get("solution"):
            answers |= bound(shown(source))
        elif marks.get("grade"):
            missing = used(source) - bound(source) - answers - vars(builtins).keys()
            if missing:
                found[marks["grade_id"]] = missing
    return found


def bound(source: str) -> set[str]:
    """Names that the cell gives a meaning to, at its top level."""
    table = symtable.symtable(source, "cell", "exec")
    return {name.get_name() for name in table.get_symbols() if name.is_assigned() or name.is_imported()}


def used(source: str) -> set[str]:
    """Names that the cell looks up at its top level, from wherever."""

    def tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
        yield table
        for child in table.get_children():
            yield from tables(child)

    top = symtable.symtable(source, "cell", "exec")
    return {
        symbol.get_name()
        for table in tables(top)
        for symbol in table.get_symbols()
        if symbol.is_referenced() and (table is top or symbol.is_global())
    }
