"""What a claim is: a statement, and a check that measures both of its sides on one case."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from hypothesis.strategies import SearchStrategy

from theory.cases import Case
from theory.delayed import Iteration
from theory.problems import Array


class Kind(Enum):
    """The kind of a claim fixes what its check must show."""

    UPPER_BOUND = "upper bound"
    """measured <= bound in every case."""
    IDENTITY = "identity"
    """measured, a deviation, <= bound, the rounding it may show (0 where the identity is bitwise), in every
    case."""
    FALSE_AS_STATED = "false as stated"
    """measured > bound in some case: the statement is refuted."""
    STABILITY_THRESHOLD = "stability threshold"
    """measured = bound, from both sides, in every case."""


@dataclass(frozen=True)
class Outcome:
    """Both sides of a statement on one case, its worst iteration and history.

    `slack` is how far `measured` may exceed the truth: rounding, or the width of a Monte Carlo interval.
    `note` says, for a counterexample, what happens in numbers.
    """

    measured: float
    bound: float
    slack: float = 0.0
    note: str = ""

    @property
    def ratio(self) -> float:
        """measured/bound; nan where the bound is not positive."""
        return self.measured / self.bound if self.bound > 0 else float("nan")

    def violates(self, kind: Kind) -> bool:
        """Whether the statement fails here. What is not a number fails."""
        if kind is Kind.STABILITY_THRESHOLD:
            return not abs(self.measured - self.bound) <= self.slack
        return not self.measured - self.slack <= self.bound


@dataclass(frozen=True)
class Claim:
    """One statement. `check(case, iteration)` measures it on a case drawn from `strategy`, of type
    `case_type`."""

    id: str
    statement: str
    hypotheses: str
    source: str
    kind: Kind
    strategy: SearchStrategy[Any]
    check: Callable[[Any, Iteration], Outcome]
    case_type: type[Any] = Case


def worst(measured: Array | float, bound: Array | float, slack: Array | float = 0.0) -> Outcome:
    """The entry with the largest excess over its bound if there is one, else the largest ratio."""
    m, b, s = (np.ravel(a) for a in np.broadcast_arrays(measured, bound, slack))
    excess = m - s - b
    if not (excess <= 0).all():
        at = int(np.argmax(np.where(np.isnan(excess), np.inf, excess)))
    else:
        at = int(np.argmax(np.where(b > s, m / np.where(b > s, b, 1), -np.inf)))
    return Outcome(float(m[at]), float(b[at]), float(s[at]))


def rounding(*sizes: Array | float) -> float:
    """What sums of terms as large as these may lose in float64, with a margin."""
    return 1e-13 * (1 + sum(float(np.max(np.abs(size))) for size in sizes))
