"""The command that computes worst cases. What needs a solver is skipped where cvxpy is not installed."""

import itertools
import json
import math
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from typer.testing import CliRunner

from theory import bounds, certificates, conjectures, stability, tight
from theory.__main__ import app
from theory.claims import CLAIMS
from theory.delayed import ddg
from theory.problems import split
from theory.tight import Multipliers, Sampled
from theory.tight_report import Question

try:
    import clarabel  # noqa: F401
    import cvxpy as cp
except ImportError:
    cp = None
needs_solver = pytest.mark.skipif(cp is None, reason="cvxpy or clarabel is not installed (requirements-tight.txt)")


def run(**options):
    words = [word for name, value in options.items() for word in (f"--{name}", str(value)) if value is not True]
    words += [f"--{name}" for name, value in options.items() if value is True]
    return CliRunner().invoke(app, ["tight", *(word for word in words if word != "True")])


GRID = [
    (K, T, Fraction(round(share * 100 * bounds.quadratic_threshold(K)), 100))
    for K, T in ((1, 5), (2, 3), (2, 7), (3, 6), (4, 8), (5, 9))
    for share in (0.3, 0.9, 1.0)
]


@needs_solver
@pytest.mark.parametrize(("K", "T", "step"), GRID)
def test_conjecture_w_is_the_worst_case_and_every_bound_is_above(K, T, step):
    """At 1.0 the step is a little less or more than the threshold: it is rounded to hundredths."""
    worst = tight.worst_sum(K, T, step)
    assert worst == pytest.approx(float(conjectures.worst_sum(K, step, T)), rel=1e-6)
    if step < bounds.quadratic_threshold(K):
        assert worst <= bounds.theorem_g_constant(K, float(step)) / float(step) * (1 + 1e-7)


@needs_solver
@pytest.mark.parametrize(
    ("K", "T", "step", "more"),
    [(2, 3, "3/2", 1.1014), (3, 4, "5/4", 1.4081), (4, 7, "2/3", 1.0949), (2, 3, "6/5", 1.0)],
)
def test_beyond_the_threshold_other_functions_are_worse(K, T, step, more):
    step = Fraction(step)
    assert tight.worst_sum(K, T, step) == pytest.approx(more * conjectures.worst_sum(K, step, T), rel=1e-3)
    assert certificates.fault(tight.certificate(K, T, step)) is None


@needs_solver
@pytest.mark.parametrize(("K", "T", "step"), [(2, 5, Fraction(1, 2)), (3, 6, Fraction(1)), (4, 8, Fraction(1, 4))])
def test_certificates_are_accepted(K, T, step):
    """The last has no multipliers with room at the value of f = (L/2) w_1^2 itself: a millionth more has."""
    made = tight.certificate(K, T, step)
    assert certificates.fault(made) is None
    exact = conjectures.worst_sum(K, step, T)
    assert (made.value == exact) == (K < 4)
    assert exact <= made.value <= exact * (1 + Fraction(3, 10**6))


@needs_solver
def test_a_certificate_that_was_only_rounded_is_refused(monkeypatch):
    """The repair is needed."""
    monkeypatch.setattr(tight, "_repaired", lambda y, rows, sides: y)
    with pytest.raises(ValueError, match="certificate: expected multipliers with room"):
        tight.certificate(2, 5, Fraction(1, 2))


def every_history(s, n):
    """The largest S_T with a node for every history, n^t of them at time t, and no symmetry used."""
    nodes = [h for t in range(s.T) for h in itertools.product(range(n), repeat=t)]
    at = {h: i * n for i, h in enumerate(nodes)}
    size = len(nodes) * n

    def unit(h, i):
        return np.eye(1, size, at[h] + i)[0]

    mean = {h: sum(unit(h, i) for i in range(n)) / n for h in nodes}

    def way(h, d):
        return -s.step * sum((unit(h[:t], h[t]) for t in range(len(h) - d)), start=np.zeros(size))

    def square(u, v):
        return (np.outer(u, v) + np.outer(v, u)) / 2

    grams, f = [cp.Variable((size, size), PSD=True) for _ in range(s.K)], cp.Variable(len(nodes))

    def length(v):
        return sum(cp.sum(cp.multiply(np.outer(v, v), gram)) for gram in grams)

    constraints = [f[0] <= s.A, *(f[i] >= length(mean[h]) / 2 for i, h in enumerate(nodes))]
    for (i, a), (j, b) in itertools.permutations(enumerate(nodes), 2):
        bent, both, q = mean[a] - mean[b], mean[a] + mean[b], 0
        for k, gram in enumerate(grams, start=1):
            step = way(a, s.K - k) - way(b, s.K - k)
            form = square(both, step) / 2 + square(bent, bent) / 4 - square(step, step) / 4
            q = q + cp.sum(cp.multiply(form, gram))
        constraints.append(f[i] - f[j] >= q)
    for h in nodes:
        if s.M is not None:
            constraints += [length(unit(h, i)) <= s.M for i in range(n)]
        else:
            constraints.append(sum(length(unit(h, i) - mean[h]) for i in range(n)) / n <= s.nu2)
    return tight.solve(cp.Problem(cp.Maximize(sum(length(mean[h]) / n ** len(h) for h in nodes) / s.T), constraints))


@needs_solver
@pytest.mark.parametrize(("K", "T", "n"), [(2, 2, 2), (2, 3, 2), (3, 3, 2), (2, 3, 3)])
@pytest.mark.parametrize("step", [0.3, 0.8])
@pytest.mark.parametrize("noise", [{"M": 1.0}, {"nu2": 1.0}], ids=["M", "nu2"])
def test_histories_may_be_renamed(K, T, n, step, noise):
    """The reduced program against one that has every history."""
    asked = Sampled(K, T, step, n, 0.3, **noise)
    assert tight.worst_mean(asked) == pytest.approx(every_history(asked, n), rel=1e-5)


@needs_solver
@pytest.mark.parametrize(("K", "step"), [(1, 0.4), (2, 0.2), (2, 0.6), (3, 0.2)])
@pytest.mark.parametrize("n", [2, math.inf])
def test_sampled_worst_cases_respect_every_bound(K, step, n):
    for A in (0.1, 1.0):
        bounded = tight.worst_mean(Sampled(K, 5, step, n, A, M=1.0))
        for bound in (bounds.theorem_1_lin, bounds.theorem_1_clean, bounds.theorem_1_sharp):
            assert bounded <= bound(A, 1.0, 1.0, K, step, 5) * (1 + 1e-6)
        noisy = tight.worst_mean(Sampled(K, 5, step, n, A, nu2=1.0))
        assert noisy <= conjectures.variance(A, 1.0, 1.0, K, step, 5) * (1 + 1e-6)
        assert noisy >= A / 5 * conjectures.worst_sum(K, step, 5) * (1 - 1e-6)  # no noise at all
        if step * (K - 0.5) < 1:
            assert noisy <= bounds.theorem_d(A, 1.0, 1.0, K, step, 5) * (1 + 1e-6)


@needs_solver
def test_without_noise_a_sampled_worst_case_is_that_of_exact_gradients():
    found = tight.worst_mean(Sampled(3, 6, 0.3, 2, 1.0, nu2=0.0))
    assert found == pytest.approx(conjectures.worst_sum(3, 0.3, 6) / 6, rel=1e-5)


@needs_solver
def test_the_command_writes_what_the_checker_accepts(tmp_path):
    path = tmp_path / "c.json"
    done = run(modules=3, iterations=6, step="1/4", certificate=path)
    assert done.exit_code == 0, done.output
    assert "| worst case | 1.29167 |" in done.stdout
    assert "| Theorem G | 1.3" in done.stdout
    assert certificates.main([str(path)]) == 0
    (made,) = certificates.read(path)
    assert made.value == Fraction(31, 4)
    for options, named in (({}, "lin"), ({"variance": True}, "Conjecture V")):
        done = run(modules=2, iterations=3, step=0.25, samples="inf", **options)
        assert done.exit_code == 0, done.output
        assert named in done.stdout


BAD = [
    ({"modules": 0}, "modules: expected an integer >= 1, got 0"),
    ({"iterations": 1}, "iterations: expected an integer >= 2, got 1"),
    ({"iterations": 61}, "iterations: expected modules and iterations up to 60, got 2 and 61"),
    ({"step": "x"}, "step: expected a number such as 0.25 or 1/4, got 'x'"),
    ({"step": "1/0"}, "step: expected a number such as 0.25 or 1/4, got '1/0'"),
    ({"step": "0"}, "step: expected a finite number > 0, got Fraction(0, 1)"),
    ({"samples": "2.5"}, "samples: expected a whole number or inf, got '2.5'"),
    ({"samples": "0"}, "samples: expected an integer >= 1, got 0"),
    ({"start": 0}, "start: expected a finite number > 0, got 0.0"),
    ({"variance": True}, "variance: expected 2 samples or more beside it, got 1"),
    ({"samples": 2, "certificate": "x.json"}, "certificate: expected 1 sample beside it, got more"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_bad_questions_are_refused_in_one_line(options, message):
    done = run(**{"modules": 2, "iterations": 4, "step": "1/4"} | options)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("missing", ["cvxpy", "clarabel"])
def test_without_a_solver_the_command_says_what_to_install(missing, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    done = run(modules=2, iterations=4, step="1/4")
    assert done.exit_code == 2
    assert done.stderr.startswith("error: tight: expected cvxpy and clarabel, got ")
    assert done.stderr.endswith("; pip install cvxpy clarabel\n")
    assert done.stderr.count("\n") == 1


def test_sampled_refuses():
    fine = {"K": 2, "T": 3, "step": 0.1, "n": 2, "A": 1.0, "M": 1.0}
    for change in ({"n": 1}, {"n": 2.5}, {"step": 0.0}, {"A": -1.0}, {"nu2": 1.0}, {"M": None}, {"M": -1.0}, {"K": 0}):
        with pytest.raises(ValueError, match=": expected "):
            Sampled(**fine | change)


# --- what needs no solver ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "c", [c for c in certificates.read(certificates.KEPT) if c.T <= 6], ids=lambda c: f"{c.K}-{c.T}"
)
def test_the_program_has_the_rows_that_the_checker_has(c):
    """What is kept solves it: the flow adds up, the forms give the checker's S_k."""
    unknown = Multipliers(c.K, c.T, c.step)
    y = np.array([float(c.pairs[pair]) for pair in unknown.pairs])
    z = np.array([float(x) for x in c.low])
    assert unknown.flow() @ np.concatenate([y, z]) == pytest.approx([float(c.value)] + [0] * (c.T - 1), abs=1e-9)
    for k, forms in enumerate(unknown.forms(), start=1):
        S = (y @ forms).reshape(c.T, c.T) + np.diag(z / 2 - 1)
        assert pytest.approx(np.array(certificates.remainder(c, k), dtype=float), abs=1e-9) == S
        assert np.linalg.eigvalsh(S)[0] > -1e-9


def test_repaired_numbers_solve_the_equations_and_are_the_nearest_that_do():
    rows = [[Fraction(x) for x in row] for row in ([1, 1, 0, 2], [0, 1, -1, 0], [1, 2, -1, 2])]  # the third: a sum
    sides = [Fraction(3), Fraction(1), Fraction(4)]
    y = [Fraction(1, 3), Fraction(2, 7), Fraction(0), Fraction(5)]
    found = tight._repaired(y, rows, sides)
    assert [sum(a * x for a, x in zip(row, found, strict=True)) for row in rows] == sides
    least = np.array(y, float) + np.linalg.pinv(np.array(rows, float)) @ (
        np.array(sides, float) - np.array(rows, float) @ np.array(y, float)
    )
    assert np.array(found, float) == pytest.approx(least)


def test_parts_of_histories_add_up():
    """Over all second draws the parts of what they added cancel; and a part of a time has no part of a later draw."""
    s = Sampled(2, 4, 0.1, 3, 1.0, M=1.0)
    assert s.alike(0, 2, 2, 0) == -1 / 2
    assert 1 + 2 * s.alike(0, 2, 2, 0) == 0
    assert s.alike(0, 2, 3, 1) == 1.0
    assert s.alike(1, 2, 3, 1) == -1 / 2
    assert s.alike(2, 2, 3, 2) == 0.0  # the later history goes on from the earlier one
    assert s.alike(3, 3, 3, 1) == 0.0
    assert Sampled(2, 4, 0.1, math.inf, 1.0, M=1.0).alike(0, 2, 2, 0) == 0.0
    a, w, z = s.vectors(1, 1)
    assert a.tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert z.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert w == pytest.approx(np.array([[0, 0, 0], [0, 0, 0], [0, 0, 0], [-0.1, 0, 0]]))
    assert (1, 2, 1) in s.pairs()
    assert not any(t == u == c for t, u, c in s.pairs())


def test_responses_are_those_of_ddg_exactly():
    assert conjectures.responses(3, Fraction(1, 2), 6) == [1, 1, 1, Fraction(1, 2), 0, Fraction(-1, 2)]
    assert conjectures.worst_sum(1, Fraction(1, 2), 3) == 2 * (1 + Fraction(1, 4) + Fraction(1, 16))
    assert conjectures.worst_sum(2, 0.5, 1) == 2.0
    with pytest.raises(ValueError, match="T: expected at most 1000000 iterations"):
        conjectures.exact_gradients(1.0, 1.0, 2, 0.1, 10**7)
    with pytest.raises(ValueError, match=r"gamma: expected gamma L <= 1, got 1\.1"):
        conjectures.exact_gradients(1.0, 1.0, 2, 1.1, 3)


def test_beyond_the_threshold_module_2_is_worse_than_module_1():
    """By hand: w_2 = 1, 1, 1 - g, 1 - 2g; w_1 = 1, 1, 1, 1 - g, at g = 5/4."""
    claim = CLAIMS["beyond-the-threshold"]
    (case,) = claim.strategy.elements
    outcome = claim.check(case, ddg)
    assert outcome.measured == 2 * (1 + 1 + 0.0625 + 2.25)
    assert outcome.bound == 2 * (1 + 1 + 1 + 0.0625)
    assert outcome.violates(claim.kind)
    assert not claim.check(replace(case, gamma_L=0.6), ddg).violates(claim.kind)


def test_noise_in_module_1_reaches_conjecture_v():
    """The noise floor of w_1^2/2 with noise there is C_ex gamma L nu^2/2: no smaller constant holds."""
    for K in range(1, 7):
        for share in (0.1, 0.5, 0.9, 0.97):
            gamma = share * bounds.quadratic_threshold(K)
            noise = np.diag(np.eye(1, K)[0])
            H = noise + 1e-4 * (np.eye(K) - noise)
            floor = stability.noise_floor(H, split(K, K), gamma, noise)
            assert floor == pytest.approx(bounds.worst_constant(K, gamma) * gamma / 2, rel=1e-6)


def test_a_question_in_words_is_the_one_that_is_asked(monkeypatch):
    monkeypatch.setattr(tight, "solver", lambda: None)
    assert Question.of(2, 3, "0.25", "inf", 0.5, True, False) == Question(
        2, 3, Fraction(1, 4), math.inf, 0.5, True, False
    )
    monkeypatch.setattr(tight, "worst_sum", lambda K, T, step: 4.5)
    text = Question.of(2, 3, "1/2", "1", 0.5, False, False).answer().text
    assert "| f = (L/2) w_1^2 (Conjecture W) | 1.5 | 1.0000 |" in text
    assert "| Theorem G | 1.6 | 0.9375 |" in text
    assert "| Theorem D0 | 2.66667 | 0.5625 |" in text
    assert json.dumps(text)
    above = Question.of(2, 3, "5/4", "1", 0.5, False, False).answer().text
    assert "Theorem" not in above
    assert "Conjecture" not in above
