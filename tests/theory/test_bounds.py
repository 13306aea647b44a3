"""Bounds: recommended steps are the best ones, constants from the literature, bad input refused in one
line."""

import math

import numpy as np
import pytest

from theory import bounds, stability
from theory.claims.quadratic_threshold import QuadraticCase
from theory.delayed import ddg
from theory.problems import split

A, L, M, T = 1.7, 0.8, 2.3, 50


@pytest.mark.parametrize("K", range(1, 6))
def test_recommended_steps_minimise_their_bounds(K):
    for bound, step in (
        (bounds.theorem_1, bounds.theorem_1_best_step(A, L, M, K, T)),
        (bounds.theorem_1_lin, bounds.theorem_1_lin_best_step(A, L, M, K, T)),
    ):
        best = bound(A, L, M, K, step, T)
        assert all(bound(A, L, M, K, step * factor, T) > best for factor in (0.5, 0.99, 1.01, 2.0))
    at_paper_step = bounds.theorem_1(A, L, M, K, bounds.theorem_1_best_step(A, L, M, K, T), T)
    assert at_paper_step == pytest.approx(bounds.corollary_1(A, L, M, K, T))
    lin = bounds.theorem_1_lin(A, L, M, K, bounds.theorem_1_lin_best_step(A, L, M, K, T), T)
    assert lin == pytest.approx(2 * math.sqrt(A * L * M * (K - 0.5) / T))
    clean = bounds.theorem_1_clean(A, L, M, K, bounds.theorem_1_clean_best_step(A, L, M, K, T), T)
    assert clean <= bounds.theorem_1_clean_rate(A, L, M, K, T)


def test_improvement_over_the_paper():
    """2 sqrt((K + K^4)/(K - 1/2)) at the best steps."""
    for K, factor in ((2, 6.9), (3, 11.6), (4, 17.2), (10, 64.9)):
        lin = bounds.theorem_1_lin(A, L, M, K, bounds.theorem_1_lin_best_step(A, L, M, K, T), T)
        assert bounds.corollary_1(A, L, M, K, T) / lin == pytest.approx(factor, rel=0.01)


def test_sharp_costs_nothing_to_leading_order():
    """At gamma = sqrt(2A/(LMT)) and large T it tends to SGD's sqrt(2ALM/T)."""
    long = 10**12
    gamma = math.sqrt(2 * A / (L * M * long))
    assert bounds.theorem_1_sharp(A, L, M, 5, gamma, long) == pytest.approx(math.sqrt(2 * A * L * M / long), rel=1e-2)


def test_theorem_2_tends_to_zero():
    values = [bounds.theorem_2(A, L, M, 2, 1.0 / (1 + np.arange(10**e)), 10**e) for e in range(1, 7)]
    assert values == sorted(values, reverse=True)
    assert values[-1] * math.log(10**6) == pytest.approx(values[-2] * math.log(10**5), rel=0.05)


def test_constants_of_lemma_r_and_thresholds():
    rows = {2: (4.41, 3.41, 3.83), 3: (21.7, 9.50, 8.33), 4: (70.0, 18.3, 13.6), 8: (1203, 79.2, 40.1)}
    for K, (simple, half, full) in rows.items():
        assert bounds.lemma_r_simple(K) == pytest.approx(simple, rel=4e-3)
        assert bounds.lemma_r_half(K, 1.0) == pytest.approx(half, rel=4e-3)
        assert bounds.lemma_r_full(K) == pytest.approx(full, rel=4e-3)
    thresholds = [bounds.quadratic_threshold(K) for K in range(1, 7)]
    assert thresholds == pytest.approx([2, 1, 0.618, 0.445, 0.347, 0.285], abs=1e-3)


@pytest.mark.parametrize("K", range(1, 9))
def test_threshold_is_sharp_from_both_sides(K):
    case = QuadraticCase(K=K, extra=2, curvature=1.0, seed=K)
    blocks = split(K + 2, K)
    threshold = bounds.quadratic_threshold(K)
    assert stability.spectral_radius(case.random(), blocks, 0.999 * threshold) < 1
    assert stability.spectral_radius(case.extremal(), blocks, 0.999 * threshold) < 1
    assert stability.spectral_radius(case.extremal(), blocks, 1.001 * threshold) > 1
    assert stability.deviation(case.random(), blocks, threshold, ddg) < 1e-13


BAD = [
    (lambda: bounds.theorem_1(A, L, M, 0, 0.1, T), "K: expected an integer >= 1, got 0"),
    (lambda: bounds.theorem_1_lin(A, L, M, 2, 0.1, 2.5), r"T: expected an integer >= 1, got 2\.5"),
    (lambda: bounds.theorem_1_clean(A, L, M, 2, 0.0, T), "gamma: expected a finite number > 0, got 0"),
    (lambda: bounds.theorem_1_sharp(A, L, M, 2, -1.0, T), "gamma: expected a finite number > 0"),
    (lambda: bounds.lemma_v(math.nan, L, M, 2, 0.0), "gamma: expected a finite number > 0, got nan"),
    (lambda: bounds.theorem_1_lin(-1.0, L, M, 2, 0.1, T), "A: expected a finite number >= 0"),
    (lambda: bounds.theorem_2(A, L, M, 2, np.ones(3), 4), "gammas: expected at least 4 steps > 0, got 3"),
    (lambda: bounds.theorem_2_weighted(A, L, M, 3, np.ones(5), 4), "gammas: expected at least 6 steps"),
    (lambda: bounds.theorem_d0(A, L, 2, 2.0, T), r"gamma: expected gamma L < 2/\(2K-1\) = 0\.666667"),
    (lambda: bounds.theorem_d_simple(A, L, 1.0, 2, 0.6, T), r"gamma: expected gamma L <= 1/\(2K-1\)"),
    (lambda: bounds.theorem_d(A, L, -1.0, 2, 0.1, T), "nu2: expected a finite number >= 0"),
    (lambda: bounds.lemma_r_sigma(np.ones(5), 3, 1), "t: expected an integer >= 2, got 1"),
    (lambda: bounds.quadratic_threshold(True), "K: expected an integer >= 1, got True"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
