"""The iteration against arithmetic by hand, and its drained iterate."""

from fractions import Fraction

import numpy as np
import pytest

from theory.delayed import Run, ddg
from theory.exact import Sequences, all_sequences, expectation, given_history
from theory.families import make_problem
from theory.optimizers import SGD
from theory.problems import RidgeSum
from theory.steps import KINDS, step_sizes


class Linear:
    """f_i(w) = <c_i, w> with c_1 = (1, 10), c_2 = (2, 20): every update can be read off."""

    blocks = (slice(0, 1), slice(1, 2))

    def gradient(self, i, w):
        return np.array([[Fraction(1), Fraction(10)], [Fraction(2), Fraction(20)]], dtype=object)[i]


def test_two_modules_by_hand():
    """Module 2 applies sample t at once, module 1 one iteration late and not at t = 0; in exact fractions."""
    w0 = np.array([Fraction(0), Fraction(0)], dtype=object)
    gammas = np.array([Fraction(1), Fraction(1, 2), Fraction(1, 3), Fraction(1, 5)], dtype=object)
    run = Run.of(Linear(), w0, np.array([[0, 1, 0]]), gammas)
    assert run.w[:, 0].tolist() == [
        [0, 0],
        [0, -10],
        [Fraction(-1, 2), -20],
        [Fraction(-1, 2) - Fraction(2, 3), -20 - Fraction(10, 3)],
    ]
    assert run.drain()[0].tolist() == [Fraction(-7, 6) - Fraction(1, 5), Fraction(-70, 3)]
    assert (run.drain() == run.x[-1]).all()


def test_one_module_is_sgd():
    problem = make_problem("sqrt+noise", 1, 3, seed=0)
    samples = all_sequences(3, 4)
    gammas = step_sizes("harmonic", 0.3, 4)
    w = np.tile(np.linspace(-1, 1, problem.d), (len(samples), 1))
    run = Run.of(problem, w[0], samples, gammas)
    for t in range(4):
        w = w - gammas[t] * problem.gradient(samples[:, t], w)
        assert np.array_equal(run.w[t + 1], w)
    assert np.array_equal(run.x, run.w)


@pytest.mark.parametrize("steps", KINDS)
def test_iterates_do_not_depend_on_how_many_sequences_run_together(steps):
    problem = make_problem("logistic", 3, 2, seed=1)
    gammas = step_sizes(steps, 0.4, 8, seed=2)
    samples = all_sequences(2, 6)
    together = ddg(problem, np.ones(problem.d), samples, SGD(gammas))
    alone = ddg(problem, np.ones(problem.d), samples[37:38], SGD(gammas))
    np.testing.assert_allclose(together[:, 37], alone[:, 0], rtol=1e-13)


def test_falling_steps_fall_halfway():
    assert step_sizes("falling", 2.0, 5).tolist() == [2.0, 2.0, 2.0, 0.002, 0.002]


def test_conditional_expectations_obey_the_tower_rule():
    samples = all_sequences(3, 4)
    assert samples.shape == (81, 4)
    assert len({tuple(row) for row in samples}) == 81
    values = np.random.default_rng(0).normal(size=81)
    assert given_history(values, 3, 4) == pytest.approx(values)
    assert given_history(values, 3, 2).mean() == pytest.approx(values.mean())
    first = given_history(samples.astype(float), 3, 2)
    assert first[:, :2].tolist() == [[a, b] for a in range(3) for b in range(3)]


def test_monte_carlo_interval_covers_the_exact_expectation():
    problem = make_problem("sine", 2, 2, seed=0)
    M = problem.gradient_bound()

    def mean_square(sequences):
        run = Run.of(problem, np.ones(problem.d), sequences.samples, step_sizes("constant", 0.1, 13))
        return expectation((problem.grad(run.w[:-1]) ** 2).sum(axis=-1).mean(axis=0), sequences, M)

    exact = mean_square(Sequences.of(2, 12))
    sampled = mean_square(Sequences(np.random.default_rng(1).integers(2, size=(400, 12)), exhaustive=False))
    assert exact.uncertainty == 0.0
    assert 0 < abs(sampled.mean - exact.mean) < sampled.uncertainty
    assert not Sequences.of(2, 40).exhaustive
    assert Sequences.of(1, 400).exhaustive


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: ddg(p, np.zeros(2), np.zeros((1, 2)), SGD(np.ones(3))), "samples: expected a nonempty"),
        (
            lambda p: Run.of(p, np.zeros(2), np.zeros((1, 2), int), np.ones(2)),
            r"gammas: expected T \+ K - 1 = 3",
        ),
        (lambda p: SGD(-np.ones(3)), "gamma: expected"),
        (lambda p: all_sequences(2, 2.5), r"T: expected an integer >= 1, got 2\.5"),
        (lambda p: step_sizes("constant", 0.0, 3), "gamma: expected a finite number > 0"),
        (lambda p: step_sizes("rising", 1.0, 3), "steps: expected one of constant"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    problem = RidgeSum("sqrt", np.eye(2), np.ones((1, 2)), np.zeros((1, 2)), 2)
    with pytest.raises(ValueError, match=message) as caught:
        call(problem)
    assert "\n" not in str(caught.value)
