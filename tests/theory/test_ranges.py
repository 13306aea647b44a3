"""Numbers out of range, and what is no number, are refused in one line by whatever takes them."""

import math
import re
from decimal import Decimal
from fractions import Fraction
from inspect import isfunction, signature

import numpy as np
import pytest

from theory import bounds, checks, pipedream, recipe_bounds, spectrum, stability
from theory.cases import Case
from theory.delayed import ddg
from theory.exact import Sequences, all_sequences, expectation, given_history
from theory.optimizers import SGD, Adam, Momentum
from theory.problems import split

NO_NUMBER = ["1", None, True, 1j, [1.0], np.ones(1), {}, math.nan, math.inf, -math.inf, 10**400, Decimal("NaN")]
NO_INTEGER = [*NO_NUMBER[:-2], 2.5, 2.0, np.float64(2), Fraction(2)]
POSITIVE, NONNEGATIVE = [*NO_NUMBER, 0, 0.0, -0.0, -1, -1e-300], [*NO_NUMBER, -1, -1e-300]
STEPS = [
    *(1.0, None, "steps", [1.0] * 9, np.ones((9, 1)), np.array(["1"] * 9), np.ones(9, bool), np.ones(9, complex)),
    *(np.array([0.5] * 8 + [bad]) for bad in (0.0, -1.0, math.nan, math.inf)),
    np.array([0.5] * 8 + [None], dtype=object),
]
BAD = {
    "K": [*NO_INTEGER, 0, -3],
    "T": [*NO_INTEGER, 0, -3],
    "t": [*NO_INTEGER, -1],
    **dict.fromkeys(("gamma", "L", "sigma"), POSITIVE),
    **dict.fromkeys(("A", "M", "nu2", "gamma_L"), NONNEGATIVE),
    "grad2": [bad for bad in NONNEGATIVE if not isinstance(bad, list | np.ndarray)],
    "gammas": STEPS,
    # what people run
    **{name: [*NO_INTEGER, 0, -3] for name in ("n", "d")},
    "warm_up": [*NO_INTEGER, -1],
    **dict.fromkeys(("eta", "eps"), POSITIVE),
    **dict.fromkeys(("decay", "w02", "G"), NONNEGATIVE),
    **{name: [*NONNEGATIVE, 1, 1.0, 1.5, 1e300] for name in ("beta", "beta1", "beta2")},
    "nesterov": [0, 1, "True", None, 1.0, np.True_],
    **dict.fromkeys(("etas", "sums"), STEPS),
}
GOOD = {"K": 2, "T": 5, "t": 3, "gamma": 0.1, "L": 1.3, "A": 1.7, "M": 2.1, "nu2": 0.7, "gamma_L": 0.2}
GOOD |= {"sigma": 1.5, "grad2": 0.4, "gammas": 0.1 / np.arange(1.0, 10.0)}
GOOD |= {"n": 3, "d": 4, "warm_up": 2, "eta": 0.05, "eps": 0.01, "decay": 0.02, "w02": 1.7, "G": 0.9, "beta": 0.5}
GOOD |= {"beta1": 0.5, "beta2": 0.9, "nesterov": True, "etas": GOOD["gammas"], "sums": GOOD["gammas"] / 2}
GOOD_FOR = {"shuffled_variance": {"gamma": 0.02}}
GOOD_FOR |= {name: {"etas": 0.1 / np.arange(1.0, 4.0)} for name in ("default_training", "default_training_shuffled")}
PUBLIC = {
    name: function
    for module in (bounds, recipe_bounds)
    for name, function in vars(module).items()
    if isfunction(function) and not name.startswith("_") and function.__module__ == module.__name__
}
ARGUMENTS = [(name, symbol) for name, function in PUBLIC.items() for symbol in signature(function).parameters]


def refused(call, starts=""):
    with pytest.raises(ValueError, match=f"^{re.escape(starts)}.*; ") as caught:
        call()
    assert "\n" not in str(caught.value)
    assert ": expected " in str(caught.value)


def good(function):
    symbols = GOOD | GOOD_FOR.get(function.__name__, {})
    return {symbol: symbols[symbol] for symbol in signature(function).parameters}


@pytest.mark.parametrize("name", PUBLIC)
def test_every_bound_is_a_finite_number_for_good_symbols(name):
    assert np.isfinite(PUBLIC[name](**good(PUBLIC[name]))).all()


@pytest.mark.parametrize(("name", "symbol"), ARGUMENTS)
def test_every_bound_refuses_a_symbol_out_of_range(name, symbol):
    for bad in BAD[symbol]:
        arguments = good(PUBLIC[name]) | {symbol: bad}
        refused(lambda arguments=arguments: PUBLIC[name](**arguments), f"{symbol}: expected ")
        refused(lambda arguments=arguments: PUBLIC[name](*arguments.values()), f"{symbol}: expected ")


NO_SCALE = ("t", "gammas", "grad2", "etas", "sums", "nesterov")
SCALES = [1e-320, 1e-200, 1e-160, 1e160, 1e200, 1e308, np.float64(1e308), np.float64(1e-320)]


@pytest.mark.parametrize(("name", "symbol"), [(n, s) for n, s in ARGUMENTS if s not in NO_SCALE])
def test_no_bound_is_infinite_or_fails_otherwise_than_in_one_line(name, symbol):
    integers = symbol in ("K", "T", "n", "d", "warm_up")
    for extreme in [10**80, 10**200, 10**400] if integers else SCALES:
        arguments = good(PUBLIC[name]) | {symbol: extreme}
        try:
            value = PUBLIC[name](**arguments)
        except ValueError:
            refused(lambda arguments=arguments: PUBLIC[name](**arguments))
        else:
            assert np.isfinite(value).all()


def test_without_noise_the_best_step_is_the_largest_that_is_admitted_if_there_is_one():
    A, L, K, T = 1.7, 0.8, 3, 50
    step = bounds.theorem_1_best_step(A, L, 0.0, K, T)
    assert step == 1 / L
    smaller = [bounds.theorem_1(A, L, 0.0, K, step * factor, T) for factor in (0.5, 0.99)]
    assert min(smaller) > bounds.theorem_1(A, L, 0.0, K, step, T)
    for best in (bounds.theorem_1_lin_best_step, bounds.theorem_1_clean_best_step):
        for K in (1, 3):
            refused(lambda best=best, K=K: best(A, L, 0.0, K, T), "M: expected a number > 0, got 0")


@pytest.mark.parametrize("name", ["theorem_1_best_step", "theorem_1_lin_best_step", "theorem_1_clean_best_step"])
def test_a_start_at_the_minimum_has_no_best_step(name):
    refused(lambda: getattr(bounds, name)(0.0, 1.0, 1.0, 2, 5), "A: expected a finite number > 0, got 0.0")


def test_exact_numbers_stay_exact():
    third = Fraction(1, 3)
    assert bounds.lemma_1(third, third, third, 2, third) == -third / 2 * third + third**3 * 18 * third
    assert bounds.paper_m_k(2, Decimal("0.1")) == Decimal("1.8")
    assert bounds.lemma_1_sigma(np.array([third, third / 2], dtype=object), 2) == 2.0


@pytest.mark.parametrize(
    ("check", "bad"), [("positive", POSITIVE), ("nonnegative", NONNEGATIVE), ("number", NO_NUMBER)]
)
def test_checks_refuse(check, bad):
    for value in [*bad, np.float32("nan"), Decimal("Infinity"), Decimal("sNaN"), Decimal("1e400"), Fraction(10**400)]:
        refused(lambda value=value: getattr(checks, check)("x", value), "x: expected a finite number")


def test_checks_say_which_numbers_are_not_finite():
    for check in (checks.positive, checks.nonnegative, checks.number):
        for value in (math.nan, math.inf, -math.inf, Decimal("NaN"), 10**400):
            with pytest.raises(checks.NotFiniteError):
                check("x", value)
        with pytest.raises(ValueError, match="x: expected") as caught:
            check("x", "1")
        assert not isinstance(caught.value, checks.NotFiniteError)


def test_checks_return_what_is_fine():
    tiny = 5e-324
    for value in (1, 2.5, tiny, np.float32(3), np.int64(4), Fraction(1, 2), Decimal("0.5")):
        assert checks.positive("x", value) == checks.nonnegative("x", value) == checks.number("x", value) == value
        assert type(checks.positive("x", value)) is float
    assert checks.nonnegative("x", 0) == 0.0
    assert checks.number("x", -2) == -2.0
    for value in (Fraction(1, 10**400), Decimal("1e-400")):
        refused(lambda value=value: checks.positive("x", value))  # as a float it is 0
    assert checks.integer("x", 3, 3) == checks.integer("x", np.int8(3), 3) == 3
    for value in (*NO_INTEGER, 2):
        refused(lambda value=value: checks.integer("x", value, 3), "x: expected an integer >= 3")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_finite_says_where(value):
    array = np.ones((2, 3))
    assert checks.finite("w", array) is array
    array[1, 2] = value
    with pytest.raises(
        checks.NotFiniteError, match=r"w: expected finite numbers, got \S+ at \(1, 2\) of \(2, 3\); check"
    ):
        checks.finite("w", array)
    exact = np.array([Decimal(1), Decimal(value), Fraction(1)], dtype=object)
    with pytest.raises(checks.NotFiniteError, match=r"at \(1,\) of \(3,\)"):
        checks.finite("w", exact)


H, BLOCKS = np.diag([1.0, 0.5, 0.2]), split(3, 2)
MATRICES = [None, "H", 1.0, np.ones(3), np.ones((3, 2)), np.full((3, 3), math.nan), np.diag([1.0, math.inf, 1.0])]
QUADRATIC = {
    "transition": lambda H, blocks, gamma: stability.transition(H, blocks, gamma),
    "deviation": lambda H, blocks, gamma: stability.deviation(H, blocks, gamma, ddg),
    "spectral_radius": lambda H, blocks, gamma: stability.spectral_radius(H, blocks, gamma),
    "noise_floor": lambda H, blocks, gamma: stability.noise_floor(H, blocks, gamma, np.eye(3)),
    "measured_threshold": lambda H, blocks, gamma: stability.measured_threshold(H, blocks, gamma),
}


@pytest.mark.parametrize("name", QUADRATIC)
def test_stability_refuses(name):
    call = QUADRATIC[name]
    assert np.isfinite(call(H, BLOCKS, 0.1)).all()
    for bad in MATRICES:
        refused(lambda bad=bad: call(bad, BLOCKS, 0.1), "H: expected ")
    refused(lambda: call(np.array([[1.0, 2.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), BLOCKS, 0.1), "H: expected ")
    for bad in ((), split(4, 2), (slice(0, 1), slice(2, 3)), (slice(1, 3),), None):
        refused(lambda bad=bad: call(H, bad, 0.1), "blocks: expected ")
    for bad in POSITIVE:
        refused(lambda bad=bad: call(H, BLOCKS, bad))


def test_stability_refuses_what_is_not_stable_or_not_definite():
    refused(lambda: stability.noise_floor(H, BLOCKS, 1.5, np.eye(3)), "gamma: expected a step below the threshold")
    refused(lambda: stability.noise_floor(np.diag([1.0, 0.5, 0.0]), BLOCKS, 0.1, np.eye(3)), "gamma: expected a step")
    for bad in MATRICES:
        refused(lambda bad=bad: stability.noise_floor(H, BLOCKS, 0.1, bad), "noise: expected ")
    for flat in (np.zeros((3, 3)), np.diag([1.0, 0.5, 0.0]), -H):
        refused(lambda flat=flat: stability.measured_threshold(flat, BLOCKS), "H: expected a positive definite matrix")


def test_expectations_refuse():
    values, listed = np.ones(8), Sequences.of(2, 3)
    for n in (*NO_INTEGER, 0, -1):
        refused(lambda n=n: all_sequences(n, 2), "n: expected an integer >= 1")
        refused(lambda n=n: all_sequences(2, n), "T: expected an integer >= 1")
        refused(lambda n=n: Sequences.of(n, 2), "n: expected an integer >= 1")
        refused(lambda n=n: Sequences.of(2, n), "T: expected an integer >= 1")
        refused(lambda n=n: given_history(values, n, 1), "n: expected an integer >= 1")
        if n not in (0,):
            refused(lambda n=n: given_history(values, 2, n), "t: expected an integer >= 0")
            refused(lambda n=n: Sequences.of(2, 99, seed=n), "seed: expected an integer >= 0")
        refused(lambda n=n: Sequences.of(2, 99, draws=n), "draws: expected an integer >= 2")
    refused(lambda: Sequences.of(2, 99, draws=1), "draws: expected an integer >= 2, got 1")
    refused(lambda: all_sequences(10, 100), "T: expected ")
    refused(lambda: all_sequences(2, 10**6), "T: expected ")
    refused(lambda: given_history(values, 3, 1), "values: expected a multiple of 3 sequences, got 8")
    for ceiling in NONNEGATIVE:
        refused(lambda ceiling=ceiling: expectation(values, listed, ceiling), "ceiling: expected ")
    for bad in (np.ones(7), np.ones((8, 1)), np.float64(1.0)):
        refused(lambda bad=bad: expectation(bad, listed, 1.0), "values: expected one number per sequence, 8")


def test_the_spectrum_refuses():
    def grad(w):
        return 2 * w

    w = np.ones(2)
    for bad in (*NO_INTEGER, 0):
        refused(lambda bad=bad: spectrum.curvature(grad, w, w, bad), "iterations: expected ")
    for bad in (np.zeros(2), np.array([math.nan, 1.0]), np.array([math.inf, 1.0])):
        refused(lambda bad=bad: spectrum.curvature(grad, w, bad, 3), "v: expected ")
    refused(lambda: spectrum.curvature(grad, w * math.nan, w, 3), "w: expected ")


def test_rules_refuse():
    for bad in POSITIVE:
        refused(lambda bad=bad: Adam(bad), "gamma: expected ")
        refused(lambda bad=bad: Momentum(bad), "gamma: expected ")
    for bad in NONNEGATIVE:
        refused(lambda bad=bad: Momentum(0.1, mu=bad), "mu: expected ")
        refused(lambda bad=bad: Momentum(0.1, decay=bad), "decay: expected ")
    for bad in STEPS:
        refused(lambda bad=bad: SGD(bad), "gamma: expected ")


def test_cases_refuse():
    fine = {"family": "sqrt", "K": 2, "n": 2, "T": 3, "steps": "constant", "gamma_L": 0.1, "start": 1.0, "seed": 0}
    for name in ("K", "n", "T"):
        for bad in (*NO_INTEGER, 0):
            refused(lambda name=name, bad=bad: Case(**fine | {name: bad}), f"{name}: expected ")
    for bad in POSITIVE:
        refused(lambda bad=bad: Case(**fine | {"gamma_L": bad}), "gamma_L: expected ")
    for bad in NO_NUMBER:
        refused(lambda bad=bad: Case(**fine | {"start": bad}), "start: expected ")


def test_operations_refuse():
    assert "".join(pipedream.operations(0, 2, 3)) == "FFBFBB"
    for bad in (*NO_INTEGER, -1):
        refused(lambda bad=bad: list(pipedream.operations(bad, 2, 3)), "stage: expected ")
        refused(lambda bad=bad: list(pipedream.operations(0, bad, 3)), "stages: expected ")
        refused(lambda bad=bad: list(pipedream.operations(0, 2, bad)), "minibatches: expected ")
    refused(lambda: list(pipedream.operations(2, 2, 3)), "stages: expected an integer >= 3, got 2")
