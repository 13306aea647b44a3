"""A verification campaign: every claim on many cases, on several processes, losing nothing when it is
interrupted.

Work is cut into chunks of one claim, each with its own seed, so a campaign is reproducible whatever the
number of processes. The main process alone catches an interrupt; it asks the workers to stop, and they hand
in what they have. If one of them is killed, what all have handed in by then is kept.
"""

from __future__ import annotations

import itertools
import math
import os
import signal
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ddg_ref.errors import WorkerError
from ddg_ref.tools.processes import carry_out, stop_requested
from theory import records
from theory.checks import integer, nonnegative, positive
from theory.claims import Claim, Kind, select
from theory.delayed import ddg
from theory.examine import Examination, Finding, examine

CHUNK = 50
"""Cases per piece of work."""
SEARCHES = 4
"""Searches for each counterexample: a search ends wherever its shrinking gets stuck, and the simplest find is kept."""


@dataclass(frozen=True)
class Plan:
    """What to verify: claims, cases per claim, seed; with `hours`, as many cases as fit in that time.

    Raises ValueError for examples < 1, seed < 0, hours <= 0, processes < 1 or no claims.
    """

    claims: Sequence[Claim]
    examples: int = 100
    seed: int = 0
    hours: float | None = None
    processes: int = 2

    def __post_init__(self) -> None:
        integer("examples", self.examples, 1)
        nonnegative("seed", self.seed)
        integer("processes", self.processes, 1)
        integer("number of claims", len(self.claims), 1)
        if self.hours is not None:
            positive("hours", self.hours)

    def chunks(self) -> Iterator[tuple[str, int, int]]:
        """(claim id, cases, seed), one round over the claims after another; claims to refute come first."""
        to_refute = [claim for claim in self.claims if claim.kind is Kind.FALSE_AS_STATED]
        to_hold = [claim for claim in self.claims if claim.kind is not Kind.FALSE_AS_STATED]
        for claim in to_refute:
            for number in range(SEARCHES):
                yield claim.id, 1, self.seed_of(claim, number)
        if not to_hold:
            return
        rounds = itertools.count() if self.hours is not None else range(-(-self.examples // CHUNK))
        for number in rounds:
            left = CHUNK if self.hours is not None else min(CHUNK, self.examples - number * CHUNK)
            for claim in to_hold:
                yield claim.id, left, self.seed_of(claim, number)

    def seed_of(self, claim: Claim, number: int) -> int:
        """The seed of a piece of work."""
        return zlib.crc32(f"{self.seed} {claim.id} {number}".encode())

    def size(self) -> int | None:
        """Number of chunks, None if time decides."""
        to_refute = sum(claim.kind is Kind.FALSE_AS_STATED for claim in self.claims)
        rounds = -(-self.examples // CHUNK)
        return None if self.hours is not None else SEARCHES * to_refute + rounds * (len(self.claims) - to_refute)


def _work(claim_id: str, examples: int, seed: int) -> dict[str, Any]:
    (claim,) = select([claim_id])
    return records.to_json(examine(claim, examples, seed, stopped=stop_requested))


class Interruption:
    """Ctrl-C and SIGTERM are noted."""

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> Interruption:
        self._previous = {s: signal.signal(s, self._handle) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        self.requested = True


@contextmanager
def single_threaded_children() -> Iterator[None]:
    """Processes that are started in the block compute on one thread each, unless the environment says otherwise."""
    added = {"OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"} - os.environ.keys()
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


class Campaign(NamedTuple):
    """What was found, whether that was interrupted, and what went wrong, in a line, if anything did."""

    found: list[Examination]
    interrupted: bool
    failure: str | None


def run(
    plan: Plan,
    *,
    keep: Callable[[Iterable[Examination]], None] = lambda found: None,
    progress: Callable[[], None] = lambda: None,
) -> Campaign:
    """Carry out the plan. Main thread only.

    After every chunk `keep` gets what has been found, and `progress()` is called.
    """
    found = {claim.id: Examination(claim) for claim in plan.claims}
    deadline = math.inf if plan.hours is None else time.monotonic() + 3600 * plan.hours
    failure = None

    def take(result: dict[str, Any]) -> None:
        part = records.from_json(result)
        found[part.claim.id].merge(part)
        progress()
        keep(found.values())

    with Interruption() as interruption, single_threaded_children():
        try:
            carry_out(
                _work,
                itertools.takewhile(lambda chunk: time.monotonic() < deadline, plan.chunks()),
                plan.processes,
                take=take,
                watch=lambda done: interruption.requested,
                killed="a process that verifies was killed, perhaps for want of memory",
            )
        except Exception as error:  # whatever a claim's check has met: the others have been measured
            failure = str(error) if isinstance(error, WorkerError) else f"a claim could not be measured: {error!r}"
    return Campaign(list(found.values()), interruption.requested, failure)


@dataclass(frozen=True)
class Replayed:
    """A recorded finding and the same case measured again."""

    claim: Claim
    recorded: Finding
    again: Finding

    @property
    def agrees(self) -> bool:
        """Same verdict, and both sides, which are numbers, within 1e-6 of what was recorded, or of their rounding."""
        old, new = self.recorded.outcome, self.again.outcome
        tolerance = 1e-6 * (abs(old.bound) + abs(old.measured)) + old.slack
        return (
            old.finite
            and new.finite
            and old.violates(self.claim.kind) == new.violates(self.claim.kind)
            and abs(old.measured - new.measured) <= tolerance
            and abs(old.bound - new.bound) <= tolerance
        )


def replay(path: Path) -> list[Replayed]:
    """Measure every worst case and violation in the file again; ValueError if it is not one of ours."""
    results: list[Replayed] = []
    for examination in records.read(path):
        claim = examination.claim
        kept = [examination.worst, examination.violation]
        for finding in [f for f in kept if f is not None]:
            try:
                again = Finding(finding.case, claim.check(finding.case, ddg))
            except Exception as error:
                raise ValueError(
                    f"replay: expected a case of {claim.id}, got {finding.case} ({type(error).__name__}: {error}); "
                    "use a file from verify"
                ) from error
            if not any(r.recorded == finding for r in results):
                results.append(Replayed(claim, finding, again))
    if not results:
        raise ValueError(f"replay: expected recorded cases in {path}, got none; use a file from verify --json")
    return results
