"""Implementations that are not ours: right ones pass, wrong ones are called by their names, bad input is one line."""

import os
import re
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from tests.theory import iterations
from theory import by_hand, trial, trial_report
from theory.__main__ import app
from theory.campaign import Plan
from theory.candidate import CONTRACT, Candidate, CandidateError, load, time_limit
from theory.cases import Case
from theory.claims import CLAIMS, Kind
from theory.claims.claim import rounding
from theory.delayed import ddg
from theory.matrix import ordinary, runs
from theory.optimizers import SGD
from theory.steps import KINDS
from theory.wrong import CATALOGUE, early_steps

pytestmark = pytest.mark.slow

FILE = Path(iterations.__file__)
ROOT = Path(__file__).parents[2]


def candidate(function):
    return Candidate(function.__name__, function)


def run(name, *arguments):
    options = ["verify", "--iteration", f"{FILE}:{name}", *map(str, arguments)]
    return CliRunner().invoke(app, options, env={"COLUMNS": "200"})


def of_catalogue(name):
    """An entry of the catalogue as one returns it: iterates, then nothing moves while DDG drains."""

    def whole(problem, w0, samples, gammas):
        if name in trial.DRAINING:
            return trial.DRAINING[name](trial.reference(problem, w0, samples, gammas), len(problem.blocks))
        w = CATALOGUE[name](problem, w0, samples, SGD(gammas))
        return np.concatenate([w, np.repeat(w[-1:], len(problem.blocks) - 1, axis=0)])

    return whole


KNOWN = (*CATALOGUE, *trial.DRAINING)


# --- what is on trial --------------------------------------------------------------------------------------


def test_every_claim_is_on_trial_or_left_out():
    left_out = [name for names in trial.LEFT_OUT.values() for name in names]
    assert sorted([*trial.ON_TRIAL, *left_out]) == sorted(CLAIMS)
    kinds = {CLAIMS[name].kind for name in trial.ON_TRIAL}
    assert kinds == {Kind.IDENTITY, Kind.UPPER_BOUND, Kind.STABILITY_THRESHOLD}


@pytest.mark.parametrize("name", trial.ON_TRIAL)
def test_claims_on_trial_run_the_iteration(name):
    claim = CLAIMS[name]
    assert runs(claim, ordinary(claim) + tuple(case for case in claim.adversaries if trial.small(case)))


def test_the_reference_drains():
    """Its last row is x^T; for T = 1, K = 3 by hand."""
    for case in trial.BATTERY:
        drained = case.run().drain()
        w = trial.reference(case.problem, case.w0, case.sequences.samples, case.gammas)
        assert np.array_equal(w[-1], drained)
        assert np.array_equal(w[: case.T + 1], ddg(case.problem, case.w0, case.sequences.samples, SGD(case.gammas)))
    by = by_hand.ByHand(1, 3, 1, 1, changing=True)
    quarter = Fraction(1, 4)
    assert by.expected()[:, 0].tolist() == [
        [quarter, 0, 0],
        [quarter, 0, -Fraction(3, 8)],
        [quarter, -Fraction(1, 8), -Fraction(3, 8)],
        [Fraction(1, 8), -Fraction(1, 8), -Fraction(3, 8)],
    ]


# --- right implementations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("function", iterations.RIGHT[:3], ids=lambda function: function.__name__)
def test_right_ones_pass_every_claim(function):
    tried = candidate(function)
    behaves = trial_report.behaviour(tried)
    assert not behaves.differs
    assert "like DDG" in behaves.text
    found = trial.examinations(tried, Plan(trial.chosen([]), 4, 1))
    assert [e.claim.id for e in found] == list(trial.ON_TRIAL)
    assert all(e.as_expected for e in found), [e.violation for e in found if not e.as_expected]
    assert "all 35 claims hold" in trial_report.text(tried, behaves, found)


def test_rounding_grows():
    """On this case some 600,000 times, which is no mistake either; a wrong step is one all the same."""
    case, tried = Case("sine", 1, 1, 40, "constant", 4.0, 3.0, seed=9), candidate(iterations.sums)
    claim = CLAIMS["delayed-view"]
    strictly, fairly = claim.check(case, tried), trial.asked_of_others(claim, tried.whole).check(case, tried)
    assert strictly.measured > 1e5 * rounding(case.run().w)
    assert not fairly.violates(claim.kind)
    wrong = candidate(iterations.for_six)
    assert trial.asked_of_others(claim, wrong.whole).check(case, wrong).violates(claim.kind)


def test_another_order_of_additions_passes():
    """T^2 additions for T iterations: not for claims with long runs."""
    tried = candidate(iterations.sums)
    assert not trial_report.behaviour(tried).differs
    found = trial.examinations(tried, Plan(trial.chosen([*trial.IDENTITIES, "distance", "lemma-v"]), 20, 1))
    assert all(e.as_expected for e in found), [e.violation for e in found if not e.as_expected]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    function=st.sampled_from(iterations.RIGHT),
    steps=st.sampled_from(KINDS),
    K=st.integers(1, 5),
    gamma_L=st.sampled_from((0.5, 2.0, 4.0)),
    T=st.sampled_from((7, 40)),
    seed=st.integers(0, 99),
)
def test_rounding_that_grows_is_no_mistake(function, steps, K, gamma_L, T, seed):
    """Long steps on a function that is not convex: differences in the last digit grow from iteration to iteration."""
    case = Case("sine", K, 1, T, steps, gamma_L, 3.0, seed)
    for name in ("draining", "delayed-view", "drained-identity"):
        claim = trial.asked_of_others(CLAIMS[name], candidate(function).whole)
        assert not claim.check(case, candidate(function)).violates(claim.kind)


def test_the_command_line_judges_a_right_one():
    done = run("queue", "--examples", 2, "--claims", "draining,distance")
    assert done.exit_code == 0, done.output
    assert "queue: all 2 claims hold" in done.output
    assert "it behaves like DDG" in done.output
    assert "not examined, being about something else: formulas (5); conjectures (3)" in done.output


# --- wrong ones --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KNOWN)
def test_every_known_mistake_is_recognised_as_itself_alone(name):
    compared = trial.compare(of_catalogue(name))
    assert compared.known == (name,)
    assert compared.difference is not None


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    family=st.sampled_from(("sqrt+noise", "logistic", "network", "quadratic")),
    K=st.integers(1, 5),
    n=st.integers(1, 4),
    T=st.integers(1, 9),
    steps=st.sampled_from(KINDS),
    seed=st.integers(0, 10**6),
    name=st.sampled_from(KNOWN),
)
def test_on_any_case_those_are_named_that_do_the_same(family, K, n, T, steps, seed, name):
    case = Case(family, K, n, T, steps, 0.3, 1.0, seed)
    arguments = case.problem, case.w0, trial.few(case), case.gammas
    w = of_catalogue(name)(*arguments)
    found = trial.names(case, w)
    assert name in found
    for other in (*CATALOGUE, *trial.DRAINING):
        rows = case.T + 1 if other in CATALOGUE else None
        same = np.allclose(of_catalogue(other)(*arguments)[:rows], w[:rows], rtol=0, atol=1e-9 * (1 + abs(w).max()))
        assert (other in found) == same


def test_two_that_do_the_same_are_both_named():
    """With two modules, module 1 at delay 1: a delay of 0 is one too short, and none at all."""
    two = [Case("logistic", 2, 3, 6, "arbitrary", 0.5, 1.0, seed=1)]
    known = trial.compare(of_catalogue("no delay at all"), two).known
    assert known == ("delay one too short", "no delay at all")
    said = trial_report._either(known)
    assert said == "delay one too short, or no delay at all; these are the same here"


@pytest.mark.parametrize(
    ("name", "mistake", "line"),
    [
        ("one_list", "current weights, overwritten in place", "expected 1/8, got 3/8"),
        ("no_drain", "missing drain", "expected 1/8, got 1/4"),
    ],
)
def test_the_verdict_names_the_mistake_and_the_smallest_case(name, mistake, line):
    done = run(name, "--examples", 10, "--claims", "draining,distance")
    assert done.exit_code == 1, done.output
    assert f"{name}: 1 of 2 claims fail: draining" in done.output
    assert f"it behaves like: {mistake}\n" in done.output
    assert "K = 2 modules of 1 weight" in done.output
    assert done.output.rstrip().endswith(f"module 1, coordinate 0: {line}")


def test_a_mistake_without_a_name_is_located():
    behaves = trial_report.behaviour(candidate(iterations.of_its_own))
    assert behaves.differs
    assert "none of the known mistakes; first difference at iteration 2, module 1, coordinate 0" in behaves.text
    assert re.search(r"yours: w\^1 = \(.*\); module 1, coordinate 0: expected 1/8, got", behaves.text)


def test_a_millionth_of_a_step_is_noticed():
    """Small, in one module of five: the battery has it, and the identities do."""
    tried = candidate(iterations.almost)
    assert trial.compare(tried.whole).difference is not None
    assert trial_report.behaviour(tried).differs


def test_what_only_the_claims_find_is_located_too():
    tried = candidate(iterations.for_six)
    behaves = trial_report.behaviour(tried)
    assert not behaves.differs
    found = trial.examinations(tried, Plan(trial.chosen(["drained-identity", "delayed-view"]), 100, 0))
    assert not all(e.as_expected for e in found)
    said = trial_report.text(tried, behaves, found)
    assert re.search(r"found a difference at iteration 9, module \d, coordinate \d: expected .*, got ", said)


@pytest.mark.parametrize("name", ["wrong sample", "every gradient doubled", "step size of the next iteration"])
def test_small_cases_are_computed_without_rounding(name):
    case, found = by_hand.smallest(of_catalogue(name))
    assert (case.got(lambda *arguments: trial.reference(*arguments)) == case.expected().astype(float)).all()
    text = by_hand.written(case, found, case.got(of_catalogue(name)))
    assert "." not in text.replace("..", "").replace("w[0]", "")
    assert all(case.d * abs(float(weight)) < 10 for weight in case.expected().ravel())


def test_every_small_case_is_exact_in_floats():
    for case in by_hand.sizes():
        assert (case.got(trial.reference) == case.expected().astype(float)).all()


def test_the_smallest_case_can_be_followed_by_hand():
    """Each line of it is true: fractions on both sides of every '='."""
    for name in KNOWN:
        case, found = by_hand.smallest(of_catalogue(name))
        text = by_hand.written(case, found, case.got(of_catalogue(name)))
        for start, step, g, end in re.findall(r": \(([^)]*)\) - (\S+) \(([^)]*)\) = \(([^)]*)\)", text):
            starts, gs, ends = ([Fraction(x) for x in side.split(", ")] for side in (start, g, end))
            assert [a - Fraction(step) * b for a, b in zip(starts, gs, strict=True)] == ends
        assert text.count("so w^") == found.t


def test_the_clock_that_is_wrong_is_that_of_sgd():
    with pytest.raises(ValueError, match="rule: expected SGD"):
        early_steps(None, np.zeros(1), np.zeros((1, 1), dtype=int), "Adam")


# --- bad input ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "iteration: expected a function of .*iterations.py, got 'missing'; it has loops, queue"),
        ("not_a_function", "not_a_function: expected a function of .*, got 3"),
        ("two_arguments", r"two_arguments: expected a function of \(problem, w0, samples, gammas\), got one of"),
        ("raises", r"raises \(iterations.py, line \d+\): KeyError: 'gradient' \(K = 2, T = 6, d = 6\)"),
        ("leaves", r"leaves \(iterations.py, line \d+\): SystemExit: 0"),
        ("writes", r"writes \(iterations.py, line \d+\): writes into its arguments .*; take a copy"),
        ("without_draining", r"without_draining: expected w of shape .* = \(8, 6\), got \(7, 6\); the last K-1 rows"),
        ("transposed", r"transposed: expected w of shape .*, got \(6, 8\); one row per iteration"),
        ("a_list", "a_list: expected a NumPy array, got"),
        ("single", "single: expected float64, got float32"),
        ("empty_rows", r"iteration: expected numbers, got nan in w\^2, coordinate 5"),
        (
            "half_a_point",
            r"half_a_point \(iterations.py, line \d+\): .*expected all 6 weights, \(d,\), got shape",
        ),
        ("whole_batch", r"whole_batch \(iterations.py, line \d+\): .*expected the number of one sample"),
        ("at_random", "iteration: expected the same w for the same arguments"),
    ],
)
def test_what_cannot_be_judged_is_one_line_and_exit_code_2(name, message):
    done = run(name, "--examples", 2, "--claims", "draining")
    assert done.exit_code == 2, done.output
    assert re.match(f"error: {message}", done.stderr), done.stderr
    assert done.stderr.count("\n") == 1


def line_in(name):
    """The line of the raise in a function of iterations.py."""
    lines = FILE.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"def {name}("))
    return start + 2


def test_the_line_is_the_users():
    assert f"line {line_in('raises')})" in run("raises").stderr
    assert f"line {line_in('leaves')})" in run("leaves").stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import numpy\nimport nothing_of_this_name\n", r"failed \(mine.py, line 2\): ModuleNotFoundError"),
        ("x = 1\n\ndef f(:\n    pass\n", r"failed \(line 3\): SyntaxError: "),
        ("raise SystemExit\n", r"failed \(mine.py, line 1\): SystemExit"),
    ],
)
def test_a_file_that_cannot_be_imported(tmp_path, text, message):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(CandidateError, match=message) as caught:
        load(f"{tmp_path / 'mine.py'}:f")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("theory.delayed", "expected module:function or path/to/file.py:function"),
        (":f", "expected module:function"),
        ("no_such_module:f", "expected a module on Python's path, got 'no_such_module'"),
        ("no_such.module:f", "expected a module on Python's path"),
        ("/no/such/file.py:f", "expected a file of Python, got /no/such/file.py"),
        ("tests:f", "expected a function of tests, got 'f'; it has none"),
    ],
)
def test_what_does_not_exist(text, message):
    with pytest.raises(CandidateError, match=message):
        load(text)


def test_a_module_on_the_path_is_found():
    assert load("tests.theory.iterations:loops").function is iterations.loops


def test_a_file_may_import_what_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside_it.py").write_text("def f(problem, w0, samples, gammas): pass\n")
    (tmp_path / "mine.py").write_text("def g(*a):\n    from beside_it import f\n    return f(*a)\n")
    tried = load(f"{tmp_path / 'mine.py'}:g")
    with pytest.raises(CandidateError, match="expected a NumPy array, got None"):
        trial.compare(tried.whole)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--claims", "reduction"], "claims: expected, of an iteration, some of drained-identity"),
        (["--examples", 0], "examples: expected an integer >= 1"),
        (["--hours", 1], "iteration: expected no json, hours or replay beside it"),
        (["--time-limit", 0], "time-limit: expected a finite number > 0, got 0"),
    ],
)
def test_options_that_do_not_fit(arguments, message):
    done = run("loops", *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {message}")


def test_one_that_never_ends_is_ended():
    """Whatever it catches."""
    command = [sys.executable, "-m", "theory", "verify", "--iteration", f"{FILE}:endless", "--time-limit", "0.5"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120, env={**os.environ})
    assert done.returncode == 2
    assert re.fullmatch(r"error: endless \(iterations.py, line \d+\): did not end within 0.5 s .*\n", done.stderr)


def test_the_limit_is_for_a_call_and_not_for_all():
    expired = []
    tried = candidate(iterations.loops)
    with time_limit(tried, 5.0, expired.append):
        for _ in range(50):
            trial.compare(tried.whole, trial.BATTERY[:1])
    assert expired == []
    assert tried.calling is None


def test_the_contract_is_documented():
    readme = (ROOT / "theory" / "README.md").read_text()
    assert all(f"    {line}".rstrip() in readme for line in CONTRACT.splitlines())
    told = CliRunner().invoke(app, ["verify", "--help"], env={"COLUMNS": "120"}).output
    assert all(line.strip() in told for line in CONTRACT.splitlines())
    assert "no sandbox" in readme
    assert "no sandbox" in told
