"""Exact expectations over every sample sequence, and Monte Carlo with a confidence bound where there are too
many.

The samples i(0), i(1), .. are independent and uniform on n values, so an expectation over T iterations is a
mean over n^T equally likely sequences. They are listed in lexicographic order: sequences that share their
first t samples (the history F_t) are neighbours, so a conditional expectation is a mean over consecutive
ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from theory.checks import integer, nonnegative
from theory.problems import Array

ENUMERATE_UP_TO = 3**8
"""More sequences than this are sampled instead of listed."""

LISTED_AT_MOST = 2**24
"""More sequences than this fit into no memory that a test should take."""

ERROR_PROBABILITY = 1e-9
"""Chance that one Monte Carlo interval misses: thousands of claims checked leave less than 1e-5 for a false
alarm."""


def all_sequences(n: int, T: int) -> Array:
    """Every sequence of T samples out of n, lexicographically: (n^T, T) integers."""
    integer("n", n, 1)
    integer("T", T, 1)
    if T * math.log(n) > math.log(LISTED_AT_MOST):
        raise ValueError(f"T: expected n^T up to {LISTED_AT_MOST}, got {n}^{T}; draw some with Sequences.of")
    index = np.arange(n**T)
    return np.stack([index // n ** (T - 1 - t) % n for t in range(T)], axis=1)


def given_history(values: Array, n: int, t: int) -> Array:
    """E[values | F_t] for every history of t samples: (n^T, ...) -> (n^t, ...)."""
    histories = integer("n", n, 1) ** integer("t", t, 0)
    if len(values) % histories:
        raise ValueError(
            f"values: expected a multiple of {histories} sequences, got {len(values)}; list all with all_sequences"
        )
    return np.asarray(values.reshape(histories, -1, *values.shape[1:]).mean(axis=1))


@dataclass(frozen=True)
class Sequences:
    """The sample sequences of an experiment: all of them, or `R` independent draws."""

    samples: Array
    exhaustive: bool

    @staticmethod
    def of(n: int, T: int, *, draws: int = 512, seed: int = 0) -> Sequences:
        """All n^T sequences if they are at most ENUMERATE_UP_TO, else `draws` at random."""
        integer("n", n, 1)
        integer("T", T, 1)
        integer("draws", draws, 2)
        integer("seed", seed, 0)
        if n == 1 or T * math.log(n) <= math.log(ENUMERATE_UP_TO) + 1e-9:
            return Sequences(all_sequences(n, T), exhaustive=True)
        return Sequences(np.random.default_rng(seed).integers(n, size=(draws, T)), exhaustive=False)


@dataclass(frozen=True)
class Estimate:
    """A mean and how far below it the true expectation may lie (0 if exact)."""

    mean: float
    uncertainty: float


def expectation(values: Array, sequences: Sequences, ceiling: float) -> Estimate:
    """E of a quantity in [0, ceiling] that was measured once per sequence: (R,) -> Estimate.

    Exact when every sequence was listed. Otherwise the empirical Bernstein bound (Maurer and Pontil, COLT
    2009, Thm 4): with probability 1 - delta the expectation is at least mean - sqrt(2 V ln(2/delta)/R) - 7
    ceiling ln(2/delta)/(3(R-1)).
    """
    nonnegative("ceiling", ceiling)
    if np.shape(values) != sequences.samples.shape[:1]:
        raise ValueError(
            f"values: expected one number per sequence, {len(sequences.samples)}, got shape {np.shape(values)}; "
            "take the mean over the rest"
        )
    mean = float(values.mean())
    if sequences.exhaustive:
        return Estimate(mean, 0.0)
    R = len(values)
    log = math.log(2 / ERROR_PROBABILITY)
    spread = math.sqrt(2 * float(values.var(ddof=1)) * log / R)
    return Estimate(mean, spread + 7 * ceiling * log / (3 * (R - 1)))
