"""Certified constants: hunt for a violation with random points, then with an optimiser from the worst of
them."""

import numpy as np
import pytest
from scipy.optimize import minimize

from theory.families import FAMILIES, FIRST_MODULE, make_problem
from theory.magnitudes import Magnitude
from theory.network import SquashedNetwork
from theory.problems import Logistic, Quadratic, RidgeSum, split

CASES = [(family, K, n) for family in (*FAMILIES, *FIRST_MODULE) for K, n in ((1, 1), (2, 3), (4, 2))]
SLACK = 1 + 1e-9


def climb(quantity, points):
    """The largest value of `quantity` over the points and a local search from the best of them."""
    values = quantity(points)
    start = points[np.argmax(values)]
    found = minimize(lambda p: -float(quantity(p)), start, method="L-BFGS-B", options={"maxiter": 40})
    return max(float(values.max()), -found.fun)


def random_points(problem, rng, count=500, width=1):
    scales = 10.0 ** rng.uniform(-2, 1.5, size=(count, 1))
    return rng.normal(size=(count, width * problem.d)) * scales


@pytest.mark.parametrize(("family", "K", "n"), CASES)
def test_gradient_is_the_derivative_of_the_value(family, K, n):
    problem = make_problem(family, K, n, seed=1)
    rng = np.random.default_rng(2)
    w, u = rng.normal(size=(2, 20, problem.d))
    h = 1e-5
    slope = (problem.values(w + h * u) - problem.values(w - h * u)) / (2 * h)
    for i in range(n):
        exact = (problem.gradient(i, w) * u).sum(axis=-1)
        np.testing.assert_allclose(slope[:, i], exact, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("family", "K", "n"), CASES)
def test_no_point_violates_m(family, K, n):
    problem = make_problem(family, K, n, seed=3)
    if problem.M is None:
        with pytest.raises(ValueError, match=r"^M: expected a problem with bounded gradients"):
            problem.gradient_bound()
        return
    points = random_points(problem, np.random.default_rng(4))
    for i in range(n):
        worst = climb(lambda w, i=i: (problem.gradient(i, w) ** 2).sum(axis=-1), points)
        assert worst <= problem.M * SLACK


@pytest.mark.parametrize(("family", "K", "n"), CASES)
def test_no_pair_violates_l(family, K, n):
    problem = make_problem(family, K, n, seed=5)
    rng = np.random.default_rng(6)

    def stretch(pair):
        w, u = np.split(pair, 2, axis=-1)
        u = u * (1e-4 / np.linalg.norm(u, axis=-1, keepdims=True))
        change = problem.grad(w + u) - problem.grad(w - u)
        return np.linalg.norm(change, axis=-1) / 2e-4

    assert climb(stretch, random_points(problem, rng, width=2)) <= problem.L * (1 + 1e-7)


@pytest.mark.parametrize(("family", "K", "n"), CASES)
def test_no_point_violates_f_star_or_the_variance(family, K, n):
    problem = make_problem(family, K, n, seed=7)
    points = random_points(problem, np.random.default_rng(8))
    assert climb(lambda w: -problem.f(w), points) <= -problem.f_star + 1e-9

    def spread(w):
        mean = problem.grad(w)
        return sum(((problem.gradient(i, w) - mean) ** 2).sum(axis=-1) for i in range(n)) / n

    assert climb(spread, points) <= problem.variance * SLACK + 1e-12


def test_constants_are_attained_where_the_docstring_says_so():
    quadratic = make_problem("quadratic", 2, 3, seed=0)
    assert float(quadratic.f(np.zeros(quadratic.d))) == quadratic.f_star
    single = RidgeSum("sqrt", np.eye(2), np.array([[2.0, 2.0], [0.0, 0.0]]), np.zeros((2, 2)), 2)
    assert (single.L, single.M, single.f_star) == (1.0, 8.0, 2.0)
    assert float(single.f(np.zeros(2))) == single.f_star
    penalty = Logistic(np.zeros((1, 1)), rho=1.0, K_blocks=1)
    steepest = penalty.gradient(0, np.array([1 / np.sqrt(3)]))
    assert float(steepest[0] ** 2) == pytest.approx(penalty.M, rel=1e-12)


def test_network_magnitudes_bound_each_entry_of_the_hessian():
    """Not only the norm: every entry of gradient and Hessian, by differences at saturating and generic
    points."""
    rng = np.random.default_rng(9)
    problem = SquashedNetwork((2, 3, 1), rng.uniform(-1, 1, (1, 2)), rng.uniform(-1, 1, (1, 1)))
    bound = problem.magnitude(problem.inputs[0], problem.targets[0])
    h = 1e-5
    for scale in (0.1, 1.0, 3.0):
        w = rng.normal(size=(300, problem.d)) * scale
        assert (np.abs(problem.gradient(0, w)) <= bound.first * SLACK).all()
        for a, step in enumerate(h * np.eye(problem.d)):
            row = (problem.gradient(0, w + step) - problem.gradient(0, w - step)) / (2 * h)
            assert (np.abs(row) <= bound.second[a] + 1e-8).all()


def test_one_squashed_weight_nearly_attains_its_magnitude():
    v = np.linspace(-4, 4, 20001)
    second = np.abs(2 * np.tanh(v) * (1 - np.tanh(v) ** 2)).max()
    assert second == pytest.approx(float(Magnitude.squashed_weight(0, 1).second[0, 0]), rel=1e-6)


def test_split_cuts_evenly_and_refuses_what_it_cannot_cut():
    assert [b.stop - b.start for b in split(7, 3)] == [2, 2, 3]
    with pytest.raises(ValueError, match="at least one coordinate per block"):
        split(2, 3)
    with pytest.raises(ValueError, match=r"^K: expected an integer >= 1, got 0"):
        split(2, 0)


def test_bad_problems_are_refused_in_one_line():
    bad = [
        (lambda: make_problem("cubic", 1, 1, 0), "family: expected one of"),
        (lambda: make_problem("sqrt", 1.5, 1, 0), "K: expected an integer"),
        (lambda: RidgeSum("sqrt", np.eye(1), -np.ones((1, 1)), np.zeros((1, 1)), 1), "unbounded below"),
        (lambda: SquashedNetwork((1, 1), np.ones((1, 1)), 2 * np.ones((1, 1))), "targets: expected values"),
    ]
    for make, message in bad:
        with pytest.raises(ValueError, match=message) as caught:
            make()
        assert "\n" not in str(caught.value)


def test_quadratic_l_is_attained():
    problem = make_problem("quadratic", 3, 1, seed=2)
    assert isinstance(problem, Quadratic)
    top = np.linalg.eigh(problem.H)[1][:, -1]
    assert np.linalg.norm(problem.grad(top)) == pytest.approx(problem.L, rel=1e-12)
