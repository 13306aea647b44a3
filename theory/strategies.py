"""Hypothesis strategies for cases: small shapes and an integer seed, from which the floats are made."""

from __future__ import annotations

import math
from collections.abc import Callable

from hypothesis import strategies as st

from theory.bounds import quadratic_threshold
from theory.cases import Case
from theory.families import BOUNDED_FAMILIES, FAMILIES
from theory.steps import KINDS

STEPS_UP_TO_1 = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.5, 1.0)
ANY_STEPS = (*STEPS_UP_TO_1, 2.0, 4.0)
LONGEST = {1: 40, 2: 11, 3: 7, 4: 5}
"""Iterations for which all n^T sequences are listed, by n."""

seeds = st.integers(0, 2**20)
monotone = ("constant", "harmonic", "nonincreasing", "falling")


def below_d0(K: int) -> tuple[float, ...]:
    """gamma L at chosen fractions of the limit 2/(2K-1) of Theorem D0."""
    return tuple(fraction * 2 / (2 * K - 1) for fraction in (0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99))


def below_threshold(K: int) -> tuple[float, ...]:
    """gamma L at chosen fractions of the threshold 2 sin(pi/(2(2K-1))) of Theorem G."""
    return tuple(fraction * quadratic_threshold(K) for fraction in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99))


def up_to_threshold(K: int) -> tuple[float, ...]:
    """The same, and the threshold itself."""
    return (*below_threshold(K), quadratic_threshold(K))


def below_f(K: int) -> tuple[float, ...]:
    """gamma L at chosen fractions of the limit of Theorem F, where gamma L/2 + (gamma L (K-1))^2/2 = 1."""
    limit = 4 / (1 + math.sqrt(1 + 8 * (K - 1) ** 2))
    return tuple(fraction * limit for fraction in (0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99))


def half_d0(K: int) -> tuple[float, ...]:
    """gamma L at most 1/(2K-1)."""
    return tuple(gamma_L for gamma_L in below_d0(K) if gamma_L * (2 * K - 1) <= 1)


@st.composite
def cases(
    draw: st.DrawFn,
    families: tuple[str, ...] = BOUNDED_FAMILIES,
    *,
    steps: tuple[str, ...] = ("constant",),
    gamma_L: tuple[float, ...] | Callable[[int], tuple[float, ...]] = ANY_STEPS,
    min_K: int = 1,
    samples: tuple[int, ...] = (1, 2, 3, 4),
    sampled: bool = False,
) -> Case:
    """Cases of the given families; `sampled` adds horizons too long to enumerate, judged by Monte Carlo."""
    K = draw(st.integers(min_K, 5), label="K")
    n = draw(st.sampled_from(samples), label="n")
    horizons = st.integers(1, LONGEST[n])
    if sampled and n > 1:
        horizons = horizons | st.just(40)
    return Case(
        family=draw(st.sampled_from(families), label="family"),
        K=K,
        n=n,
        T=draw(horizons, label="T"),
        steps=draw(st.sampled_from(steps), label="steps"),
        gamma_L=draw(st.sampled_from(gamma_L(K) if callable(gamma_L) else gamma_L), label="gamma L"),
        start=draw(st.sampled_from((0.0, 0.3, 1.0, 3.0, 10.0)), label="start"),
        seed=draw(seeds, label="seed"),
    )


every_case = cases(tuple(FAMILIES), steps=KINDS)
