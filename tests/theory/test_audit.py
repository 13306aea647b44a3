"""The audit of a real run: what it measures is what it says, and it reports it."""

from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from theory import audit_report
from theory.__main__ import app
from theory.audit import Plan, audit, evenly, recommended, train
from theory.families import make_problem
from theory.spectrum import curvature, secant_ratio
from theory.system import NetworkFunction

PLAN = Plan(width=8, depth=3, modules=3, iterations=24, points=6, segments=3, batch_size=200)


@pytest.fixture(scope="module")
def found():
    return audit(PLAN)


def test_power_iteration_finds_the_largest_eigenvalue():
    problem = make_problem("quadratic", 2, 1, seed=3)
    w, v = np.ones(problem.d), np.arange(1.0, problem.d + 1)
    few, many = (curvature(problem.grad, w, v, iterations)[0] for iterations in (1, 400))
    assert few <= many * (1 + 1e-6)
    assert many == pytest.approx(problem.L, rel=1e-4)


@pytest.mark.parametrize("family", ["sqrt", "logcosh", "sine", "logistic", "network"])
def test_what_is_seen_of_l_is_a_lower_bound(family):
    problem = make_problem(family, 2, 3, seed=1)
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.normal(size=(2, problem.d))
        assert secant_ratio(problem.grad(b) - problem.grad(a), b - a) <= problem.L * (1 + 1e-9)
        assert curvature(problem.grad, a, b, 3)[0] <= problem.L * (1 + 1e-6)


def test_a_segment_of_length_0_says_nothing():
    assert secant_ratio(np.zeros(2), np.zeros(2)) == 0.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_secant_that_is_not_finite_is_not_0(value):
    assert not np.isfinite(secant_ratio(np.array([value, 1.0]), np.ones(2)))
    assert np.isnan(secant_ratio(np.ones(2), np.array([np.nan, 1.0])))


@pytest.mark.parametrize("call", [0, 1, 7, 40, -1])
def test_an_audit_does_not_pass_over_what_is_not_finite(call, monkeypatch):
    """At one of the many places where f_i is measured; a comparison with NaN would say 'not refuted'."""
    intact, calls, chosen = NetworkFunction.at, [], None

    def at(self, i, w):
        calls.append(i)
        return (np.nan, np.full_like(w, np.nan)) if len(calls) - 1 == chosen else intact(self, i, w)

    monkeypatch.setattr(NetworkFunction, "at", at)
    audit(PLAN)
    chosen = range(len(calls))[call]
    calls.clear()
    with pytest.raises(ValueError, match=r"^\S.*: expected finite numbers, got nan") as caught:
        audit(PLAN)
    assert "\n" not in str(caught.value)


def test_a_gradient_of_a_sample_that_is_not_finite_is_seen(monkeypatch):
    monkeypatch.setattr("theory.audit.sample_bound", lambda training, params: np.nan)
    with pytest.raises(ValueError, match="audit at iteration 0: expected finite numbers, got nan"):
        audit(PLAN)


def test_drained_iterate_of_the_run_is_sgd_on_w():
    """x^{t+1} - x^t = -gamma grad f_{i(t)}(w^t) for the batches that were drawn: what `train` hands over is x."""
    training = PLAN.training()
    function = NetworkFunction(training.network, training.cuts, training.task.loss, training.batches, "float64")
    times = range(PLAN.iterations - PLAN.modules + 1)
    w, x = train(PLAN, training, function, times)
    drawn = np.random.default_rng([PLAN.seed, 1]).integers(training.batches.per_epoch, size=PLAN.iterations)
    assert len(set(drawn)) > 2
    for t in times[:-1]:
        gradient = function.at(int(drawn[t]), w[t])[1]
        assert np.abs(x[t + 1] - x[t] + PLAN.lr * gradient).max() < 1e-14
    assert np.array_equal(w[0], x[0])


def test_numbers_of_the_audit(found):
    assert [segment.t for segment in found.segments] == [0, 8, 21]
    assert found.points[-1].f < found.points[0].f == found.A
    for point in found.points:
        assert point.M >= point.grad2 >= 0
        assert point.variance >= -1e-12
    assert found.S <= found.M <= found.sample_M  # a batch's gradient is a mean of its samples'
    for segment in found.segments:
        assert (segment.length == 0) == (segment.t == 0)
        assert segment.secant <= segment.L
        assert segment.length <= PLAN.lr * (PLAN.modules - 1) * found.M**0.5


def test_bounds_of_the_audit_are_those_of_the_theory(found):
    said = audit_report.promises(found, PLAN.iterations)
    assert said["lin"] == found.A / (PLAN.lr * 24) + 2.5 * PLAN.lr * found.L * found.M
    assert all(value >= found.S for value in said.values())
    slow = replace(found, plan=replace(PLAN, lr=0.1 / found.L))
    assert "D" in audit_report.promises(slow, 24)
    fast = replace(found, plan=replace(PLAN, lr=2 / found.L))
    assert "D" not in audit_report.promises(fast, 24)
    assert audit_report.assumptions(fast)[0][2].startswith("fails")
    assert audit_report.assumptions(slow)[0][2] == "not refuted"


HEAVY = replace(PLAN, momentum=0.9, lr=0.02)


@pytest.fixture(scope="module")
def heavy():
    return audit(HEAVY)


def test_momentum_reaches_the_run_and_the_coasted_iterate_moves_by_fresh_gradients():
    """z = x + (x^t - x^{t-1}) beta/(1-beta) moves by -eta grad f_{i(t)}(w^t): what `train` hands over is w and x."""
    training = HEAVY.training()
    function = NetworkFunction(training.network, training.cuts, training.task.loss, training.batches, "float64")
    times = range(HEAVY.iterations - HEAVY.modules + 1)
    w, x = train(HEAVY, training, function, times)
    drawn = HEAVY.draws(training.batches.per_epoch)
    z = {t: x[t] + 9 * (x[t] - x[max(0, t - 1)]) for t in times}
    for t in times[:-1]:
        assert np.abs(z[t + 1] - z[t] + HEAVY.eta * function.at(int(drawn[t]), w[t])[1]).max() < 1e-13
    assert HEAVY.eta == pytest.approx(0.2)


def test_epochs_use_every_minibatch_once():
    plan = replace(PLAN, sampling="epochs")
    drawn = plan.draws(5)
    assert len(drawn) == PLAN.iterations
    for start in range(0, 20, 5):
        assert sorted(drawn[start : start + 5]) == [0, 1, 2, 3, 4]
    assert not np.array_equal(drawn[:5], drawn[5:10])
    assert set(PLAN.draws(5)) == set(range(5))
    with pytest.raises(ValueError, match="sampling: expected one of independent, epochs, got 'shuffled'; choose"):
        replace(PLAN, sampling="shuffled")


def test_each_run_is_told_its_theorem(found, heavy):
    assert audit_report.theorem(PLAN).startswith("Theorem 1*")
    assert audit_report.theorem(HEAVY).startswith("Theorem M1")
    assert audit_report.theorem(replace(HEAVY, sampling="epochs")).startswith("Theorem R4")
    assert list(audit_report.promises(found, 24))[:4] == ["paper", "lin", "clean", "sharp"]
    said = audit_report.promises(heavy, 24)
    assert said["lin"] == pytest.approx(heavy.A / (0.2 * 24) + 11.5 * 0.2 * heavy.L * heavy.M)
    assert "paper" not in said
    slow = replace(heavy, plan=replace(HEAVY, lr=0.01 / heavy.L / heavy.n, sampling="epochs"))
    assert list(audit_report.promises(slow, 24)) == ["R1"]
    fast = replace(slow, plan=replace(HEAVY, lr=1 / heavy.L, sampling="epochs"))
    assert audit_report.promises(fast, 24) == {}
    assert "R1" in dict(audit_report.silent(fast))
    assert "M2" in dict(audit_report.silent(replace(fast, plan=replace(fast.plan, sampling="independent"))))


def test_limits_are_those_of_the_theorems(heavy):
    limits = [limit for _, limit in audit_report.limits(replace(heavy, plan=replace(HEAVY, sampling="epochs")))]
    assert limits == pytest.approx([0.0512, 0.618, 3.8, 0.04, 0.1 / heavy.n], rel=2e-3)
    rows = audit_report.limit_rows(replace(heavy, plan=replace(HEAVY, lr=1e3)))
    assert all(row[-1] == "above it on 3 of 3 segments" for row in rows)
    rows = audit_report.limit_rows(replace(heavy, plan=replace(HEAVY, lr=1e-9)))
    assert all(row[-1] == "not refuted" for row in rows)


def test_recommended_steps_are_tried(found, heavy):
    for seen, threshold, lag in ((found, 0.618, 2.5), (heavy, 0.0512, 11.5)):
        best, half = recommended(seen).values()
        eta = (seen.A / (seen.L * seen.M * lag * 24)) ** 0.5
        assert best == pytest.approx((1 - seen.plan.momentum) * eta)
        assert half == pytest.approx(threshold / seen.L / 2, rel=2e-3)
        assert [new.lr for new in seen.advised] == [best, half]
        for new in seen.advised:
            assert new.first == pytest.approx(seen.A)
            assert f"{new.last:.3g}" in audit_report.text(seen)
    epochs = replace(found, plan=replace(PLAN, sampling="epochs"))
    assert next(iter(recommended(epochs).values())) == pytest.approx(1 / (found.L * found.n))


def test_batch_norm_has_no_gradient_of_a_sample():
    plan = Plan(model="cnn", width=2, depth=2, modules=2, iterations=4, points=2, segments=2, batch_size=700)
    seen = audit(plan)
    assert seen.sample_M is None
    assert "batch norm" in audit_report.text(seen)


def test_command_writes_table_and_figure(tmp_path):
    arguments = "--width 6 --depth 2 --modules 2 --iterations 9 --points 4 --segments 2 --batch-size 400 --out"
    done = CliRunner().invoke(app, ["audit", *arguments.split(), str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    text = (tmp_path / "out" / "audit.md").read_text()
    for phrase in ("Certificates", "Estimates", "γL ≤ 1", "Theorem 1* (sharp)", "(audit.png)"):
        assert phrase in text
    assert (tmp_path / "out" / "audit.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--iterations 10", "iterations: expected an integer >= 43, got 10"),
        ("--modules 0", "modules: expected an integer >= 1, got 0"),
        ("--segments 9 --points 3", "points: expected an integer >= 9, got 3"),
        ("--model perceptron", "unknown model 'perceptron'"),
        ("--engine mpi", "engine: expected reference or threads, which see all modules, got mpi; choose one of them"),
        ("--sampling shuffled", "sampling: expected one of independent, epochs, got 'shuffled'; choose one of these"),
        ("--momentum 1", "momentum: expected a number in [0, 1), got 1.0"),
        ("--engine steam", "engine: expected reference or threads, which see all modules, got steam; choose one"),
        ("--lr -1", "lr: expected a finite number > 0"),
        ("--lr 1e6", "audit: the loss became"),
    ],
)
def test_bad_input_is_one_line(arguments, message, tmp_path):
    done = CliRunner().invoke(app, ["audit", *arguments.split(), "--out", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_evenly_spaced():
    assert evenly(9, 4) == [0, 3, 6, 9]
    assert evenly(9, 1) == [0]


def test_a_secant_ratio_is_one_of_lengths_and_nothing_for_a_point():
    for length in (0.5, 1.0, 2.0):
        assert secant_ratio(np.array([0.0, 3.0]), np.array([length, 0.0])) == 3 / length
    assert secant_ratio(np.array([0.0, 3.0]), np.zeros(2)) == 0


def test_power_iteration_ends_at_the_largest_curvature_and_a_direction_of_length_one():
    size, v = curvature(lambda w: np.array([3.0, 0.5]) * w, np.array([1.0, -2.0]), np.array([1.0, 1.0]), 40)
    assert size == pytest.approx(3, rel=1e-9)
    np.testing.assert_allclose(np.abs(v), [1, 0], atol=1e-9)
