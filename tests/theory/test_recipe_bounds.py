"""Every bound on what people run at K = 3 and K = 4, from the formulas of PROOFS.md with K put in by hand."""

from inspect import isfunction, signature
from math import log, pi, sin, sqrt

import numpy as np
import pytest

from theory import bounds, recipe_bounds

A, L, M, nu2, T, eta, gamma, n = 1.7, 0.6, 2.3, 0.9, 7, 0.11, 0.05, 5
e, G, d, b2, eps, decay, w02, W = eta * L, 1.3, 6, 0.9, 0.2, 0.4, 2.5, 3
ETAS = np.array([0.31, 0.29, 0.33, 0.19, 0.23, 0.13, 0.11, 0.07, 0.12, 0.03, 0.02])
SUMS = np.array([0.30, 0.31, 0.20, 0.21, 0.20, 0.14, 0.10, 0.08, 0.09, 0.03, 0.02])
TOPS = {3: [0.33, 0.33, 0.33, 0.23, 0.23, 0.14, 0.12], 4: [0.33, 0.33, 0.33, 0.23, 0.23, 0.14, 0.12]}
FALLS = {3: 0.02 + 0.14 + 0.10 + 0.02 + 0.04, 4: 0.02 + 0.14 + 0.10 + 0.02 + 0.04 + 0.09}
EPOCHS = np.array([0.2, 0.1, 0.1, 0.05])
D = {3: 2 + 1 / 3, 4: 3 + 1 / 3}  # Nesterov, beta = 1/2: age 1/2; heavy ball with beta = 1/4: age 1/3
N = {3: 2.5, 4: 3.5}


def steps(K, factor):
    return A + factor * L * M * sum(top**2 for top in TOPS[K])


def drift(K, step):
    return (step * L * sqrt(M) * (n + D[K] ** 2 / n) / 2) ** 2


def loose(K, step):
    return 2.5 * (step * L) ** 2 * (nu2 * 25 / 4 + 4 * M * (D[K] * (D[K] + 1) / 5) ** 2)


def both(formula):
    return {K: formula(K) for K in (3, 4)}


HEAVY = {"beta": 0.25, "nesterov": False}
Q2 = (1 - 0.25) ** 2
PINS = {
    "age": ({"beta": 0.5, "nesterov": True}, dict.fromkeys((3, 4), 0.5)),
    "lag": ({"beta": 0.5, "nesterov": True}, N),
    "noise_lag": ({"beta": 0.5, "nesterov": True}, {3: 2 + 0.0625 / 0.75, 4: 3 + 0.0625 / 0.75}),
    "coasted_distance": ({}, both(lambda K: eta * N[K] * sqrt(M))),
    "momentum_lin": ({}, both(lambda K: A / eta / 7 + (N[K] + 0.5) * e * M)),
    "momentum_clean": ({}, both(lambda K: 2 * A / eta / 7 + e * M + e**2 * N[K] ** 2 * M)),
    "momentum_sharp": (
        {},
        both(
            lambda K: (e * N[K] * sqrt(M) / 2 + sqrt(A / eta / 7 + e * M / 2 + e**2 * N[K] ** 2 * M / 4)) ** 2,
        ),
    ),
    "momentum_lin_best_step": ({}, both(lambda K: sqrt(A / (L * M * (N[K] + 0.5) * 7)))),
    "momentum_d0": ({}, {3: A / eta / 7 / (1 - 2.5 * e), 4: A / eta / 7 / (1 - 3.5 * e)}),
    "heavy_ball_d0": (
        {"beta": 0.25},
        both(
            lambda K: A / eta / 7 * max(1 / (1 - (K - 0.5) * e), 1.5625 / (0.75 * (0.5 + 0.75 * (1 - (K - 0.5) * e))))
        ),
    ),
    "momentum_d": (
        HEAVY,
        {
            K: ((R + sqrt(R**2 + 4 * c * (A / eta / 7 + e * nu2 / 2))) / (2 * c)) ** 2
            for K, R, c in (
                (3, e * sqrt((2 + 1 / 15) * nu2), 1 - 2.5 * e),
                (4, e * sqrt((3 + 1 / 15) * nu2), 1 - 3.5 * e),
            )
        },
    ),
    "momentum_threshold": ({"beta": 0.0}, {3: 2 * sin(pi / 10), 4: 2 * sin(pi / 14)}),
    "two_modules": ({"beta": 0.25}, dict.fromkeys((3, 4), 6 * A / (gamma * 7 * (1 - gamma * L / 0.75)))),
    "decay_limit": ({"beta": 0.25, "nesterov": True}, dict.fromkeys((3, 4), 0.36)),
    "decayed_length": ({}, dict.fromkeys((3, 4), sqrt(2.3))),
    "decay_lin": (
        {},
        both(lambda K: A / eta / 7 + eta * 4 * M * (L * (N[K] + 0.5) + decay * 1.0)),
    ),
    "decay_d0": ({}, both(lambda K: A / gamma / 7 / (1 - gamma * (L * (K - 0.5) + 0.2)))),
    "steps_blockwise": ({}, both(lambda K: steps(K, N[K] + 0.5))),
    "steps_weighted": ({}, both(lambda K: steps(K, N[K] + 0.5) + (K - 1) * M * FALLS[K])),
    "steps_clean": ({}, both(lambda K: A + steps(K, 1) + (L * N[K]) ** 2 * M * sum(t**3 for t in TOPS[K]))),
    "steps_warm_up": (
        {"beta": 0.25},
        both(
            lambda K: A + (D[K] + 0.5) * L * M * (sum(v * v for v in ETAS[:7]) + (K - 1) * 0.33**2) + (K - 1) * M * 0.33
        ),
    ),
    "epoch_distance": ({"beta": 0.25, "t": 1}, both(lambda K: eta * sqrt(M) * D[K])),
    "epoch_drift": ({"beta": 0.25}, both(lambda K: drift(K, eta))),
    "any_order": ({"beta": 0.25}, both(lambda K: 2 * A / eta / 7 + drift(K, eta))),
    "any_order_weights": (
        {"beta": 0.25},
        {
            3: (sqrt(2 * A / eta / 7 + drift(3, eta)) + e * sqrt(M * (3 * D[3] ** 2 + 9 + 16) / 5)) ** 2,
            4: (sqrt(2 * A / eta / 7 + drift(4, eta)) + e * sqrt(M * (4 * D[4] ** 2 + 16) / 5)) ** 2,
        },
    ),
    "shuffled": ({"beta": 0.25}, both(lambda K: 4 * A / eta / 7 + loose(K, eta))),
    "shuffled_variance": (
        {},
        dict.fromkeys((3, 4), 3 * A / gamma / 7 + 1.3 * (gamma * L) ** 2 * nu2 * 25 / 4),
    ),
    "default_training": (
        {"beta": 0.25, "etas": EPOCHS},
        both(lambda K: 2 * A + 5 * sum(v * drift(K, v) for v in (0.2, 0.1, 0.1)) + 2 * D[K] * M * 0.15 + 0.2 * M * 3),
    ),
    "default_training_shuffled": (
        {"beta": 0.25, "etas": EPOCHS / 2},
        both(
            lambda K: 4 * A + 5 * sum(v * loose(K, v) for v in (0.1, 0.05, 0.05)) + 4 * D[K] * M * 0.075 + 0.2 * M * 3
        ),
    ),
    "adam_move": ({"beta1": 0.9, "beta2": 0.999}, dict.fromkeys((3, 4), 0.1 / sqrt(0.001 * (1 - 0.81 / 0.999)))),
    "adam_without_first_moment": (
        {},
        both(
            lambda K: (
                2
                * 1.5
                * (
                    A / gamma / 7
                    + 6
                    * (log(1 + 1.69 / (0.1 * 0.04)) - 7 * log(0.9))
                    / 7
                    * (1.3 / sqrt(0.1) + (K - 0.5) * gamma * L / 0.1)
                )
            )
        ),
    ),
    "conjectured_lin": (
        {},
        {3: A / gamma / 7 + gamma * L * M / (2 * sin(pi / 10)), 4: A / gamma / 7 + gamma * L * M / (2 * sin(pi / 14))},
    ),
}
SYMBOLS = {"A": A, "L": L, "M": M, "nu2": nu2, "T": T, "eta": eta, "gamma": gamma, "n": n, "beta": 0.5, "t": 1}
SYMBOLS |= {"nesterov": True, "etas": ETAS, "sums": SUMS, "decay": decay, "w02": w02, "warm_up": W, "G": G, "d": d}
SYMBOLS |= {"beta2": b2, "eps": eps}


def value(name, K, **changes):
    function = getattr(recipe_bounds, name)
    symbols = {**SYMBOLS, "K": K, **PINS[name][0], **changes}
    return function(**{symbol: symbols[symbol] for symbol in signature(function).parameters})


def test_every_bound_is_pinned():
    own = recipe_bounds.__name__
    public = [n for n, f in vars(recipe_bounds).items() if isfunction(f) and f.__module__ == own and n[0] != "_"]
    assert sorted(public) == sorted(PINS)


@pytest.mark.parametrize("K", [3, 4])
@pytest.mark.parametrize("name", PINS)
def test_bound_is_what_was_proved(name, K):
    assert value(name, K) == pytest.approx(PINS[name][1][K], rel=1e-12)


@pytest.mark.parametrize("K", range(1, 6))
def test_without_momentum_the_bounds_are_those_of_sgd(K):
    for ours, theirs in (
        (recipe_bounds.momentum_lin, bounds.theorem_1_lin),
        (recipe_bounds.momentum_clean, bounds.theorem_1_clean),
        (recipe_bounds.momentum_sharp, bounds.theorem_1_sharp),
    ):
        assert ours(A, L, M, K, eta, T, 0.0, False) == pytest.approx(theirs(A, L, M, K, eta, T))
    assert recipe_bounds.heavy_ball_d0(A, L, K, eta, T, 0.0) == pytest.approx(bounds.theorem_d0(A, L, K, eta, T))
    assert recipe_bounds.momentum_d(A, L, nu2, K, eta, T, 0.0, False) == pytest.approx(
        bounds.theorem_d(A, L, nu2, K, eta, T)
    )
    for nesterov in (False, True):
        assert recipe_bounds.momentum_threshold(K, 0.0, nesterov) == pytest.approx(bounds.quadratic_threshold(K))


def test_thresholds_in_closed_form_and_as_the_table_has_them():
    """gamma L/(1-beta); the figures of the README."""
    for beta in (0.0, 0.3, 0.5, 0.9, 0.99):
        assert recipe_bounds.momentum_threshold(1, beta, False) == pytest.approx(2 * (1 + beta))
        assert recipe_bounds.momentum_threshold(2, beta, False) == pytest.approx(1 - beta)
        q = np.roots([16, -20 - 4 * beta, 5 + 3 * beta]).max()  # cos(phi/2)^2, K = 3
        g = 2 * sqrt(1 - q) * sqrt((1 - beta) ** 2 + 4 * beta * (1 - q))
        assert recipe_bounds.momentum_threshold(3, beta, False) == pytest.approx(g)
    table = {
        (0.9, False): (38, 1, 0.512, 0.348, 0.265, 0.1575),
        (0.9, True): (13.57, 2.531, 0.807, 0.464, 0.326, 0.1764),
    }
    for (beta, nesterov), row in table.items():
        found = [recipe_bounds.momentum_threshold(K, beta, nesterov) / (1 - beta) for K in (1, 2, 3, 4, 5, 8)]
        assert found == pytest.approx(row, rel=2e-3)
    near_1 = [recipe_bounds.momentum_threshold(K, 1 - 1e-7, False) / 1e-7 for K in (3, 4, 6)]
    assert near_1 == pytest.approx([1 / 2, 1 / 3, 1 / 5], rel=1e-5)


def test_conditions_hold_to_the_edge():
    for call, edge in (
        (lambda v: recipe_bounds.momentum_d0(A, 1.0, 3, v, T), 0.4),
        (lambda v: recipe_bounds.heavy_ball_d0(A, 1.0, 3, v, T, 0.5), 0.4),
        (lambda v: recipe_bounds.momentum_d(A, 1.0, nu2, 3, v, T, 0.5, True), 0.4),
        (lambda v: recipe_bounds.two_modules(A, 1.0, v, T, 0.75), 0.25),
        (lambda v: recipe_bounds.any_order(A, 1.0, M, 3, v, 4, T, 0.5), 0.25),
        (lambda v: recipe_bounds.any_order_weights(A, 1.0, M, 3, v, 4, T, 0.5), 0.25),
        (lambda v: recipe_bounds.shuffled(A, 1.0, M, nu2, 3, v, 4, T, 0.5), 0.125),
        (lambda v: recipe_bounds.shuffled_variance(A, 1.0, nu2, 4, v, 4, T), 0.0625),
        (lambda v: recipe_bounds.default_training(A, 1.0, M, 3, np.full(3, v), 4, 0.5, 0), 0.25),
        (lambda v: recipe_bounds.default_training_shuffled(A, 1.0, M, nu2, 3, np.full(3, v), 4, 0.5, 0), 0.125),
        (lambda v: recipe_bounds.decay_d0(A, 1.0, 3, v, T, 1.0), 1 / 3),
    ):
        assert call(edge * (1 - 1e-9)) > 0
        with pytest.raises(ValueError, match=r"^(eta|gamma): expected .*; lower "):
            call(edge * (1 + 1e-9))
    with pytest.raises(ValueError, match="gamma: expected K <= n"):
        recipe_bounds.shuffled_variance(A, 1.0, nu2, 5, 0.01, 4, T)


def test_the_best_step_of_lin_is_best():
    best = recipe_bounds.momentum_lin_best_step(A, L, M, 3, T, 0.9, False)
    smallest = recipe_bounds.momentum_lin(A, L, M, 3, best, T, 0.9, False)
    assert smallest == pytest.approx(2 * sqrt(A * L * M * 11.5 / T))
    assert all(recipe_bounds.momentum_lin(A, L, M, 3, best * f, T, 0.9, False) > smallest for f in (0.9, 1.1))


@pytest.mark.parametrize("name", ["steps_blockwise", "steps_weighted", "steps_clean", "steps_warm_up"])
def test_no_bound_needs_more_steps_than_it_uses(name):
    for symbol in ("etas", "sums") if name != "steps_warm_up" else ("etas",):
        value(name, 3, **{symbol: SYMBOLS[symbol][:9]})
        with pytest.raises(ValueError, match=rf"{symbol}: expected at least 9 steps > 0, got 8; extend"):
            value(name, 3, **{symbol: SYMBOLS[symbol][:8]})
