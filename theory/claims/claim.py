"""What a claim is: a statement, and a check that measures both of its sides on one case."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import wraps
from typing import Any, TypeAlias

import numpy as np
from hypothesis.strategies import SearchStrategy

from theory.cases import Case
from theory.checks import NotFiniteError, finite
from theory.delayed import Iteration, Objective
from theory.optimizers import Rule
from theory.problems import Array

Check: TypeAlias = "Callable[[Any, Iteration], Outcome]"


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

    What is not finite says nothing: the check failed,
    whatever the kind of the claim.
    """

    measured: float
    bound: float
    slack: float = 0.0
    note: str = ""

    @property
    def ratio(self) -> float:
        """measured/bound; nan where the bound is not positive."""
        return self.measured / self.bound if self.bound > 0 else float("nan")

    @property
    def finite(self) -> bool:
        """Whether both sides and the slack are numbers."""
        return all(math.isfinite(number) for number in (self.measured, self.bound, self.slack))

    def violates(self, kind: Kind) -> bool:
        """Whether the statement fails here. What is not finite violates what must hold, and refutes nothing."""
        if not self.finite:
            return kind is not Kind.FALSE_AS_STATED
        if kind is Kind.STABILITY_THRESHOLD:
            return not abs(self.measured - self.bound) <= self.slack
        return not self.measured - self.slack <= self.bound


@dataclass(frozen=True)
class Claim:
    """One statement. `check(case, iteration)` measures it on a case drawn from `strategy`, of type `case_type`.

    Whatever it looks at, its outcome is not finite if one number of the iterates is not.
    """

    id: str
    statement: str
    hypotheses: str
    source: str
    kind: Kind
    strategy: SearchStrategy[Any]
    check: Check
    case_type: type[Any] = Case

    def __post_init__(self) -> None:
        object.__setattr__(self, "check", _watching(self.check))


def _watching(check: Check) -> Check:
    """`check`, with an outcome that is not finite where it meets what is not, or arithmetic fails."""

    @wraps(check)
    def watched(case: Any, iteration: Iteration) -> Outcome:
        def iterates(problem: Objective, w0: Array, samples: Array, rule: Rule) -> Array:
            return finite("w", iteration(problem, w0, samples, rule))

        try:
            return check(case, iterates)
        except (NotFiniteError, ArithmeticError) as error:  # such as a loss that diverges in ddg_ref
            return Outcome(math.nan, math.nan, note=f"{type(error).__name__}: {error}")

    return watched


def worst(measured: Array | float, bound: Array | float, slack: Array | float = 0.0) -> Outcome:
    """The entry with the largest excess over its bound if there is one, else the largest ratio; before all others one
    that is not finite."""
    m, b, s = (np.ravel(a) for a in np.broadcast_arrays(measured, bound, slack))
    known = np.isfinite(m) & np.isfinite(b) & np.isfinite(s)
    if not known.all():
        at = int(np.argmin(known))
    elif ((excess := m - s - b) > 0).any():
        at = int(np.argmax(excess))
    else:
        at = int(np.argmax(np.where(b > s, m / np.where(b > s, b, 1), -np.inf)))
    return Outcome(float(m[at]), float(b[at]), float(s[at]))


def largest(*deviations: Array | float) -> float:
    """The largest size of all entries, 0 if there are none; NaN if one of them is, which Python's max may pass over."""
    return float(np.max([np.max(np.abs(deviation), initial=0.0) for deviation in deviations], initial=0.0))


def rounding(*sizes: Array | float) -> float:
    """What sums of terms as large as these may lose in float64, with a margin."""
    return 1e-13 * (1 + sum(float(np.max(np.abs(size))) for size in sizes))
