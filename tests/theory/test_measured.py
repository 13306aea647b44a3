"""What each claim measures, computed again from the definitions with plain loops over single sequences; and that one
number which is just wrong, in one history, at one time, of either sign, is seen."""

import itertools
import math
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from theory import bounds, stability
from theory.cases import Case
from theory.claims import CLAIMS, Kind, lemma_1_search, substitution
from theory.claims.any_optimizer import OPTIMIZERS, OptimizerCase
from theory.claims.claim import Outcome, rounding, worst
from theory.claims.quadratic_threshold import QuadraticCase
from theory.claims.reduction import PAIRS, Constants
from theory.delayed import ddg
from theory.exact import ENUMERATE_UP_TO, ERROR_PROBABILITY
from theory.examine import examine
from theory.families import make_problem
from theory.optimizers import SGD
from theory.problems import Quadratic, RidgeSum
from theory.rational import ExactRidgeSum, huber, huber_slope, objects, root, root_slope
from theory.steps import KINDS, step_sizes

CASE = Case("logistic", K=3, n=2, T=5, steps="constant", gamma_L=0.3, start=1.0, seed=4)
LONG = replace(CASE, T=40, gamma_L=0.1)


class Plain:
    """All sequences of a case one by one: lists w, x, g of vectors, and the history that each t has seen."""

    def __init__(self, case):
        self.case, self.problem, self.gammas = case, case.problem, [float(g) for g in case.gammas]
        self.sequences = [tuple(int(i) for i in row) for row in case.sequences.samples]
        self.runs = [self.run(sequence) for sequence in self.sequences]

    def delay(self, j):
        (k,) = [k for k, block in enumerate(self.problem.blocks, start=1) if block.start <= j < block.stop]
        return self.case.K - k

    def run(self, sequence):
        delays = [self.delay(j) for j in range(self.problem.d)]
        w, g = [np.array(self.case.w0)], []
        for t in range(len(sequence)):
            g.append(self.problem.gradient(sequence[t], w[t]))
            new = w[t].copy()
            for j, d in enumerate(delays):
                if t >= d:
                    new[j] -= self.gammas[t] * g[t - d][j]
            w.append(new)
        x = [np.array(self.case.w0)]
        for t in range(len(sequence)):  # equation (1)
            x.append(x[t] - np.array([self.gammas[t + d] * g[t][j] for j, d in enumerate(delays)]))
        return w, x, g

    def f(self, v):
        return float(np.mean([self.problem.values(v)[i] for i in range(self.case.n)]))

    def grad(self, v):
        return np.mean([self.problem.gradient(i, v) for i in range(self.case.n)], axis=0)

    def grad2(self, v):
        return float(sum(entry**2 for entry in self.grad(v)))

    def mean(self, quantity):
        """E of quantity(w, x) over all sequences."""
        return sum(quantity(w, x) for w, x, _ in self.runs) / len(self.runs)

    def given(self, t, quantity):
        """E[quantity(w, x) | F_t], for each history of t samples."""
        groups = {}
        for sequence, (w, x, _) in zip(self.sequences, self.runs, strict=True):
            groups.setdefault(sequence[:t], []).append(quantity(w, x))
        return [sum(group) / len(group) for group in groups.values()]

    @property
    def constants(self):
        return self.case.A, self.problem.L, self.problem.M, self.case.K

    def mean_square(self):
        return self.mean(lambda w, x: sum(self.grad2(v) for v in w[:-1]) / self.case.T)

    def weighted(self):
        return self.mean(lambda w, x: sum(g * self.grad2(v) for g, v in zip(self.gammas, w[:-1], strict=False)))


def most_used(measured, allowed, slack):
    """The pair with the largest ratio, of bounds above rounding."""
    return max(
        ((m, b) for m, b in zip(measured, allowed, strict=True) if b > slack), key=lambda pair: pair[0] / pair[1]
    )


def distance(p):
    case = p.case
    far = [max(math.dist(w[t], x[t]) for w, x, _ in p.runs) for t in range(case.T + 1)]
    allowed = [bounds.distance(case.gammas, p.problem.M, case.K, t) for t in range(case.T + 1)]
    return most_used(far, allowed, 1e-11)


def one_step(share, bound):
    def both(p):
        case, gamma = p.case, p.gammas[0]
        changes = [
            max(p.given(t, lambda w, x, t=t: p.f(x[t + 1]) - p.f(x[t]) + share * gamma * p.grad2(w[t])))
            for t in range(case.T)
        ]
        return max(changes), bound(gamma, p.problem.L, p.problem.M, case.K, 0.0)

    return both


def back_to_w(p):
    gaps = [p.f(w[t]) - p.f(x[t]) for w, x, _ in p.runs for t in range(p.case.T + 1)]
    return max(gaps), bounds.back_to_w(p.gammas[0], *p.constants[1:])


def after_warm_up(share, constant):
    def both(p):
        case, L, M = p.case, p.problem.L, p.problem.M
        measured, allowed = [], []
        for t in range(case.K - 1, case.T):

            def change(w, x, t=t):
                return p.f(w[t + 1]) - p.f(w[t]) + share * p.gammas[t] * p.grad2(w[t])

            measured.append(max(p.given(t - case.K + 1, change)))
            window = p.gammas[t - case.K + 1 : t + 1]
            allowed.append(p.gammas[t] ** 2 * L * M * constant(case, L, t, max(window), max(window) / p.gammas[t]))
        return most_used(measured, allowed, 1e-11)

    return both


def on_average(case, L, t, largest, sigma):
    ends = max(case.gammas[max(0, s - case.K + 1)] / case.gammas[s] for s in range(case.T))
    return case.K + ends * case.K**4


def mean_square(bound):
    return lambda p: (p.mean_square(), bound(*p.constants, p.gammas[0], p.case.T))


def lyapunov(p):
    ((w, x, _),) = p.runs
    gamma, L, K = p.gammas[0], p.problem.L, p.case.K
    squares = [p.grad2(v) for v in w]
    V = [
        p.f(x[t]) + gamma**2 * L / 2 * sum((K - r) * squares[t - r] for r in range(1, K) if r <= t)
        for t in range(p.case.T + 1)
    ]
    promised = [gamma * (1 - gamma * L * (K - 0.5)) * squares[t] for t in range(p.case.T)]
    return most_used(promised, [V[t] - V[t + 1] for t in range(p.case.T)], 1e-11)


def shifted(p):
    def total(w, x):
        return sum(p.gammas[t + p.delay(j)] * p.grad(w[t])[j] ** 2 for t in range(p.case.T) for j in range(p.problem.d))

    return p.mean(total), bounds.theorem_2_shifted(*p.constants, p.case.gammas, p.case.T)


def of_steps(bound, divide=False):
    def both(p):
        total = sum(p.gammas[: p.case.T]) if divide else 1.0
        return p.weighted() / total, bound(*p.constants, p.case.gammas, p.case.T)

    return both


def variance(bound):
    def both(p):
        A, L, _, K = p.constants
        return p.mean_square(), bound(A, L, p.problem.variance, K, p.gammas[0], p.case.T)

    return both


def exact(bound):
    """A bound in A, L, K, gamma and T."""
    return lambda p: (p.mean_square(), bound(p.case.A, p.problem.L, p.case.K, p.gammas[0], p.case.T))


def warm_up(p):
    ((w, _, _),) = p.runs
    return max(p.f(w[t]) for t in range(max(1, p.case.K - 1))) - p.problem.f_star, p.case.A


def energy(p):
    ((w, _, _),) = p.runs
    gamma, L, T = p.gammas[0], p.problem.L, p.case.T
    a, d = [p.grad(v) for v in w], p.case.K - 1
    beta = gamma / 2 * (1 - gamma * L - gamma**2 * L**2 * d**2)

    def value(t):
        old = sum(a[t - r][j] ** 2 for j in range(p.problem.d) for r in range(1, p.delay(j) + 1) if r <= t)
        bent = sum((d + 1 - r) * math.dist(a[t - r + 1], a[t - r]) ** 2 for r in range(1, d + 1) if r <= t)
        return p.f(w[t]) - beta * old + gamma * d / 2 * bent

    c = 1 - gamma * L / 2 - gamma**2 * L**2 * d**2 / 2
    waiting = [sum(a[t][j] ** 2 for j in range(p.problem.d) if p.delay(j) > t) for t in range(T)]
    promised = [gamma * c * sum(a[t] ** 2) - gamma / 2 * waiting[t] for t in range(T)]
    return most_used(promised, [value(t) - value(t + 1) for t in range(T)], 1e-11)


def responses(A, L, K, gamma, T):
    r = [1.0]
    while len(r) < T:
        r.append(r[-1] - (gamma * L * r[len(r) - K] if len(r) >= K else 0.0))
    return 2 * L * A / T * sum(x * x for x in r)


def with_noise(A, L, nu2, K, gamma, T):
    psi, m = math.asin(gamma * L / 2), 2 * K - 1
    C = (1 + math.sin(m * psi)) / math.cos(psi) / math.cos(m * psi)
    return C * (A / gamma / T + gamma * L * nu2 / 2)


def lin_conjecture(A, L, M, K, gamma, T):
    return A / gamma / T + gamma * L * M / (2 * math.sin(math.pi / (4 * K - 2)))


FALLING, ARBITRARY = replace(CASE, steps="nonincreasing", seed=9), replace(CASE, steps="arbitrary", seed=5)
HARMONIC, ALONE = replace(CASE, steps="harmonic"), replace(CASE, n=1, T=9)
MEASURED = {
    "distance": (ARBITRARY, distance),
    "lemma-v": (CASE, one_step(1.0, bounds.lemma_v)),
    "lemma-v-half": (CASE, one_step(0.5, bounds.lemma_v_half)),
    "back-to-w": (CASE, back_to_w),
    "theorem-1": (CASE, mean_square(bounds.theorem_1)),
    "theorem-1-lin": (CASE, mean_square(bounds.theorem_1_lin)),
    "theorem-1-clean": (CASE, mean_square(bounds.theorem_1_clean)),
    "theorem-1-sharp": (CASE, mean_square(bounds.theorem_1_sharp)),
    "theorem-2": (HARMONIC, of_steps(bounds.theorem_2, divide=True)),
    "theorem-2-shifted": (FALLING, shifted),
    "theorem-2-weighted": (FALLING, of_steps(bounds.theorem_2_weighted)),
    "theorem-2-harmonic": (HARMONIC, of_steps(bounds.theorem_2_harmonic)),
    "lemma-r-simple": (ARBITRARY, after_warm_up(0.5, lambda c, L, t, g, s: bounds.lemma_r_simple(c.K, s))),
    "lemma-r-half": (ARBITRARY, after_warm_up(0.5, lambda c, L, t, g, s: bounds.lemma_r_half(c.K, g * L, s))),
    "lemma-r-full": (ARBITRARY, after_warm_up(1.0, lambda c, L, t, g, s: bounds.lemma_r_full(c.K, s))),
    "lemma-1-on-average": (FALLING, after_warm_up(0.5, on_average)),
    "lyapunov": (ALONE, lyapunov),
    "theorem-d0": (
        ALONE,
        lambda p: (p.mean_square(), bounds.theorem_d0(p.case.A, p.problem.L, p.case.K, p.gammas[0], p.case.T)),
    ),
    "theorem-d": (CASE, variance(bounds.theorem_d)),
    "theorem-d-simple": (replace(CASE, gamma_L=0.2), variance(bounds.theorem_d_simple)),
    "warm-up": (replace(ALONE, K=4), warm_up),
    "energy": (ALONE, energy),
    "theorem-f": (ALONE, exact(bounds.theorem_f)),
    "best-step-f": (replace(ALONE, gamma_L=3 / 11), exact(lambda A, L, K, gamma, T: (13 * K - 5) / 4 * L * A / T)),
    "theorem-g": (ALONE, exact(bounds.theorem_g)),
    "conjecture-w": (ALONE, exact(responses)),
    "conjecture-v": (CASE, variance(with_noise)),
    "lin-conjecture": (CASE, mean_square(lin_conjecture)),
}
BEST_STEPS = {
    "best-step-lin": (bounds.theorem_1_lin_best_step, lambda A, L, M, K, T: 2 * math.sqrt(A * L * M * (K - 0.5) / T)),
    "best-step-clean": (bounds.theorem_1_clean_best_step, bounds.theorem_1_clean_rate),
}


def test_every_upper_bound_is_measured_again_here():
    kinds = (Kind.UPPER_BOUND, Kind.CONJECTURE)
    of_runs = {c.id for c in CLAIMS.values() if c.kind in kinds and c.case_type is Case}
    assert of_runs == MEASURED.keys() | BEST_STEPS.keys()


@pytest.mark.parametrize("name", MEASURED)
def test_both_sides_are_those_of_the_definitions(name):
    case, both = MEASURED[name]
    measured, allowed = both(Plain(case))
    outcome = CLAIMS[name].check(case, ddg)
    assert outcome.measured == pytest.approx(measured, rel=1e-9)
    assert outcome.bound == pytest.approx(allowed, rel=1e-9)
    run, f = case.run(), case.problem.f
    sizes = {"distance": [run.w], "back-to-w": [f(run.w)], "lemma-v": [f(run.x)], "lemma-v-half": [f(run.x)]}
    sizes |= {name: [f(run.w)] for name in MEASURED if name.startswith(("lemma-r", "lemma-1"))}
    if name in sizes:
        assert outcome.slack == rounding(*sizes[name])
    elif name == "warm-up":
        assert outcome.slack == rounding(f(run.w[:3]), case.problem.f_star)
    elif name in ("lyapunov", "energy"):
        assert outcome.slack == pytest.approx(rounding(f(run.x[:-1]), case.problem.f_star), rel=0.5)
    else:
        assert outcome.slack == pytest.approx(1e-12 * allowed, rel=1e-6)


def test_without_bounded_gradients_all_sequences_are_listed():
    for name in ("theorem-d", "theorem-d-simple"):
        case = replace(CASE, family="quadratic", gamma_L=0.15)
        outcome = CLAIMS[name].check(case, ddg)
        assert outcome.measured == pytest.approx(Plain(case).mean_square(), rel=1e-9)
    with pytest.raises(ValueError, match="M: expected a problem with bounded gradients"):
        CLAIMS["theorem-d"].check(replace(case, T=40), ddg)


@pytest.mark.parametrize("name", BEST_STEPS)
def test_both_sides_at_the_best_step(name):
    step, rate = BEST_STEPS[name]
    constants = (CASE.A, CASE.problem.L, CASE.problem.M, CASE.K, CASE.T)
    at_best = replace(CASE, gamma_L=step(*constants) * CASE.problem.L)
    outcome = CLAIMS[name].check(CASE, ddg)
    assert outcome.measured == pytest.approx(Plain(at_best).mean_square(), rel=1e-9)
    assert outcome.bound == pytest.approx(rate(*constants), rel=1e-12)
    assert outcome.slack == pytest.approx(1e-12 * outcome.bound)


@pytest.mark.parametrize("name", ["theorem-1-lin", "theorem-2", "theorem-2-shifted", "best-step-lin"])
def test_many_sequences_are_sampled_and_judged_by_a_confidence_bound(name):
    """The empirical Bernstein bound (Maurer and Pontil, 2009, Theorem 4), with the largest value as its range."""
    case = replace(LONG, steps="harmonic" if name.startswith("theorem-2") else "constant")
    if name == "best-step-lin":
        step = bounds.theorem_1_lin_best_step(case.A, case.problem.L, case.problem.M, case.K, case.T)
        run = replace(case, gamma_L=step * case.problem.L).run()
    else:
        run = case.run()
    assert len(run.samples) == 512 < ENUMERATE_UP_TO
    M, gammas = case.problem.M, case.gammas[: case.T, None]
    squares = (case.problem.grad(run.w[:-1]) ** 2).sum(axis=-1)
    if name == "theorem-2-shifted":
        K, blocks = case.K, case.problem.blocks
        late = [case.gammas[K - k : case.T + K - k] for k in range(1, K + 1)]
        parts = (case.problem.grad(run.w[:-1])) ** 2
        values = sum(g @ parts[..., block].sum(axis=-1) for g, block in zip(late, blocks, strict=True))
        ceiling = M * case.gammas[: case.T].sum()
    elif name == "theorem-2":
        values, ceiling = (gammas * squares).sum(axis=0) / gammas.sum(), M
    else:
        values, ceiling = squares.mean(axis=0), M
    log = math.log(2 / ERROR_PROBABILITY)
    spread = math.sqrt(2 * values.var(ddof=1) * log / 512) + 7 * ceiling * log / (3 * 511)
    outcome = CLAIMS[name].check(case, ddg)
    assert outcome.measured == pytest.approx(values.mean(), rel=1e-12)
    assert outcome.slack == pytest.approx(spread, rel=1e-6)
    assert outcome.slack > 1e-3 * outcome.bound


SAMPLED = {name for name in MEASURED if name.startswith(("theorem-1", "theorem-2"))} | BEST_STEPS.keys()


@pytest.mark.parametrize("name", [*MEASURED, *BEST_STEPS])
def test_which_claims_are_tried_on_more_sequences_than_can_be_listed(name):
    listed = []

    def check(case, iteration):
        listed.append(case.sequences.exhaustive)
        return Outcome(0.0, 1.0)

    examine(replace(CLAIMS[name], check=check), 100, 0)
    assert any(listed)
    assert all(listed) == (name not in SAMPLED)


def perturbed(place, by):
    def iteration(problem, w0, samples, rule):
        w = ddg(problem, w0, samples, rule).copy()
        w[place] += by
        return w

    return iteration


IDENTITIES = {
    "drained-identity": CASE,
    "delayed-view": CASE,
    "pipedream": replace(CASE, family="network"),
    "one-module": replace(CASE, K=1),
    **{f"any-optimizer {name}": OptimizerCase(name, replace(CASE, gamma_L=0.05)) for name in OPTIMIZERS},
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_a_small_step_aside_is_seen_anywhere(name):
    """In one history, at one time after the start, in one coordinate, of either sign; and as large as it is."""
    claim, case = CLAIMS[name.split()[0]], IDENTITIES[name]
    plain = case.case if isinstance(case, OptimizerCase) else case
    histories = 1 if name == "pipedream" else len(plain.sequences.samples)
    for t, r, j in itertools.product((1, 2, plain.T), (0, histories - 1), (0, 1, plain.problem.d - 1)):
        for by in (1e-9, -1e-9):
            outcome = claim.check(case, perturbed((t, r, j), by))
            assert outcome.violates(claim.kind), (t, r, j, by)
            if name != "drained-identity":
                assert outcome.measured == pytest.approx(1e-9, rel=1e-4)
    assert not claim.check(case, ddg).violates(claim.kind)


def test_draining_sees_the_last_iterate():
    claim = CLAIMS["draining"]
    for r, j, by in itertools.product((0, 31), (0, CASE.problem.d - 1), (1e-9, -1e-9)):
        outcome = claim.check(CASE, perturbed((CASE.T, r, j), by))
        assert outcome.measured == pytest.approx(1e-9, rel=1e-4)
        assert outcome.violates(claim.kind)


def test_the_rounding_of_drained_identity_is_that_of_its_terms():
    """Steps of another size by one part in a thousand are no rounding, in any block."""
    claim, run = CLAIMS["drained-identity"], CASE.run()
    step = np.abs(CASE.gamma * run.g).max()
    assert claim.check(CASE, ddg).bound == pytest.approx(
        1e-13 * (1 + np.abs(run.w).max() + np.abs(run.in_flight).max() + step)
    )
    for k, block in enumerate(CASE.problem.blocks, start=1):

        def iteration(problem, w0, samples, rule, block=block, k=k):
            w = ddg(problem, w0, samples, rule).copy()
            w[-1][:, block] += 1e-3 * (w[-1] - w[-2])[:, block]
            return w

        assert claim.check(CASE, iteration).violates(claim.kind)


CONSTANTS = Constants(A=50.0, L=0.1, M=0.3, gamma_L=0.05, T=3)


def off(monkeypatch, bound, K, factor):
    """`bound` is `factor` times itself at this K. Bounds take K after at most four other symbols."""
    intact = getattr(bounds, bound)

    def wrong(*args, **kwargs):
        at = K_PLACE[bound]
        return intact(*args, **kwargs) * (factor if args[at] == K else 1.0)

    monkeypatch.setattr(bounds, bound, wrong)


K_PLACE = dict.fromkeys(PAIRS, 3) | {name: 0 for name in PAIRS if name.startswith(("lemma_r", "quadratic"))}
K_PLACE |= {"theorem_d0": 2, "theorem_f": 2, "theorem_f_rate": 2, "theorem_g": 2, "worst_constant": 0}


@pytest.mark.parametrize("factor", [0.99, 1.01])
@pytest.mark.parametrize("bound", PAIRS)
def test_reduction_sees_one_per_cent(bound, factor, monkeypatch):
    claim = CLAIMS["reduction"]
    with monkeypatch.context() as patch:
        off(patch, bound, 1, factor)
        outcome = claim.check(CONSTANTS, ddg)
        assert outcome.violates(claim.kind)
        assert outcome.measured == pytest.approx(abs(factor - 1) if bound[0] != "q" else abs(1 / factor - 1), rel=1e-6)
        off(patch, bound, 1, 1 / factor)
    with monkeypatch.context() as patch:
        off(patch, bound, 2, factor)
        assert not claim.check(CONSTANTS, ddg).violates(claim.kind)


@pytest.mark.parametrize("K", [2, 3, 4, 5])
@pytest.mark.parametrize("bound", PAIRS)
def test_monotone_sees_a_bound_that_falls_by_one_per_cent(bound, K, monkeypatch):
    claim, pair = CLAIMS["monotone-in-k"], PAIRS[bound][0]
    assert not claim.check(CONSTANTS, ddg).violates(claim.kind)
    below, here = pair(CONSTANTS, K - 1), pair(CONSTANTS, K)
    inverse = -1 if bound == "quadratic_threshold" else 1  # of which the claim takes one over
    with monkeypatch.context() as patch:
        off(patch, bound, K, (0.99 * below / here) ** inverse)
        outcome = claim.check(CONSTANTS, ddg)
        assert outcome.violates(claim.kind)
        assert outcome.measured == pytest.approx(1 / 0.99)
    with monkeypatch.context() as patch:
        off(patch, bound, K, (1.01 * below / here) ** inverse)
        following = pair(CONSTANTS, K + 1) / pair(CONSTANTS, K) if K < 5 else 2.0
        assert claim.check(CONSTANTS, ddg).violates(claim.kind) == (following < 1)


@pytest.mark.parametrize("K", range(1, 9))
def test_order_sees_one_per_cent(K, monkeypatch):
    claim = CLAIMS["order"]
    args = (CONSTANTS.A, CONSTANTS.L, CONSTANTS.M, K, CONSTANTS.gamma, CONSTANTS.T)
    near = replace(CONSTANTS, A=1e-3, T=200)  # sharp <= M
    near_args = (near.A, near.L, near.M, K, near.gamma, near.T)
    assert bounds.theorem_1_sharp(*near_args) < 0.9 * near.M
    assert bounds.theorem_1_sharp(*args) > 1.1 * CONSTANTS.M
    sharp, clean, lin, paper = (getattr(bounds, f"theorem_1{form}") for form in ("_sharp", "_clean", "_lin", ""))
    for case, a in ((CONSTANTS, args), (near, near_args)):
        assert not claim.check(case, ddg).violates(claim.kind)
        pairs = [("theorem_1_clean", sharp(*a) / clean(*a)), ("theorem_1", 2 * lin(*a) / paper(*a))]
        if case is near:
            pairs.append(("theorem_1_lin", sharp(*a) / lin(*a)))
        for bound, ratio in pairs:
            with monkeypatch.context() as patch:
                off(patch, bound, K, ratio / 1.01)
                outcome = claim.check(case, ddg)
                assert outcome.violates(claim.kind)
                assert outcome.measured == pytest.approx(1.01)
            with monkeypatch.context() as patch:
                off(patch, bound, K, ratio * 1.01)
                assert not claim.check(case, ddg).violates(claim.kind)
    with monkeypatch.context() as patch:  # above M sharp may be larger than lin
        off(patch, "theorem_1_lin", K, sharp(*args) / lin(*args) / 1.01)
        assert not claim.check(CONSTANTS, ddg).violates(claim.kind)


@pytest.mark.parametrize("K", [1, 2, 3, 5, 8])
def test_the_threshold_is_seen_to_a_millionth(K, monkeypatch):
    claim, case = CLAIMS["quadratic-threshold"], QuadraticCase(K, extra=1, curvature=7.0, seed=2)
    outcome = claim.check(case, ddg)
    assert outcome.bound == 2 * math.sin(math.pi / (4 * K - 2))
    assert outcome.slack == 1e-6 * outcome.bound
    for factor in (1 + 2e-6, 1 - 2e-6):
        with monkeypatch.context() as patch:
            patch.setattr(bounds, "quadratic_threshold", lambda K, factor=factor: outcome.bound * factor)
            assert claim.check(case, ddg).violates(claim.kind)
    with monkeypatch.context() as patch:
        patch.setattr(bounds, "quadratic_threshold", lambda K: outcome.bound * 1.002)
        extremal = replace(case, extra=0)
        patch.setattr(QuadraticCase, "random", QuadraticCase.extremal)
        assert CLAIMS["quadratic-stable"].check(extremal, ddg).violates(Kind.UPPER_BOUND)


def test_a_violation_is_what_exceeds_the_bound_by_more_than_its_slack():
    for kind in Kind:
        sharp = kind is Kind.STABILITY_THRESHOLD
        assert Outcome(1.01, 1.0).violates(kind)
        assert Outcome(0.99, 1.0).violates(kind) == sharp
        assert not Outcome(1.0, 1.0).violates(kind)
        assert not Outcome(1.5, 1.0, slack=0.5).violates(kind)
        assert Outcome(1.5, 1.0, slack=0.49).violates(kind)
        assert Outcome(0.5, 1.0, slack=0.49).violates(kind) == sharp
        assert not Outcome(0.5, 1.0, slack=0.5).violates(kind)
        assert Outcome(-0.5, -1.0).violates(kind)
    assert Outcome(3.0, 2.0).ratio == 1.5
    assert math.isnan(Outcome(3.0, 0.0).ratio)
    assert math.isnan(Outcome(3.0, -2.0).ratio)


def test_worst_is_the_largest_excess_or_else_the_largest_ratio_of_a_bound_above_rounding():
    assert worst(np.array([1.2, 1.5, 3.0]), np.array([1.0, 1.0, 9.0])) == Outcome(1.5, 1.0)
    assert worst(np.array([1.2, 1.5]), 1.0, np.array([0.0, 0.4])) == Outcome(1.2, 1.0)
    assert worst(np.array([0.5, 0.9, 0.8]), 1.0) == Outcome(0.9, 1.0)
    assert worst(np.array([0.09, 0.5]), np.array([0.1, 1.0]), 0.2) == Outcome(0.5, 1.0, 0.2)
    assert worst(np.array([-5.0, -3.0]), np.array([1.0, 1.0])) == Outcome(-3.0, 1.0)
    assert worst(np.array([[1.0, 2.0], [3.0, 4.0]]), 5.0) == Outcome(4.0, 5.0)
    assert rounding(np.array([-3.0, 2.0]), 4.0) == pytest.approx(8e-13, rel=1e-12)


def test_numbers_of_the_counterexample_to_the_substitution():
    """f_i = s(w_1 + w_2) +- (w_1 + w_2) from (3/8, 3/8), where s' = 3/5: by hand, the mean over i(0)."""
    for written, gamma in zip(CLAIMS["lemma-1-substitution"].strategy.elements, (0.1, 0.5), strict=True):
        slope = [(u := 0.75 - gamma * (0.6 + sign)) / math.sqrt(1 + u * u) for sign in (1, -1)]
        true = (slope[0] * 1.6 + slope[1] * -0.4) / 2
        substituted = (slope[0] + slope[1]) * 0.6 / 2
        outcome = substitution.check(written, ddg)
        assert outcome.measured == pytest.approx(substituted, rel=1e-12)
        assert outcome.bound == pytest.approx(true, rel=1e-12)
        assert outcome.note == f"gamma = {gamma}: {substituted:.5f} substituted > {true:.5f} true"

    def standing(problem, w0, samples, rule):
        return np.broadcast_to(w0, (samples.shape[1] + 1, len(samples), len(w0)))

    outcome = substitution.check(written, standing)
    assert outcome.measured == outcome.bound
    assert outcome.note == ""


def test_numbers_of_a_counterexample_that_a_search_finds():
    """The one of the README: f_1 = 0, f_2 = h(w_1), from (1, 0) after sample 1; both sides by hand."""
    drawn = lemma_1_search.Integers(((1, 0),), ((0,), (1,)), (1, 0), 1, 100, (0,))
    outcome = lemma_1_search.check(drawn, ddg)
    assert outcome.measured == 0.0
    assert outcome.bound == float(-Fraction(1, 800) + 9 * Fraction(1, 10000))
    assert outcome.note == (
        "f_1 = 0; f_2 = h(w_1); K = 2, L = 1/2, M = 1, M_K = 18, gamma_1 = 1/100; history i(0) = 1; w^0 = (1, 0), "
        "w^1 = (1, 0), grad f(w^1) = (1/2, 0); E f(w^2) - f(w^1) = 0 > -7/20000 = "
        "-(gamma/2)||grad f||^2 + gamma^2 L M_K"
    )
    moved = lemma_1_search.check(
        replace(drawn, history=(1,), steps_per_unit=1000, numerators=(4, 1), denominator=3), ddg
    )
    assert moved.measured == float(-Fraction(1, 2) * Fraction(1, 1000))
    assert moved.bound == float(-Fraction(1, 8000) + 9 * Fraction(1, 10**6))
    assert moved.note == ""


def test_exact_ridge_sums_are_the_ridge_sums_of_floats():
    """Values, gradients and M; L by Gershgorin, from below no less than the largest eigenvalue."""
    directions, tilt = [[1, 0, -1], [2, 1, 0]], [[1, 0, 2], [-1, 0, -2]]
    coefficients = [[3, 1], [-1, 2]]
    exact = ExactRidgeSum(Fraction, *(objects(part, Fraction) for part in (directions, coefficients, tilt)), 3)
    plain = RidgeSum("huber", *(np.array(part, float) for part in (directions, coefficients, tilt)), 3)
    assert exact.blocks == plain.blocks
    assert (exact.n, exact.L) == (2, 11)  # G = |c_1| a_1 a_1^T + |c_2| a_2 a_2^T, c = (1, 3/2)
    assert exact.L >= plain.L
    assert float(exact.M) == plain.M
    for point in ([0, 0, 0], [3, -2, 1], ["1/2", "1/3", "1/5"], ["-7/3", "1/7", "5/2"]):
        w = objects(point, Fraction)
        floats = w.astype(float)
        assert exact.values(w).astype(float) == pytest.approx(plain.values(floats))
        assert float(exact.f(w)) == pytest.approx(float(plain.f(floats)))
        assert exact.grad(w).astype(float) == pytest.approx(plain.grad(floats))
        for i in (0, 1):
            assert exact.gradient(i, w).astype(float) == pytest.approx(plain.gradient(i, floats))


def test_exact_ridges():
    half, three = Fraction(1, 2), Fraction(3)
    for x, value, slope in ((half, Fraction(1, 8), half), (Fraction(1), half, Fraction(1)), (three, Fraction(5, 2), 1)):
        assert huber(x) == huber(-x) == value
        assert huber_slope(x) == slope
        assert huber_slope(-x) == -slope
        assert type(huber_slope(-x)) is Fraction
    assert huber_slope(Fraction(0)) == 0
    assert math.isnan(huber_slope(math.nan))
    assert math.isnan(huber(math.nan))
    assert root(Decimal("0.75")) == Decimal("1.25")
    assert root_slope(Decimal("-0.75")) == Decimal("-0.6")


def test_steps_of_every_kind():
    """Arbitrary ones from gamma/100 to gamma, on a log scale: a quarter in each factor of sqrt(10)."""
    count, gamma = 4000, 0.7
    assert (step_sizes("constant", gamma, count) == gamma).all()
    assert step_sizes("harmonic", gamma, 4).tolist() == [0.7, 0.35, 0.7 / 3, 0.175]
    drawn = step_sizes("arbitrary", gamma, count, seed=3)
    assert gamma / 100 < drawn.min() < gamma / 98
    assert gamma / 1.02 < drawn.max() <= gamma
    shares = np.histogram(np.log10(drawn / gamma), bins=[-2, -1.5, -1, -0.5, 0])[0] / count
    assert shares == pytest.approx([0.25] * 4, abs=0.03)
    walk = step_sizes("nonincreasing", gamma, count, seed=3)
    ratios = np.round(walk[1:100] / walk[:99], 6)
    assert set(ratios) == {1.0, 0.9, 0.5}
    first = [step_sizes("nonincreasing", gamma, 1, seed=s)[0] / gamma for s in range(2000)]
    for ratio, share in ((1.0, 0.5), (0.9, 0.3), (0.5, 0.2)):
        assert np.mean(np.isclose(first, ratio)) == pytest.approx(share, abs=0.04)
    for kind in KINDS:
        assert np.array_equal(step_sizes(kind, gamma, 9, seed=5), step_sizes(kind, gamma, 9, seed=5))
        assert step_sizes(kind, gamma, 9, seed=5).max() <= gamma
    for kind in ("nonincreasing", "arbitrary"):
        assert not np.array_equal(step_sizes(kind, gamma, 9, seed=5), step_sizes(kind, gamma, 9, seed=6))


def test_deviation_from_the_transition_is_relative_to_the_iterates():
    H = make_problem("quadratic", 3, 1, seed=1).H + 0.1 * np.eye(4)
    blocks = (slice(0, 1), slice(1, 2), slice(2, 4))
    for j in range(4):
        size = np.abs(ddg_of(H, 0.2)).max()
        seen = stability.deviation(H, blocks, 0.2, perturbed((7, 0, j), 1e-6))
        assert seen > 0.5e-6 / size


def ddg_of(H, gamma):
    problem = Quadratic(H, np.zeros((1, 4)), 3)
    return ddg(problem, np.linspace(1.0, 2.0, 4), np.zeros((1, 12), dtype=int), SGD(np.full(12, gamma)))
