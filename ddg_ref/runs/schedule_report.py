"""What there is to say of a schedule before anything is trained: who does what when, how fast, with how much memory."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from os.path import exists
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.table import Table

from ddg_ref import schedule_files, versions
from ddg_ref.deadlock import check
from ddg_ref.errors import InputError, ScheduleError, choose, whole
from ddg_ref.interleaving import NAMED
from ddg_ref.methods import METHODS
from ddg_ref.periods import Times
from ddg_ref.runs import plots
from ddg_ref.runs.config import FROM_FILE
from ddg_ref.schedule_files import ScheduleFile
from ddg_ref.schedules import Program, Schedule, one_each, owners, text
from ddg_ref.simulation import Bar, pace, simulate
from ddg_ref.tools.files import write_figure, write_new

MODULES = 4
"""How many a schedule with a name is shown with, if nothing is said; one of `NAMED` with as many micro-batches."""
WIDTH = 100
"""Characters in a line where there is no terminal."""
WIDEST = 4000
"""Columns of a diagram, before it is wrapped."""
DRAWINGS = (".png", ".svg")


@dataclass(frozen=True)
class Subject:
    """The schedule that is looked at: a row of `METHODS`, a name in `NAMED`, or a file."""

    name: str
    schedule: Schedule
    K: int
    M: int
    programs: Sequence[Program]
    file: ScheduleFile | None = None

    @staticmethod
    def of(what: str, modules: int | None = None, micro_batches: int | None = None) -> "Subject":
        """What FILE or NAME stands for. Raises InputError if it is neither, or does not have such numbers."""
        if what in NAMED:
            K, M = MODULES if modules is None else modules, MODULES if micro_batches is None else micro_batches
            file = NAMED[what](K, M)
            return Subject(what, file, file.K, file.M, file.programs, file)
        if what not in METHODS:
            if not exists(what) and not Path(what).suffix:
                choose("schedule", what, [*METHODS, *NAMED, "the path of a file"])
            file = schedule_files.read(Path(what))
            for name, given, own in (("modules", modules, file.K), ("micro_batches", micro_batches, file.M)):
                if given is not None and given != own:
                    raise InputError(f"{name}: expected {own}, as in {what}, got {given}; leave it out")
            return Subject(Path(what).name, file, file.K, file.M, file.programs, file)
        row, K = METHODS[what], whole("modules", MODULES if modules is None else modules, 1)
        M = whole("micro_batches", row.micro_batches if micro_batches is None else micro_batches, 1)
        if row.micro_batches != M and "micro_batches" not in row.options:
            raise InputError(f"micro_batches: method {what} has no such option; leave it out")
        return Subject(what, row.schedule, K, M, one_each(row.schedule, K, M))

    def verdict(self, capacity: int) -> list[str]:
        """Why nobody ever blocks, in a line or two. Raises ScheduleError, which says who does."""
        whole("capacity", capacity, 1)
        if self.file is None:
            proof = check(self.schedule, self.K, self.M, capacity)
            waiting = max(proof.waiting.values(), default=0)
            again = "the same again" if proof.period == 1 else f"the same again every {proof.period} iterations"
            return [
                f"no deadlock: every action of an iteration can happen, from iteration {proof.settled} on it is "
                f"{again}, and the pipeline can be drained after each; at most {waiting} of {capacity} messages wait "
                "in a channel between two iterations"
            ]
        self.file.check(lambda a, b: capacity)
        lines = ["no deadlock: every action of a flush can happen, and nothing is left in the channels after it"]
        try:
            self.file.expect_runnable()
        except ScheduleError as error:
            lines.append(f"the engines cannot run it: {error}")
        return lines

    def iterations(self) -> int:
        """So many show what there is to see: one with a flush, else the warm-up of module 1 and three more."""
        goes_back = [action.number for own in self.programs for _, action in own(0) if action.kind not in "FU"]
        behind = -min(goes_back) // self.M
        return behind + 3 if behind else 1


def times_of(subject: Subject, latency: float, **given: str) -> Times:
    """Times per module, of one micro-batch: one number for all modules, or one for each with commas between.

    Raises InputError, which names the option.
    """
    each = {name: _numbers(name, value, subject.K) for name, value in given.items()}
    for name in each.keys() - {"update"}:
        each[name] = each[name] * subject.M
    return Times(latency=latency, parts=subject.M, **each)


def _numbers(name: str, value: str, K: int) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, K):
        raise InputError(f"{name}: expected one number, or {K} with commas between, got {value:.40}; change it")
    return np.full(K, numbers[0]) if len(numbers) == 1 else np.array(numbers)


def diagram(bars: Sequence[Sequence[Bar]], labels: Sequence[str], width: int) -> list[str]:
    """A row of characters per worker, wrapped to `width`: `|` where an action begins, its name, dots where it is idle.

    An action is as wide as it is long, and the shortest one wide enough for its name, unless all would be wider than
    `WIDEST`. One that takes no time is not shown.
    """
    shown = [[bar for bar in own if bar.stop > bar.start] for own in bars]
    end = max((bar.stop for own in shown for bar in own), default=0.0)
    if end == 0:
        return []
    name = _namer(bars)
    scale = max((len(name(bar)) + 1) / (bar.stop - bar.start) for own in shown for bar in own)
    scale = min(scale, WIDEST / end)
    total = round(end * scale)
    rows = []
    for own in shown:
        row = ["."] * total
        for bar in own:
            first, last = round(bar.start * scale), round(bar.stop * scale)
            row[first:last] = f"|{name(bar)}".ljust(last - first)[: last - first]
            if last < total and row[last] == ".":
                row[last] = "|"
        rows.append("".join(row))
    prefix = max(map(len, labels))
    room = max(20, width - prefix - 1)
    lines = []
    for begin in range(0, total, room):
        if begin:
            lines.append("")
        lines.append(f"{'time':<{prefix}} {begin / scale:g}")
        lines += [f"{label:<{prefix}} {row[begin : begin + room]}" for label, row in zip(labels, rows, strict=True)]
    return lines


def _namer(bars: Sequence[Sequence[Bar]]) -> Callable[[Bar], str]:
    """Actions are named by stage, kind and number where a worker has several stages; else the row says which."""
    several = any(len({bar.k for bar in own}) > 1 for own in bars)
    return lambda bar: text(bar.k, bar.action)[0 if several else len(str(bar.k - 1)) :]


def labels_of(subject: Subject) -> list[str]:
    """What the rows of a diagram are called."""
    crews = [sorted({k for k, _ in own(0)}) for own in subject.programs]
    if all(len(crew) == 1 for crew in crews):
        return [f"module {crew[0]}" for crew in crews]
    return [f"rank {rank}" for rank in range(len(crews))]


class Shown(NamedTuple):
    """What is printed of a schedule, and what is drawn."""

    diagram: list[str]
    table: Table
    summary: list[str]
    bars: list[list[Bar]]


def show(subject: Subject, times: Times, capacity: int, iterations: int | None, width: int) -> Shown:
    """All there is to say. Raises ScheduleError if somebody blocks."""

    def room(a: int, b: int) -> float:
        return capacity

    verdict = subject.verdict(capacity)
    bars = simulate(subject.programs, times, subject.iterations() if iterations is None else iterations, room=room)
    found, labels = pace(subject.programs, times, room=room), labels_of(subject)
    table = Table(box=None, pad_edge=False)
    for name in ("module", "on", "delay", "weights kept", "in flight", "idle %"):
        table.add_column(name, justify="right")
    worker_of = owners(subject.programs)
    for k in range(1, subject.K + 1):
        held = versions.held(subject.schedule, k, subject.K, subject.M)
        delay = versions.delay(subject.schedule, k, subject.K, subject.M)
        idle = f"{100 * found.bubble[worker_of[k]]:.1f}"
        table.add_row(str(k), labels[worker_of[k]], str(delay), str(held.versions), str(held.micro_batches), idle)
    about = "" if found.exact else "about "
    summary = [
        f"an iteration takes {about}{found.period:.6g}, on one device {found.on_one_device:.6g}: speed-up "
        f"{about}{found.speed_up:.3g} with {len(bars)} workers, which are idle for {100 * np.mean(found.bubble):.1f}% "
        "of the time",
        *verdict,
    ]
    heading = f"{subject.name}: K = {subject.K}, M = {subject.M}"
    return Shown([heading, "", *diagram(bars, labels, width), ""], table, summary, bars)


def write(subject: Subject, bars: list[list[Bar]], path: Path) -> None:
    """The drawing (.png, .svg), or the schedule as a file (.csv). Raises InputError for another suffix, WriteError."""
    if path.suffix == ".csv":
        file = subject.file or schedule_files.flushed(subject.schedule, subject.K, subject.M)
        write_new(path, file.text())
    else:
        name = _namer(bars)
        figure = plots.schedule(bars, labels_of(subject), name, title=f"{subject.name} K={subject.K} M={subject.M}")
        write_figure(path, figure)


def options_of(options: Mapping[str, Any], given: Set[str]) -> dict[str, Any]:
    """What the options of a run become with its schedule file, whose text it keeps. Raises InputError."""
    what = options["schedule_file"]
    named = what in NAMED
    if named:
        own = {name: options[name] for name in ("modules", "micro_batches") if name in given}
        file = Subject.of(what, **own).file
        assert file is not None
    else:
        file = schedule_files.read(Path(what))
    if "method" in given:
        raise InputError(
            f"method: expected none beside a schedule file, got {options['method']}; leave one of them out"
        )
    chosen: dict[str, Any] = {"schedule_file": file.text(), "method": FROM_FILE}
    if named:
        chosen["micro_batches"] = None  # which the file says
    return chosen if "modules" in given else chosen | {"modules": file.K}


def expect_form(path: Path) -> Path:
    """`path`, whose suffix says what is to be written. Raises InputError for one that says nothing."""
    if path.suffix not in (*DRAWINGS, ".csv"):
        raise InputError(f"out: expected a name that ends in {', '.join(DRAWINGS)} or .csv, got {path}; change it")
    return path
