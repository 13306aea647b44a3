"""A console for results: a narrow terminal, or one that knows few characters, loses nothing of what was computed."""

import sys
from io import TextIOWrapper
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

NARROWEST = 16
"""What a column that may fold keeps at least."""
UNLIMITED = 100_000


class WholeConsole(Console):
    """A Console that never crops. Of a table only columns with overflow="fold" become narrower than what is in them;
    if that is not enough, its lines are longer than those of the terminal."""

    def print(self, *objects: Any, **options: Any) -> None:
        for table in objects:
            if isinstance(table, Table):
                self._fit(table)
        super().print(*objects, **{"crop": False, **options})

    def _fit(self, table: Table) -> None:
        unlimited = self.options.update_width(UNLIMITED)
        natural = width = Measurement.get(self, unlimited, table).maximum
        for column in table.columns:
            if column.overflow == "fold" and width > self.width:
                cells = (column.header, *column.cells)
                longest = max(Measurement.get(self, unlimited, cell).maximum for cell in cells)
                column.width = min(longest, max(NARROWEST, longest - (width - self.width)))
                width -= longest - column.width
        if natural > self.width:
            table.width = width


def accept_everything() -> None:
    """From here on a character that stdout or stderr cannot encode is written as its escape, as in "\\u2026"."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def console(*, stderr: bool = False) -> Console:
    """A console on stdout or stderr: as wide as the terminal, where there is none as wide as the lines are.

    From here on those streams accept everything, also from others.
    """
    accept_everything()
    shown = WholeConsole(stderr=stderr)
    return shown if shown.is_terminal and shown.width > 0 else WholeConsole(stderr=stderr, width=UNLIMITED)
