"""Examine one claim: draw cases with Hypothesis, measure both sides, keep the worst, shrink what fails."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import hypothesis
import numpy as np
from hypothesis import HealthCheck, Phase, given

from theory.claims import Claim, Kind, Outcome
from theory.delayed import Iteration, ddg


@dataclass(frozen=True)
class Finding:
    """A case and what was measured on it."""

    case: Any
    outcome: Outcome


@dataclass
class Examination:
    """What is known of a claim so far: how many cases were measured, the worst, the simplest violation, and the largest
    strain on its bound with 1 in place of K (nan where there is no K in it). A case that is not finite comes before all
    violations."""

    claim: Claim
    examples: int = 0
    worst: Finding | None = None
    violation: Finding | None = None
    undelayed: float = math.nan

    @property
    def as_expected(self) -> bool:
        """A false claim must have been refuted, every other must not; without examples nothing is known, nor with one
        that is not finite."""
        refuted = self.violation is not None
        return self.examples > 0 and self.finite and refuted == (self.claim.kind is Kind.FALSE_AS_STATED)

    @property
    def finite(self) -> bool:
        """Whether no case came out as something else than numbers."""
        return self.violation is None or self.violation.outcome.finite

    def record(self, case: Any, outcome: Outcome) -> None:
        """Count a measurement and keep it if it is the worst."""
        self.examples += 1
        self.undelayed = float(np.fmax(self.undelayed, outcome.undelayed))
        if self.worst is None or severity(outcome) > severity(self.worst.outcome):
            self.worst = Finding(case, outcome)

    def merge(self, other: Examination) -> None:
        """Take over what another examination of the same claim found."""
        self.examples += other.examples
        self.undelayed = float(np.fmax(self.undelayed, other.undelayed))
        if other.worst is not None and (
            self.worst is None or severity(other.worst.outcome) > severity(self.worst.outcome)
        ):
            self.worst = other.worst
        if other.violation is not None and (self.violation is None or rank(other.violation) < rank(self.violation)):
            self.violation = other.violation
        if self.violation is not None:
            self.worst = self.violation


def rank(found: Finding) -> tuple[bool, int, str]:
    """Orders violations: what is not finite first, then the shortest text."""
    text = repr(found.case)
    return found.outcome.finite, len(text), text


def severity(outcome: Outcome) -> float:
    """Orders outcomes: measured/bound where the bound is positive, else how far measured exceeds it."""
    value = outcome.ratio if outcome.bound > 0 else outcome.measured - outcome.bound
    return math.inf if math.isnan(value) else value


SEARCH = 5000
"""Cases that a search for a counterexample may look at, whatever the number of examples asked for."""


def examine(
    claim: Claim,
    examples: int,
    seed: int,
    *,
    iteration: Iteration = ddg,
    stopped: Callable[[], bool] = lambda: False,
) -> Examination:
    """Measure `claim` on up to `examples` cases drawn with `seed`; when `stopped()`, return what was found so
    far.

    A violation ends the search, and Hypothesis shrinks its case. The same seed draws the same cases.
    """
    result, lost = Examination(claim), list[Finding]()

    class ViolationError(Exception):
        pass

    class StoppedError(BaseException):
        pass

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=max(examples, SEARCH) if claim.kind is Kind.FALSE_AS_STATED else examples,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=hypothesis.Verbosity.quiet,
    )
    @given(claim.cases)
    def measure(case: Any) -> None:
        if stopped():
            raise StoppedError
        outcome = claim.check(case, iteration)
        result.record(case, outcome)
        if not outcome.finite:
            lost.append(Finding(case, outcome))
            raise ViolationError
        if outcome.violates(claim.kind):
            result.violation = Finding(case, outcome)
            raise ViolationError

    with suppress(ViolationError, StoppedError):
        measure()
    if lost:
        result.violation = min(lost, key=rank)
    if result.violation is not None:
        result.worst = result.violation
    return result
