"""`python -m docs.schedules`: writes the table of `book/schedules.md`, all of it computed but the last column."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddg_ref import schedule_files
from ddg_ref.interleaving import interleaved, zero_bubble
from ddg_ref.methods import METHODS
from ddg_ref.periods import Times
from ddg_ref.schedule_files import ScheduleFile
from ddg_ref.schedules import Program, endless, existing, one_each
from ddg_ref.simulation import pace
from ddg_ref.versions import Life, settled

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "book" / "schedules.md"
BEGIN, END = "<!-- python -m docs.schedules -->\n", "<!-- end -->\n"
DEVICES, PARTS = 4, 8
TIMES = {"F": 1.0, "I": 1.0, "W": 1.0}
"""Of a micro-batch on a device."""

EXACT = {
    "bp": "the plain gradient",
    "gpipe": "the plain gradient, to rounding",
    "1f1b": "the plain gradient, to rounding",
    "interleaved": "the plain gradient, to rounding",
    "zb-h1": "the plain gradient, to rounding",
    "zb-v": "the plain gradient, to rounding",
    "ddg": "the plain gradient at $w(t-d)$",
    "2bw": "the plain gradient at $w(t-1)$",
    "fdg": "the plain gradient at $w(t-d)$",
}
FILES = {
    "interleaved": interleaved(DEVICES, 2, PARTS),
    "zb-h1": zero_bubble(DEVICES, PARTS),
    "zb-v": schedule_files.read(ROOT / "tests" / "pytorch_schedules" / f"ZBVZeroBubble-{DEVICES}-{PARTS}.csv"),
}


class Holds(NamedTuple):
    """The most that a worker holds at once."""

    stages: int
    """Micro-batches in stages, between their forward pass and the end of their backward pass."""
    versions: int
    """Of a stage's weights."""
    delay: int
    """Updates between the weights at which a gradient was taken and those that it changes."""


def holds(program: Program, M: int, iterations: int) -> Holds:
    """What the worker holds that follows this, from the warm-up on."""
    lives: dict[int, Life] = {}
    most = Holds(0, 1, 0)
    for t in range(iterations):
        for k, action in program(t):
            if not existing([action], M, endless(M)):
                continue
            life = lives.setdefault(k, Life(k, M, in_order=False))
            applied = life.perform(t, action)
            kept = {life.version, *(flight.version for flight in life.kept.values())}
            most = Holds(
                max(most.stages, sum(len(other.kept) for other in lives.values())),
                max(most.versions, len(kept)),
                max([most.delay, *(each.delay for each in applied)]),
            )
    return most


def row(name: str) -> list[str]:
    """A row of the table."""
    file: ScheduleFile | None = FILES.get(name)
    if file is None:
        method, K = METHODS[name], DEVICES
        M = PARTS if "micro_batches" in method.options else 1
        programs: Sequence[Program] = one_each(method.schedule, K, M)
    else:
        K, M, programs = file.K, file.M, file.programs
    each = K // DEVICES
    forward, error, weights = (np.full(K, PARTS * time / each) for time in TIMES.values())
    times = Times(forward, error + weights, parts=M, error=error)
    found = pace(programs, times)
    held = [holds(program, M, settled(K)) for program in programs]
    return [
        f"`{name}`",
        f"{100 * np.mean(found.bubble):.1f}",
        str(max(one.versions for one in held)),
        f"{max(one.stages for one in held) / each / M:g}",
        str(max(one.delay for one in held)),
        EXACT[name],
    ]


def table() -> str:
    """In Markdown."""
    heads = ["schedule", "idle %", "weight versions", "batches in flight", "delay $d$", "what is applied"]
    lines = [heads, ["---"] * len(heads), *(row(name) for name in EXACT)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> None:
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + "\n" + table() + "\n" + END + rest.partition(END)[2])


if __name__ == "__main__":
    main()
