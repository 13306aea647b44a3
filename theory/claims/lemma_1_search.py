"""Lemma 1 as stated is false, found by search: Hypothesis knows only small integers and the statement.

f_i(w) = sum_j C_ij h(<a_j, w>) with the Huber function h (x^2/2 for |x| <= 1, |x| - 1/2 beyond), integer with
column means >= 0, a_j of entries -1, 0, 1, one scalar per module, a start of small fractions, and a step 1/q
with L/q <= 1. Every number is a fraction and both sides are compared exactly.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from fractions import Fraction

from hypothesis import strategies as st

from theory.claims.claim import Claim, Kind, Outcome
from theory.claims.lemma_1 import check_history
from theory.delayed import Iteration
from theory.rational import ExactRidgeSum, objects


@dataclass(frozen=True)
class Integers:
    """An instance of Lemma 1 in integers; the start is numerators/denominator, the step 1/steps_per_unit."""

    directions: tuple[tuple[int, ...], ...]
    coefficients: tuple[tuple[int, ...], ...]
    numerators: tuple[int, ...]
    denominator: int
    steps_per_unit: int
    history: tuple[int, ...]

    def problem(self) -> ExactRidgeSum:
        """f_1..f_n, one scalar per module."""
        K = len(self.numerators)
        return ExactRidgeSum(
            Fraction,
            objects(self.directions, Fraction),
            objects(self.coefficients, Fraction),
            objects([[0] * K for _ in self.coefficients], Fraction),
            K,
        )


def admissible(drawn: Integers) -> bool:
    """Whether the hypotheses hold: f bounded below and not constant, gamma L <= 1."""
    columns = list(zip(*drawn.coefficients, strict=True))
    return all(sum(column) >= 0 for column in columns) and 0 < drawn.problem().L <= drawn.steps_per_unit


def linear(numbers: tuple[int, ...], names: list[str]) -> str:
    """'2 x - y' for (2, -1) and x, y; '0' if all are 0."""
    text = ""
    for number, name in zip(numbers, names, strict=True):
        if number:
            sign = (" - " if number < 0 else " + ") if text else ("-" if number < 0 else "")
            text += sign + (f"{abs(number)} " if abs(number) > 1 else "") + name
    return text or "0"


def describe(drawn: Integers) -> str:
    """f_1..f_n as formulas."""
    weights = [f"w_{k}" for k in range(1, len(drawn.numerators) + 1)]
    ridges = [f"h({linear(row, weights)})" for row in drawn.directions]
    return "; ".join(f"f_{i} = {linear(row, ridges)}" for i, row in enumerate(drawn.coefficients, start=1))


def check(drawn: Integers, iteration: Iteration) -> Outcome:
    """Both sides of Lemma 1 on the drawn history, in fractions."""
    K = len(drawn.numerators)
    w0 = objects([Fraction(p, drawn.denominator) for p in drawn.numerators], Fraction)
    gammas = objects([Fraction(1, drawn.steps_per_unit)] * (len(drawn.history) + K), Fraction)
    found = check_history(drawn.problem(), w0, gammas, drawn.history, iteration)
    note = f"{describe(drawn)}; {found.note}" if found.note else ""
    return Outcome(found.measured, found.bound, note=note)


def rows(largest: int) -> list[tuple[int, ...]]:
    """All triples of integers up to `largest` in size, simple ones first."""
    triples = itertools.product(range(-largest, largest + 1), repeat=3)
    return sorted(triples, key=lambda row: (sum(map(abs, row)), [-number for number in row]))


@st.composite
def instances(draw: st.DrawFn, warm_up: bool) -> Integers:
    """Instances at a generic history: shorter than K-1 in warm-up, else at least K-1 long."""
    K = draw(st.integers(2, 3), label="K")
    n = 1 if warm_up else draw(st.integers(1, 3), label="n")
    t = draw(st.integers(0, K - 2) if warm_up else st.integers(K - 1, K + 1), label="t")

    ridge = st.tuples(st.sampled_from(rows(1)), st.sampled_from(rows(2)))
    ridges = draw(st.lists(ridge, min_size=1, max_size=3), label="ridges")
    return Integers(
        directions=tuple(direction[:K] for direction, _ in ridges),
        coefficients=tuple(tuple(column[i] for _, column in ridges) for i in range(n)),
        numerators=draw(st.sampled_from(rows(4)), label="numerators")[:K],
        denominator=draw(st.integers(1, 4), label="denominator"),
        steps_per_unit=draw(st.sampled_from((1, 2, 5, 10, 100, 1000, 10000)), label="1/gamma"),
        history=tuple(i % n for i in draw(st.tuples(*[st.integers(0, 2)] * 4), label="history")[:t]),
    )


def _claim(form: str, hypotheses: str, warm_up: bool) -> Claim:
    return Claim(
        id=f"lemma-1-search-{form}",
        statement=r"E[f(w^{t+1})|F_t] - f(w^t) \le -\tfrac{\gamma}{2}\|\nabla f(w^t)\|^2 + \gamma^2 L M_K",
        hypotheses=hypotheses,
        source="Huo et al., arXiv 1804.10574, Lemma 1, as commonly stated; counterexample searched, not written",
        kind=Kind.FALSE_AS_STATED,
        strategy=instances(warm_up).filter(admissible),
        check=check,
        case_type=Integers,
    )


HISTORY = _claim("history", "t >= K-1, constant gamma L <= 1, any history", warm_up=False)
WARM_UP = _claim("warm-up", "t < K-1, n = 1, constant gamma L <= 1", warm_up=True)
