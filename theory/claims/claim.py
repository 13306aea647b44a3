"""What a claim is: a statement, and a check that measures both of its sides on one case."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, TypeAlias

import numpy as np
from hypothesis import strategies as st
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
    CONJECTURE = "conjecture"
    """measured <= bound in every case so far; not proved, and a case that refutes it is news."""


@dataclass(frozen=True)
class Outcome:
    """Both sides of a statement on one case, its worst iteration and history.

    `slack` is how far `measured` may exceed the truth: rounding, or the width of a Monte Carlo interval.
    `note` says, for a counterexample, what happens in numbers. `undelayed` is the strain on the same bound with 1 in
    place of K, nan where there is no K in it.

    What is not finite, but for `undelayed`, says nothing: the check failed, whatever the kind of the claim.
    """

    measured: float
    bound: float
    slack: float = 0.0
    note: str = ""
    undelayed: float = math.nan

    @property
    def ratio(self) -> float:
        """measured/bound; nan where the bound is not positive."""
        return self.measured / self.bound if self.bound > 0 else float("nan")

    @property
    def strain(self) -> float:
        """(measured - slack)/bound: above 1 exactly where an upper bound fails."""
        excess = self.measured - self.slack
        if self.bound == 0:
            return math.inf if excess > 0 else 0.0
        return excess / self.bound

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


Judge: TypeAlias = Callable[[int], Outcome]
"""Both sides on a case that has been measured, once the K that the bound believes in is given."""


@dataclass(frozen=True)
class BoundInK:
    """The check of a bound that depends on K: `measure` measures, and what it returns holds that against the bound for
    any K. The claim is about the case's own K; what smaller ones say shows whether it sees the delay."""

    measure: Callable[[Any, Iteration], Judge]

    def __call__(self, case: Any, iteration: Iteration) -> Outcome:
        judge = self.measure(case, iteration)
        return replace(judge(case.K), undelayed=judge(1).strain)


@dataclass(frozen=True)
class Claim:
    """One statement. `check(case, iteration)` measures it on a case drawn from `strategy`, of type `case_type`, or on
    one of `adversaries`, which come near to the bound.

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
    adversaries: tuple[Any, ...] = ()

    @property
    def cases(self) -> SearchStrategy[Any]:
        """What an examination draws from: adversaries, until each has been drawn, in turn with other cases."""
        if not self.adversaries:
            return self.strategy
        adversaries = st.sampled_from(self.adversaries)
        return st.booleans().flatmap(lambda adverse: adversaries if adverse else self.strategy)

    def __post_init__(self) -> None:
        object.__setattr__(self, "check", _watching(self.check))


def _watching(check: Check) -> Check:
    """`check`, with an outcome that is not finite where it meets what is not, or arithmetic fails."""
    if isinstance(check, BoundInK):
        return BoundInK(_judging(check.measure))

    def watched(case: Any, iteration: Iteration) -> Outcome:
        return _finite_or_failed(lambda: check(case, _finite_iterates(iteration)))

    return watched


def _judging(measure: Callable[[Any, Iteration], Judge]) -> Callable[[Any, Iteration], Judge]:
    """`measure`, whose judge gives an outcome that is not finite where measuring or judging meets what is not."""

    def watched(case: Any, iteration: Iteration) -> Judge:
        try:
            judge = measure(case, _finite_iterates(iteration))
        except (NotFiniteError, ArithmeticError) as error:
            failed = _failed(error)
            return lambda K: failed
        return lambda K: _finite_or_failed(lambda: judge(K))

    return watched


def _finite_iterates(iteration: Iteration) -> Iteration:
    def iterates(problem: Objective, w0: Array, samples: Array, rule: Rule) -> Array:
        return finite("w", iteration(problem, w0, samples, rule))

    return iterates


def _finite_or_failed(outcome: Callable[[], Outcome]) -> Outcome:
    try:
        return outcome()
    except (NotFiniteError, ArithmeticError) as error:  # such as a loss that diverges in ddg_ref
        return _failed(error)


def _failed(error: Exception) -> Outcome:
    return Outcome(math.nan, math.nan, note=f"{type(error).__name__}: {error}")


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
