"""Every bound at K = 3 and K = 4, from the formulas of PROOFS.md with K put in by hand."""

from inspect import isfunction
from math import asin, cbrt, cos, pi, sin, sqrt

import numpy as np
import pytest

from theory import bounds

A, L, M, gamma, T, nu2, grad2, sigma, e, t = 1.7, 0.6, 2.3, 0.11, 7, 0.9, 0.37, 1.25, 0.45, 5
FALLING = np.array([0.31, 0.29, 0.23, 0.19, 0.17, 0.13, 0.11, 0.07, 0.05, 0.03])
ANY = np.array([0.07, 0.05, 0.31, 0.13, 0.02, 0.11, 0.29, 0.17, 0.03, 0.19])
SQUARES = 0.31**2 + 0.29**2 + 0.23**2 + 0.19**2 + 0.17**2 + 0.13**2 + 0.11**2
TOTAL = 0.31 + 0.29 + 0.23 + 0.19 + 0.17 + 0.13 + 0.11


def by_windows(d, g):
    """Theorem G's constant from the quantities of its proof: kappa, kappa_0 and mu of Lemma W."""
    eps = 2 * asin(g / 2)
    mu = sin(d * eps) / (2 * sin(eps))
    kappa = 4 * mu * sin(eps / 2) ** 2
    kappa_0 = cos(d * eps) / 2 + 2 * mu * sin(eps / 2) ** 2
    losses = sum(2 * kappa_0 + (d - 1) * kappa - kappa_0 - s * kappa for s in range(d))
    return (1 + 2 * g * losses) / (2 * kappa_0 + (d - 1) * kappa - g / 2 - g * g * d * mu)


PINS = {
    "paper_m_k": {3: (3 + 1.25 * 81) * M, 4: (4 + 1.25 * 256) * M},
    "lemma_1_sigma": {3: 0.31 / 0.02, 4: 0.11 / 0.03},
    "lemma_1": {
        3: -0.5 * gamma * grad2 + gamma * gamma * L * (3 + sigma * 81) * M,
        4: -0.5 * gamma * grad2 + gamma * gamma * L * (4 + sigma * 256) * M,
    },
    "theorem_1": {
        3: 2 * A / gamma / T + 2 * gamma * L * 84 * M,
        4: 2 * A / gamma / T + 2 * gamma * L * 260 * M,
    },
    "theorem_1_best_step": {3: sqrt(A / (84 * L * M * T)), 4: sqrt(A / (260 * L * M * T))},
    "corollary_1": {3: 4 * sqrt(84 * A * L * M / T), 4: 4 * sqrt(260 * A * L * M / T)},
    "theorem_2": {
        3: (2 * A + 2 * L * M * (3 + 243) * SQUARES) / TOTAL,
        4: (2 * A + 2 * L * M * (4 + 1024) * SQUARES) / TOTAL,
    },
    "distance": {3: 2 * sqrt(M) * 0.29, 4: 3 * sqrt(M) * 0.29},  # of steps 5, 6 and of 5, 6, 7
    "lemma_v": {3: -gamma * grad2 + 2.5 * gamma**2 * L * M, 4: -gamma * grad2 + 3.5 * gamma**2 * L * M},
    "lemma_v_half": {
        3: -gamma * grad2 / 2 + gamma**2 * L * M * (1 + 4 * gamma * L) / 2,
        4: -gamma * grad2 / 2 + gamma**2 * L * M * (1 + 9 * gamma * L) / 2,
    },
    "back_to_w": {
        3: 2 * gamma * M + 2 * gamma**2 * L * M,
        4: 3 * gamma * M + 4.5 * gamma**2 * L * M,
    },
    "theorem_1_lin": {3: A / gamma / T + 2.5 * gamma * L * M, 4: A / gamma / T + 3.5 * gamma * L * M},
    "theorem_1_lin_best_step": {3: sqrt(A / (2.5 * L * M * T)), 4: sqrt(A / (3.5 * L * M * T))},
    "theorem_1_clean": {
        3: 2 * A / gamma / T + gamma * L * M + 4 * (gamma * L) ** 2 * M,
        4: 2 * A / gamma / T + gamma * L * M + 9 * (gamma * L) ** 2 * M,
    },
    "theorem_1_clean_best_step": {3: cbrt(A / (4 * L**2 * M * T)), 4: cbrt(A / (9 * L**2 * M * T))},
    "theorem_1_clean_rate": {
        3: 2 * sqrt(2 * A * L * M / T) + 3 * (2 * A * L * sqrt(M) / T) ** (2 / 3),
        4: 2 * sqrt(2 * A * L * M / T) + 3 * (3 * A * L * sqrt(M) / T) ** (2 / 3),
    },
    "theorem_1_sharp": {
        K: (sqrt(Q) + sqrt(A / gamma / T + gamma * L * M / 2 + Q)) ** 2
        for K, Q in ((3, (gamma * L) ** 2 * M), (4, 2.25 * (gamma * L) ** 2 * M))
    },
    "theorem_2_shifted": {3: A + 2.5 * L * M * SQUARES, 4: A + 3.5 * L * M * SQUARES},
    "theorem_2_weighted": {
        3: A + 2.5 * L * M * SQUARES + M * (0.31 + 0.29 - 0.07 - 0.05),
        4: A + 3.5 * L * M * SQUARES + M * (0.31 + 0.29 + 0.23 - 0.07 - 0.05 - 0.03),
    },
    "theorem_2_harmonic": {3: 2 * A + 18.5 * L * M * SQUARES, 4: 2 * A + 39.5 * L * M * SQUARES},
    "lemma_r_sigma": {3: 0.13 / 0.11, 4: 0.31 / 0.11},  # of steps 3, 4, 5 and of 2, 3, 4, 5
    "lemma_r_simple": {3: 1.5 + sigma * (3 * sqrt(3) + 15), 4: 2 + sigma * (12 + 56)},
    "lemma_r_half": {3: 1.5 + sigma * (4 + 4 * e), 4: 2 + sigma * (sqrt(54) + 9 * e)},
    "lemma_r_full": {3: 1.5 + sigma * (sqrt(8) + 4), 4: 2 + sigma * (sqrt(18) + sqrt(54))},
    "lyapunov_decrease": {3: gamma * (1 - 2.5 * gamma * L) * grad2, 4: gamma * (1 - 3.5 * gamma * L) * grad2},
    "theorem_d0": {3: A / gamma / T / (1 - 2.5 * gamma * L), 4: A / gamma / T / (1 - 3.5 * gamma * L)},
    "theorem_d": {
        K: ((R + sqrt(R**2 + 4 * c * (A / gamma / T + gamma * L * nu2 / 2))) / (2 * c)) ** 2
        for K, R, c in (
            (3, gamma * L * sqrt(2) * sqrt(nu2), 1 - 2.5 * gamma * L),
            (4, gamma * L * sqrt(3) * sqrt(nu2), 1 - 3.5 * gamma * L),
        )
    },
    "theorem_d_simple": dict.fromkeys((3, 4), 4 * A / gamma / T + 4 * gamma * L * nu2),
    "worst_constant": {
        K: (1 + sin(m * asin(e / 4))) / cos(asin(e / 4)) / cos(m * asin(e / 4)) for K, m in ((3, 5), (4, 7))
    },
    "theorem_f_constant": {
        3: (1 + 2 * e / 2) / (1 - e / 4 - e**2 / 2),
        4: (1 + 3 * e / 2) / (1 - e / 4 - 9 * e**2 / 8),
    },
    "theorem_f": {
        3: A / gamma / T * (1 + 2 * gamma * L) / (1 - gamma * L / 2 - 2 * (gamma * L) ** 2),
        4: A / gamma / T * (1 + 3 * gamma * L) / (1 - gamma * L / 2 - 4.5 * (gamma * L) ** 2),
    },
    "theorem_f_best_step": {3: 3 / (11 * L), 4: 3 / (15 * L)},
    "theorem_f_rate": {3: 34 * L * A / (4 * T), 4: 47 * L * A / (4 * T)},
    "energy_decrease": {
        3: gamma * (1 - gamma * L / 2 - 2 * (gamma * L) ** 2) * grad2,
        4: gamma * (1 - gamma * L / 2 - 4.5 * (gamma * L) ** 2) * grad2,
    },
    "theorem_g_constant": {3: by_windows(2, e / 2), 4: by_windows(3, e / 2)},
    "theorem_g": {K: A / gamma / T * by_windows(K - 1, gamma * L) for K in (3, 4)},
    "quadratic_threshold": {3: 2 * sin(pi / 10), 4: 2 * sin(pi / 14)},
}
SYMBOLS = {"A": A, "L": L, "M": M, "gamma": gamma, "T": T, "nu2": nu2, "grad2": grad2, "sigma": sigma}
SYMBOLS |= {"gamma_L": e, "t": t, "gammas": FALLING}
SYMBOLS_OF = {name: {"gammas": ANY} for name in ("lemma_1_sigma", "lemma_r_sigma", "distance")}
SYMBOLS_OF |= {f"{name}_constant": {"gamma_L": e / 2} for name in ("worst", "theorem_f", "theorem_g")}


def value(name, K, **changes):
    function = getattr(bounds, name)
    names = function.__wrapped__.__code__.co_varnames[: function.__wrapped__.__code__.co_argcount]
    symbols = {"K": K, **SYMBOLS, **SYMBOLS_OF.get(name, {}), **changes}
    return function(**{symbol: symbols[symbol] for symbol in names})


def test_every_bound_is_pinned():
    public = [n for n, f in vars(bounds).items() if isfunction(f) and f.__module__ == bounds.__name__ and n[0] != "_"]
    assert sorted(public) == sorted(PINS)


@pytest.mark.parametrize("K", [3, 4])
@pytest.mark.parametrize("name", PINS)
def test_bound_is_what_was_proved(name, K):
    assert value(name, K) == pytest.approx(PINS[name][K], rel=1e-12)


def test_defaults_are_a_constant_step():
    for name in ("paper_m_k", "lemma_1", "lemma_r_simple", "lemma_r_half", "lemma_r_full"):
        function = getattr(bounds, name).__wrapped__
        assert function.__defaults__ == (1,)


@pytest.mark.parametrize("K", [1, 2, 3, 4])
def test_clean_best_step_is_the_smaller_of_two(K):
    """Without delay the first; with long horizons the first, with short ones the second."""
    for horizon in (1, 3, 10, 1000, 10**6):
        first = sqrt(2 * A / (L * M * horizon))
        second = cbrt(A / (L**2 * M * (K - 1) ** 2 * horizon)) if K > 1 else first
        assert bounds.theorem_1_clean_best_step(A, L, M, K, horizon) == pytest.approx(min(first, second), rel=1e-12)


def test_step_conditions_hold_to_the_edge():
    for K in (1, 2, 3, 5):
        edge = 2 / (2 * K - 1)
        for call in (
            lambda g, K=K: bounds.theorem_d0(A, 1.0, K, g, T),
            lambda g, K=K: bounds.theorem_d(A, 1.0, nu2, K, g, T),
            lambda g, K=K: bounds.lyapunov_decrease(g, 1.0, K, np.ones(2)),
        ):
            assert np.all(call(edge * (1 - 1e-12)) > 0)
            with pytest.raises(ValueError, match=rf"gamma: expected gamma L < 2/\(2K-1\) = {edge:g}, got"):
                call(edge * (1 + 1e-12))
        assert bounds.theorem_d_simple(A, 2.0, nu2, K, edge / 4, T) > 0
        with pytest.raises(ValueError, match=rf"gamma: expected gamma L <= 1/\(2K-1\) = {edge / 2:g}, got"):
            bounds.theorem_d_simple(A, 2.0, nu2, K, edge / 4 * (1 + 1e-9), T)
    with pytest.raises(ValueError, match="gamma: expected gamma L <"):
        bounds.theorem_d0(A, 1.0, 1, 2.0, T)  # c = 0 exactly


@pytest.mark.parametrize("K", [1, 2, 3, 5, 40])
def test_exact_gradients_converge_to_the_edge_of_the_threshold(K):
    edge, of_f = 2 * sin(pi / (4 * K - 2)), 4 / (1 + sqrt(1 + 8 * (K - 1) ** 2))
    assert of_f <= edge * (1 + 1e-12)
    for call, limit, message in (
        (lambda g: bounds.theorem_g(A, 1.0, K, g, T), edge, "gamma: expected gamma L < 2 sin"),
        (lambda g: bounds.worst_constant(K, g), edge, "gamma: expected gamma L < 2 sin"),
        (lambda g: bounds.theorem_f(A, 1.0, K, g, T), of_f, "gamma: expected gamma L/2 "),
        (lambda g: bounds.energy_decrease(g, 1.0, K, np.ones(2)), of_f, "gamma: expected gamma L/2 "),
    ):
        assert np.all(call(limit * (1 - 1e-12)) > 0)
        with pytest.raises(ValueError, match=message):
            call(limit * (1 + 1e-12))


@pytest.mark.parametrize("K", range(1, 30))
def test_the_step_of_theorem_f_is_near_the_best_and_its_rate_is_what_it_gives(K):
    step = bounds.theorem_f_best_step(L, K)
    at = bounds.theorem_f(A, L, K, step, T)
    assert 0.91 * bounds.theorem_f_rate(A, L, K, T) < at <= bounds.theorem_f_rate(A, L, K, T) * (1 + 1e-12)
    values = [bounds.theorem_f(A, L, K, step * share, T) for share in np.linspace(0.3, 1.2, 91)]
    assert at <= 1.03 * min(values)


@pytest.mark.parametrize("K", [1, 3])
def test_no_bound_needs_more_steps_than_it_uses(K):
    needed = {"theorem_2": T, "theorem_2_shifted": T, "theorem_2_harmonic": T, "theorem_2_weighted": T + K - 1}
    needed |= {"lemma_1_sigma": 1, "lemma_r_sigma": t + 1, "distance": t + K - 1}
    for name, count in needed.items():
        value(name, K, gammas=ANY[:count])
        with pytest.raises(ValueError, match=rf"gammas: expected at least {count} steps > 0, got {count - 1}; extend"):
            value(name, K, gammas=ANY[: count - 1])
    assert value("lemma_r_sigma", 3, t=2) == 0.31 / 0.31
    assert value("distance", 1, t=0) == 0.0
