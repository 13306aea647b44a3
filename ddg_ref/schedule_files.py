"""Schedules in files, in the CSV form of PyTorch: what each rank does between two flushes.

A row is a rank. A cell is an action, stage and micro-batch counted from 0: `1F3` is stage 1, forward, micro-batch 3. An
empty cell is a step in which the rank is idle: it says when, the order says what, and only the order counts here. This
is the computation-only form that PyTorch reads and writes (`torch/distributed/pipelining/schedules.py`:
`_Action.from_str`, `PipelineScheduleMulti._load_csv`; the rules are those of its `_validate_schedule`). F is a forward,
B a backward pass; I and W are a backward pass in two halves. A rank may have several stages.

The update that follows a flush is not in the file: each stage has one after the last action of its rank. Of two actions
that may overlap, `(0F1;0B0)OVERLAP_F_B`, the second is read as coming after the first: PyTorch does so, too, unless it
is given a function that does both. `1REDUCE_GRAD`, what copies of a stage do together, is read as nothing, as there is
one of each. What PyTorch writes besides is refused: communication (`1SEND_F0`, ...) and sharding (`1UNSHARD`, ...),
which follow from the actions or have no meaning here.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from io import StringIO
from math import inf
from pathlib import Path
from typing import TypeAlias, cast

import numpy as np

from ddg_ref.deadlock import Room, check, perform_flush
from ddg_ref.errors import InputError, ScheduleError, reason, shown
from ddg_ref.periods import Times
from ddg_ref.schedules import Action, Kind, Program, Schedule, in_iteration, one_each, parts, text
from ddg_ref.simulation import simulate

LARGEST = 1 << 19
"""Bytes of a file: a run keeps its schedule, and so does each of its checkpoints."""
CELL = re.compile("([0-9]{1,6})([FBIW])([0-9]{1,6})")
OVERLAPPED = re.compile(r"\(([^;]*);([^;]*)\)OVERLAP_F_B")
REDUCTION = re.compile("[0-9]{1,6}REDUCE_GRAD")
ELSEWHERE = re.compile(r"[0-9]+(UNSHARD|RESHARD|SEND_[FB]|RECV_[FB])[0-9]*")
"""What PyTorch knows besides."""

BEFORE: dict[Kind, tuple[Kind, ...]] = {"F": (), "B": ("F",), "I": ("F",), "W": ("I",)}
INSTEAD: dict[Kind, tuple[Kind, ...]] = {"F": (), "B": ("I",), "I": ("B",), "W": ()}

Cell: TypeAlias = tuple[int, Action] | None
"""(module, action), the module counted from 1; None for an idle step."""


@dataclass(frozen=True)
class ScheduleFile:
    """What each rank does in one iteration, whose micro-batches are 0, ..., M-1; also a `Schedule`, for its K and M.

    Raises InputError, one line that says where, unless every stage runs forward once on each micro-batch, and backward
    after that, all on one rank.
    """

    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        rank_of: dict[int, int] = {}
        done: set[tuple[int, Action]] = set()
        for rank, column, (k, action) in self._cells():
            cell, where = text(k, action), f"row {rank + 1}, column {column + 1}"
            if rank_of.setdefault(k, rank) != rank:
                raise InputError(
                    f"{where}: expected stage {k - 1} on one rank, that of row {rank_of[k] + 1}, got {cell}; move it"
                )
            if (k, action) in done:
                raise InputError(f"{where}: expected each action once, got {cell} again; leave it out")
            for kind in BEFORE[action.kind]:
                if (k, Action(kind, action.number)) not in done:
                    raise InputError(f"{where}: expected {k - 1}{kind}{action.number} before {cell}; change the order")
            for kind in INSTEAD[action.kind]:
                if (k, Action(kind, action.number)) in done:
                    raise InputError(
                        f"{where}: expected one backward pass, whole or in halves, got {cell} after "
                        f"{k - 1}{kind}{action.number}; leave one out"
                    )
            done.add((k, action))
        for rank, row in enumerate(self.rows):
            if not any(row):
                raise InputError(f"row {rank + 1}: expected actions, got none; a rank has one stage at least")
        if not done:
            raise InputError("expected a row of actions for each rank, got none; 0F0,0B0 is the smallest schedule")
        K, M = max(rank_of), 1 + max(action.number for _, action in done)
        for k in range(1, K + 1):
            if k not in rank_of:
                raise InputError(f"expected stages 0 to {K - 1}, got none of stage {k - 1}; add its actions")
            for n in range(M):
                if (k, Action("F", n)) not in done:
                    raise InputError(self._missing(k, rank_of[k], f"{k - 1}F{n}", M))
                if not {(k, Action("B", n)), (k, Action("W", n))} & done:
                    halves = (k, Action("I", n)) in done
                    raise InputError(self._missing(k, rank_of[k], f"{k - 1}{'W' if halves else 'B'}{n}", M))

    @staticmethod
    def _missing(k: int, rank: int, cell: str, M: int) -> str:
        return (
            f"row {rank + 1}: expected that stage {k - 1} runs forward and backward on micro-batches 0 to {M - 1}, "
            f"got no {cell}; add it"
        )

    def _cells(self) -> Iterator[tuple[int, int, tuple[int, Action]]]:
        for rank, row in enumerate(self.rows):
            for column, cell in enumerate(row):
                if cell is not None:
                    yield rank, column, cell

    @cached_property
    def K(self) -> int:  # noqa: N802
        """Number of stages, that is of modules."""
        return max(k for _, _, (k, _) in self._cells())

    @cached_property
    def M(self) -> int:  # noqa: N802
        """Into how many micro-batches a batch is split."""
        return 1 + max(action.number for _, _, (_, action) in self._cells())

    @cached_property
    def programs(self) -> tuple[Program, ...]:
        """What each rank does, with the updates."""
        return tuple(partial(self._program, [cell for cell in row if cell is not None]) for row in self.rows)

    def _program(self, cells: list[tuple[int, Action]], t: int) -> list[tuple[int, Action]]:
        own = [(k, action._replace(number=action.number + t * self.M)) for k, action in cells]
        return [*own, *((k, Action("U", t)) for k in sorted({k for k, _ in cells}))]

    def __call__(self, k: int, K: int, t: int, M: int) -> list[Action]:
        """What module k does in iteration t. Raises ScheduleError for another number of micro-batches, or no such k."""
        if M != self.M or not 1 <= k <= self.K:
            raise ScheduleError(
                f"expected a module from 1 to {self.K} and {self.M} micro-batches, as in the file, got module {k} and "
                f"{M}; ask for these"
            )
        own = [action._replace(number=action.number + t * M) for action in self._of_module[k]]
        return [*own, Action("U", t)]

    @cached_property
    def _of_module(self) -> dict[int, list[Action]]:
        found: dict[int, list[Action]] = {k: [] for k in range(1, self.K + 1)}
        for _, _, (k, action) in self._cells():
            found[k].append(action)
        return found

    def text(self) -> str:
        """The file; read again, it is this one."""
        lines = (",".join("" if cell is None else text(*cell) for cell in row) for row in self.rows)
        return "".join(f"{line}\n" for line in lines)

    def check(self, room: Room) -> None:
        """Raise ScheduleError, which says why, if the ranks block each other.

        Nothing is left in the channels after a flush, so one iteration is as good as all.
        """
        perform_flush(in_iteration(self.programs, 0), self.K, room)

    def expect_runnable(self) -> None:
        """Raise ScheduleError, one line, if this is more than the engines can run."""
        check(self, self.K, self.M, inf, self.programs)


@lru_cache(maxsize=16)
def parse(content: str) -> ScheduleFile:
    """The schedule in the text of a file. Raises InputError: row and column, expected, got."""
    rows: list[tuple[Cell, ...]] = []
    reader = csv.reader(StringIO(content, newline=""), strict=True)
    try:
        for row in reader:
            cells = [each for column, cell in enumerate(row, 1) for each in _cells(cell.strip(), len(rows) + 1, column)]
            while cells and cells[-1] is None:
                cells.pop()
            rows.append(tuple(cells))
    except csv.Error as error:
        raise InputError(
            f"row {len(rows) + 1}: expected cells with commas between them, got others ({error})"
        ) from None
    while rows and not rows[-1]:
        rows.pop()
    return ScheduleFile(tuple(rows))


def _cells(cell: str, row: int, column: int) -> list[Cell]:
    """What is written in one: an action, two that may overlap, or nothing."""
    if overlapped := OVERLAPPED.fullmatch(cell):
        return [_cell(part.strip(), row, column) for part in overlapped.groups()]
    if not cell or REDUCTION.fullmatch(cell):
        return [None]
    return [_cell(cell, row, column)]


def _cell(cell: str, row: int, column: int) -> tuple[int, Action]:
    found = CELL.fullmatch(cell)
    if found is None:
        hint = "correct it"
        if ELSEWHERE.fullmatch(cell):
            hint = "write computations only, one after the other: communication follows from them"
        raise InputError(
            f"row {row}, column {column}: expected an action like 0F0 (stage; F, B, I or W; micro-batch) or nothing, "
            f"got {shown(cell)}; {hint}"
        )
    stage, kind, number = found.groups()
    return int(stage) + 1, Action(cast("Kind", kind), int(number))


def read(path: Path) -> ScheduleFile:
    """The schedule in a file. Raises InputError, one line that names it, for any file that is not such a one."""
    try:
        if not path.is_file():
            raise InputError("expected a file with a schedule, got none; check the path")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise InputError(f"expected at most {LARGEST} bytes, got more; is it a schedule?")
        return parse(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"schedule {path}: expected text, got the byte {content[error.start]:#04x}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"schedule {path}: {reason(error)}") from None


def flushed(schedule: Schedule, K: int, M: int) -> ScheduleFile:
    """A schedule as a file has it, with idle steps where all actions take one. Raises InputError if it has no flush."""
    for k in range(1, K + 1):
        actions = list(schedule(k, K, 0, M))
        inside = all(action.kind in "FB" and action.number in parts(0, M) for action in actions[:-1])
        if not inside or actions[-1:] != [Action("U", 0)]:
            raise InputError(
                f"expected a schedule of forward and backward passes with a flush and one update at its end, got "
                f"{' '.join(text(k, action) for action in actions[:12])} for module {k} in iteration 0; such a file "
                "cannot say more"
            )
    step = np.full(K, float(M))
    rows = []
    for bars in simulate(one_each(schedule, K, M), Times(step, step, parts=M), 1):
        cells: list[Cell] = []
        for bar in bars[:-1]:
            cells += [None] * (round(bar.start) - len(cells))
            cells.append((bar.k, bar.action))
        rows.append(tuple(cells))
    return ScheduleFile(tuple(rows))


def from_text_or_path(given: str) -> ScheduleFile:
    """The schedule in a text, which has lines, or else in the file of that name. Raises InputError."""
    if "\n" not in given:
        return read(Path(given))
    try:
        return parse(given)
    except InputError as error:
        raise InputError(f"schedule file: {error}") from None
