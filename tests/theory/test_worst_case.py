"""Theorems F and G and what stands around them: constants that are a little wrong are noticed."""

import math
from dataclasses import replace

import numpy as np
import pytest

from theory import bounds, conjectures
from theory.claims import CLAIMS
from theory.claims.energy import energy
from theory.claims.worst_constant import WITHIN, Step
from theory.delayed import ddg

TIGHT = {
    "energy": "energy_decrease",
    "theorem-f": "theorem_f",
    "theorem-g": "theorem_g",
    "conjecture-w": "exact_gradients",
    "conjecture-v": "variance",
}


@pytest.mark.parametrize(("name", "bound"), TIGHT.items())
def test_a_bound_one_percent_too_small_is_refuted_by_an_adversary(name, bound, monkeypatch):
    """A promised decrease, if it is one percent too large."""
    claim = CLAIMS[name]
    assert not any(claim.check(case, ddg).violates(claim.kind) for case in claim.adversaries)
    module = conjectures if name.startswith("conjecture") else bounds
    intact, factor = getattr(module, bound), 1.01 if name == "energy" else 0.99
    monkeypatch.setattr(module, bound, lambda *args: factor * intact(*args))
    if name == "energy":
        check = claim.check
    else:
        checkers = {"conjecture-v": "theory.claims.theorem_d"}
        checker = __import__(checkers.get(name, "theory.claims.theorem_g"), fromlist=["checker"]).checker
        check = checker(getattr(module, bound))
    assert any(check(case, ddg).violates(claim.kind) for case in claim.adversaries)


def test_the_rate_of_theorem_f_notices_a_tenth(monkeypatch):
    claim = CLAIMS["best-step-f"]
    intact = bounds.theorem_f_rate
    monkeypatch.setattr(bounds, "theorem_f_rate", lambda *args: 0.9 * intact(*args))
    assert any(claim.check(case, ddg).violates(claim.kind) for case in claim.adversaries)


@pytest.mark.parametrize("factor", [1 + 1e-9, 1 - 1e-9])
def test_what_the_quadratic_needs_is_seen_to_a_billionth(factor, monkeypatch):
    claim, intact = CLAIMS["worst-quadratic"], bounds.worst_constant
    for K in (1, 2, 5, 8):
        step = Step(K, 0.7)
        assert claim.check(step, ddg).measured < 1e-12
        with monkeypatch.context() as patch:
            patch.setattr(bounds, "worst_constant", lambda *args: factor * intact(*args))
            assert claim.check(step, ddg).violates(claim.kind)


@pytest.mark.parametrize("factor", [0.99, 1.01])
@pytest.mark.parametrize("name", ["theorem_g_constant", "worst_constant"])
def test_constants_one_percent_off_are_noticed(name, factor, monkeypatch):
    claim, intact = CLAIMS["worst-constants"], getattr(bounds, name)
    steps = [Step(1, 0.3), Step(2, 0.9), Step(10**4, 0.9999)]
    assert not any(claim.check(step, ddg).violates(claim.kind) for step in steps)
    monkeypatch.setattr(bounds, name, lambda K, gamma_L: factor * intact(K, gamma_L))
    assert any(claim.check(step, ddg).violates(claim.kind) for step in steps)


@pytest.mark.parametrize(("name", "factor"), [("theorem_f_constant", 0.99), ("theorem_d0", 0.9)])
def test_an_order_that_is_wrong_is_noticed(name, factor, monkeypatch):
    """Small steps, where the constants are near to one another; and C_F against C_D0, K = 1, where they are equal."""
    claim, intact = CLAIMS["worst-constants"], getattr(bounds, name)
    monkeypatch.setattr(bounds, name, lambda *args: factor * intact(*args))
    assert any(claim.check(Step(K, 0.05), ddg).violates(claim.kind) for K in (1, 2, 3))


def test_g_is_within_its_factor_of_the_least_and_comes_near_to_it():
    """(1 + pi^2/8)/2, proved; approached for many modules near the threshold."""
    quotients = {
        (K, share): bounds.theorem_g_constant(K, share * bounds.quadratic_threshold(K))
        / bounds.worst_constant(K, share * bounds.quadratic_threshold(K))
        for K in (*range(1, 40), 100, 1000, 10**5)
        for share in (*np.linspace(0.01, 0.99, 99), 0.999, 0.9999)
    }
    assert min(quotients.values()) > 1 - 1e-9
    assert max(quotients.values()) < WITHIN
    assert quotients[10**5, 0.9999] == pytest.approx(WITHIN, rel=1e-4)


def test_the_steps_of_the_proof_that_g_is_near():
    """The quotient in y = 2 d psi, its estimate 1 + P/(cos psi + sin y), and both cases of that."""
    q = math.pi**2 / 8 - 1
    for d in (1, 2, 3, 7, 50, 10**4):
        for share in np.linspace(0.001, 0.999, 200):
            psi = share * math.pi / (2 * (2 * d + 1))
            y = 2 * d * psi
            excess = y * math.cos(y) + y * y / 2 * math.sin(y) - math.sin(y)
            quotient = math.cos(psi) + d * math.sin(2 * psi) * math.cos(y) + 2 * (d * math.sin(psi)) ** 2 * math.sin(y)
            quotient /= math.cos(psi) + math.sin(y)
            gamma_L = 2 * math.sin(psi)
            ratio = bounds.theorem_g_constant(d + 1, gamma_L) / bounds.worst_constant(d + 1, gamma_L)
            assert ratio == pytest.approx(quotient, rel=1e-8)
            assert quotient <= 1 + excess / (math.cos(psi) + math.sin(y)) + 1e-12
            assert math.sin(y) < math.cos(psi)
            assert excess <= q / 2 * (math.cos(psi) + math.sin(y)) + 1e-15
            assert excess <= (y**3 / 6 if y <= 0.7 else q * math.sin(y)) + 1e-15


def test_at_the_threshold_the_sum_grows_and_just_below_it_does_not():
    """Theorem G is sharp in its step: 2 sum r_t^2 over T, 2T and 4T iterations."""
    for K in (1, 2, 3, 6):
        threshold = bounds.quadratic_threshold(K)
        at, below = (
            [conjectures.worst_sum(K, share * threshold, T) for T in (2000, 4000, 8000)] for share in (1.0, 0.9)
        )
        assert at[1] / at[0] == pytest.approx(2, rel=0.02)
        assert at[2] / at[1] == pytest.approx(2, rel=0.02)
        assert below[2] == pytest.approx(below[0], rel=1e-9)
        assert below[2] == pytest.approx(bounds.worst_constant(K, 0.9 * threshold) / (0.9 * threshold), rel=1e-9)


def test_lemma_w_on_any_vectors():
    """With equality on sinusoids; K0 is the sum of its shares."""
    rng = np.random.default_rng(0)
    for n in range(1, 9):
        for e in (0.01, 0.3, 0.99) * np.array(math.pi / n):
            mu = math.sin(n * e) / (2 * math.sin(e))
            kappa = 4 * mu * math.sin(e / 2) ** 2
            kappa_0 = (math.cos(n * e) + kappa) / 2

            def gap(v, mu=mu, kappa=kappa, kappa_0=kappa_0):
                ends = kappa_0 * (v[0] ** 2 + v[-1] ** 2)
                return v[0] * v[-1] - ends - kappa * (v[1:-1] ** 2).sum() + mu * (np.diff(v) ** 2).sum()

            j = np.arange(n + 1)
            for _ in range(50):
                v = rng.normal(size=n + 1)
                assert gap(v) >= -1e-12
                wave = np.cos(e * j + rng.uniform(0, 6))
                assert gap(wave) == pytest.approx(0, abs=1e-12)
            k = math.cos(n * e) + n * math.tan(e / 2) * math.sin(n * e)
            assert 2 * kappa_0 + (n - 1) * kappa == pytest.approx(k)


def test_the_circle_is_an_orbit():
    """w^t = (gamma/g*) e^{i pi t/m}, gradients cut to length 1, delay K-1: PROOFS.md section 5."""
    for K in (1, 2, 3, 8):
        for above in (1.0, 1.3):
            threshold = bounds.quadratic_threshold(K)
            gamma = above * threshold
            w = above * np.exp(1j * math.pi / (2 * K - 1) * np.arange(60))
            gradients = w / np.maximum(1, np.abs(w))
            late = gradients[: 60 - K]
            assert w[K:] == pytest.approx(w[K - 1 : -1] - gamma * late, abs=1e-12)
            assert np.abs(gradients) == pytest.approx(np.ones(60))
            assert (K - 0.5) * threshold < math.pi / 2


def test_the_energy_starts_at_f_and_counts_every_block():
    """By hand after one iteration, on w_1^2/2 with K = 3."""
    case = replace(CLAIMS["energy"].adversaries[1], T=4)
    w = case.run().w[:, 0]
    f, a = case.problem.f(w), case.problem.grad(w)
    assert energy(f, a, case)[0] == f[0]
    beta = case.gamma / 2 * (1 - case.gamma - (2 * case.gamma) ** 2)
    squares = (a[:, 0] ** 2).tolist()
    assert energy(f, a, case)[1] == pytest.approx(f[1] - beta * squares[0] + case.gamma * 2 * (a[1, 0] - a[0, 0]) ** 2)
