"""What people run: both sides of its claims computed again with plain loops over single orders, from the definitions;
the steps of its proofs; and faults that must be seen."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from theory import matrix, momentum_stability, recipe_bounds
from theory.cases import Case
from theory.claims import CLAIMS, Kind, changing_steps, momentum, reshuffling, weight_decay
from theory.claims.momentum_threshold import MomentumQuadraticCase
from theory.claims.quadratic_threshold import QuadraticCase
from theory.claims.recipe_cases import recipe_cases
from theory.delayed import ddg
from theory.examine import examine
from theory.families import make_problem
from theory.optimizers import ScheduledMomentum
from theory.problems import split
from theory.recipes import Recipe, RecipeCase, all_orders, sample_lipschitz
from theory.wrong import uphill

pytestmark = pytest.mark.slow

CASE = Case("logistic", K=3, n=2, T=4, steps="constant", gamma_L=0.3, start=1.0, seed=4)
HEAVY, NESTEROV = RecipeCase(CASE, Recipe(0.6)), RecipeCase(CASE, Recipe(0.6, nesterov=True))
DECAYED = RecipeCase(CASE, Recipe(0.3, decay=0.02))
CHANGING = RecipeCase(replace(CASE, steps="arbitrary"), Recipe(0.5, True, 0.0, 3, (2,), 0.5))
WARMED = RecipeCase(CASE, Recipe(0.5, False, 0.0, 2, (3,), 0.5))
EPOCHS = RecipeCase(replace(CASE, n=3, T=6, gamma_L=0.1), Recipe(0.4, True), epochs=True)
DEFAULT = replace(EPOCHS, recipe=Recipe(0.4, True, 0.0, 2, (3,), 0.5))
ALONE = RecipeCase(replace(CASE, n=1, T=9, gamma_L=0.2), Recipe(0.5))
LASTING = 400


class Plain:
    """Every order of a case, one coordinate at a time: w by the program's rule; z by letting everything run out."""

    def __init__(self, setting):
        self.setting, self.case, self.problem = setting, setting.case, setting.problem
        self.beta, self.nesterov = setting.momentum
        gammas = [float(g) for g in setting._long]
        self.gammas = gammas + [gammas[-1]] * LASTING
        self.delays = [
            self.case.K - k
            for k, block in enumerate(self.problem.blocks, start=1)
            for _ in range(block.start, block.stop)
        ]
        n, m = self.case.n, self.case.T // self.case.n
        if setting.epochs:
            epochs = itertools.product(itertools.permutations(range(n)), repeat=m)
            orders = [tuple(itertools.chain(*epoch)) for epoch in epochs]
        else:
            orders = list(itertools.product(range(n), repeat=self.case.T))
        self.runs = [self.run(order) for order in orders]

    def updates(self, j, given, stop):
        """Coordinate j after `stop` iterations, its gradients being `given` and then 0."""
        w, v, drained = float(self.case.w0[j]), 0.0, [float(self.case.w0[j])]
        for t in range(self.delays[j], stop):
            s = t - self.delays[j]
            g = given[s] + self.setting.decay * w if s < len(given) else 0.0
            v = self.beta * v + g
            w -= self.gammas[t] * (g + self.beta * v if self.nesterov else v)
            drained.append(w)
        return w, drained

    def run(self, order):
        w, g = [np.array(self.case.w0)], []
        for t, i in enumerate(order):
            g.append(self.problem.gradient(i, w[t]))
            w.append(np.array([self.updates(j, [h[j] for h in g], t + 1)[0] for j in range(self.problem.d)]))
        x = [
            np.array([self.updates(j, [h[j] for h in g], t + d)[0] for j, d in enumerate(self.delays)])
            for t in range(len(order) + 1)
        ]
        end = len(order) + max(self.delays) + 120
        z = [
            np.array([self.coasted(j, [h[j] for h in g[:t]], end) for j in range(self.problem.d)])
            for t in range(len(order) + 1)
        ]
        return w, x, z, g

    def coasted(self, j, given, end):
        return self.updates(j, given, end)[0]

    def grad2(self, v):
        return float(sum(entry**2 for entry in self.grad(v)))

    def grad(self, v):
        return np.mean([self.problem.gradient(i, v) for i in range(self.case.n)], axis=0)

    def mean(self, quantity):
        return sum(quantity(*run) for run in self.runs) / len(self.runs)

    def largest(self, quantity):
        return max(quantity(*run) for run in self.runs)

    def eta(self, t):
        """The effective step, by its definition."""
        sums = [self.beta**j * self.gammas[t + j] for j in range(120)]
        return self.gammas[t] + self.beta * sum(sums) if self.nesterov else sum(sums)


def squares(p, w, x, z, g):
    return sum(p.grad2(v) for v in w[:-1]) / p.case.T


def both_squares(p, w, x, z, g):
    return squares(p, w, x, z, g) + sum(p.grad2(v) for v in z[:-1]) / p.case.T


def directions(p, w, x, z, g):
    mean, total = 0.0, 0.0
    for v in w[:-1]:
        a = p.grad(v)
        mean = p.beta * mean + a
        direction = a + p.beta * mean if p.nesterov else mean
        total += float(direction @ direction)
    return (1 - p.beta) ** 2 * total / p.case.T


def epochs(p, w, x, z, g):
    starts = z[: -1 : p.case.n]
    return sum(p.grad2(v) for v in starts) / len(starts)


def decayed(p, w, x, z, g):
    totals = [p.grad(a) + p.setting.decay * b for a, b in zip(w[:-1], x[:-1], strict=True)]
    return sum(float(total @ total) for total in totals) / p.case.T


def weighted(p, w, x, z, g):
    return sum(p.eta(t) * p.grad2(v) for t, v in enumerate(w[:-1]))


def blockwise(p, w, x, z, g, at="w"):
    iterates = w if at == "w" else z
    return sum(p.eta(t + d) * p.grad(iterates[t])[j] ** 2 for t in range(p.case.T) for j, d in enumerate(p.delays))


def both_blockwise(p, w, x, z, g):
    return blockwise(p, w, x, z, g) + blockwise(p, w, x, z, g, "z")


def nominal_epochs(p, w, x, z, g):
    n, recipe = p.case.n, p.setting.recipe
    steps = [p.setting.eta * recipe.factor ** sum(m <= jn for m in recipe.milestones) for jn in range(0, p.case.T, n)]
    return sum(step * n * p.grad2(v) for step, v in zip(steps, z[:-1:n], strict=True))


def reach(p, w, x, z, g):
    return max(math.dist(a, b) for a, b in zip(w, z, strict=True))


def descent(p, w, x, z, g):
    f = [float(np.mean(p.problem.values(v))) for v in (z[0], z[-1])]
    risen = f[1] - f[0] + p.setting.eta * sum(float(p.grad(a) @ b) for a, b in zip(w, g, strict=False))
    D = p.case.K - 1 + recipe_bounds.age(p.beta, p.nesterov)
    return risen / ((D + 0.5) * p.setting.eta**2 * p.problem.L * sum(float(b @ b) for b in g))


MEASURED = {
    "coasted-distance": (NESTEROV, Plain.largest, reach),
    "momentum-lin": (HEAVY, Plain.mean, squares),
    "momentum-clean": (NESTEROV, Plain.mean, both_squares),
    "momentum-sharp": (NESTEROV, Plain.mean, squares),
    "momentum-d": (replace(NESTEROV, case=replace(CASE, gamma_L=0.2)), Plain.mean, directions),
    "momentum-d0": (ALONE, Plain.mean, directions),
    "heavy-ball-d0": (ALONE, Plain.mean, squares),
    "two-modules": (replace(ALONE, case=replace(ALONE.case, K=2)), Plain.mean, squares),
    "any-order": (EPOCHS, Plain.largest, epochs),
    "any-order-weights": (EPOCHS, Plain.largest, squares),
    "shuffled": (EPOCHS, Plain.mean, epochs),
    "shuffled-variance": (
        RecipeCase(replace(CASE, n=3, T=6, gamma_L=0.05), epochs=True),
        Plain.mean,
        epochs,
    ),
    "default-training": (DEFAULT, Plain.largest, nominal_epochs),
    "default-training-shuffled": (DEFAULT, Plain.mean, nominal_epochs),
    "steps-blockwise": (CHANGING, Plain.mean, blockwise),
    "steps-weighted": (CHANGING, Plain.mean, weighted),
    "steps-clean": (CHANGING, Plain.mean, both_blockwise),
    "steps-warm-up": (WARMED, Plain.mean, weighted),
    "decay-bounded": (DECAYED, Plain.largest, lambda p, w, x, z, g: p.setting.decay * max(map(np.linalg.norm, x))),
    "decay-lin": (DECAYED, Plain.mean, decayed),
    "decay-d0": (RecipeCase(replace(CASE, n=1, T=9), Recipe(decay=0.02)), Plain.mean, decayed),
}


def test_every_upper_bound_is_measured_again_here():
    of_recipes = {c.id for c in CLAIMS.values() if c.kind is Kind.UPPER_BOUND and c.case_type is RecipeCase}
    assert of_recipes == MEASURED.keys() | {"coasted-descent", "epoch-distance"}


@pytest.mark.parametrize("name", MEASURED)
def test_what_is_measured_is_what_the_definitions_say(name):
    setting, over, quantity = MEASURED[name]
    p = Plain(setting)
    outcome = CLAIMS[name].check(setting, ddg)
    assert outcome.measured == pytest.approx(over(p, lambda *run: quantity(p, *run)), rel=1e-9)
    assert not outcome.violates(Kind.UPPER_BOUND)


def test_the_descent_and_the_epochs_distance_are_those_of_the_definitions():
    p = Plain(NESTEROV)
    outcome = CLAIMS["coasted-descent"].check(NESTEROV, ddg)
    assert outcome.ratio == pytest.approx(p.largest(lambda *run: descent(p, *run)), rel=1e-8)
    p, n = Plain(DEFAULT), DEFAULT.case.n
    steps = [DEFAULT.eta * 0.5 ** (t >= 3) for t in range(DEFAULT.case.T)]
    ratios = [
        math.dist(w[t], z[t - t % n]) / recipe_bounds.epoch_distance(steps[t], p.problem.M, 3, 0.4, t % n)
        for w, x, z, g in p.runs
        for t in range(DEFAULT.case.T)
    ]
    assert CLAIMS["epoch-distance"].check(DEFAULT, ddg).ratio == pytest.approx(max(ratios), rel=1e-9)


@pytest.mark.parametrize("setting", [HEAVY, NESTEROV, DECAYED, CHANGING, WARMED, EPOCHS, DEFAULT])
def test_all_iterates_are_those_of_the_definitions(setting):
    p, run = Plain(setting), setting.run()
    assert len(p.runs) == run.w.shape[1]
    for r, (w, x, z, g) in enumerate(p.runs):
        for ours, theirs in ((run.w, w), (run.x, x), (run.z, z), (run.g, g)):
            np.testing.assert_allclose(ours[:, r], np.array(theirs), rtol=1e-11, atol=1e-12)
    for t in range(setting.case.T):
        assert setting.etas[t] == pytest.approx(p.eta(t), rel=1e-12)


def test_heavy_balls_coasted_iterate_is_an_extrapolation():
    run = HEAVY.run()
    before = np.concatenate([run.x[:1], run.x[:-1]])
    np.testing.assert_allclose(run.z, run.x + 0.6 / 0.4 * (run.x - before), atol=1e-13)


# --- faults ------------------------------------------------------------------------------------------------

FAULTS = {
    "another momentum": lambda rule: replace(rule, mu=rule.mu + 1e-6),
    "the other form": lambda rule: replace(rule, nesterov=not rule.nesterov),
    "the step of another iteration": lambda rule: replace(rule, gammas=np.roll(rule.gammas, 1)),
    "another decay": lambda rule: replace(rule, decay=rule.decay * (1 + 1e-6)),
}


@pytest.mark.parametrize("name", ["coasted-identity", "coasting"])
@pytest.mark.parametrize("fault", FAULTS)
def test_the_identities_see_a_rule_that_is_just_wrong(name, fault):
    setting = RecipeCase(replace(CASE, steps="nonincreasing", seed=9), Recipe(0.6, True, 0.3, 2, (3,), 0.5))
    claim = CLAIMS[name]
    assert not claim.check(setting, ddg).violates(Kind.IDENTITY)

    def faulty(problem, w0, samples, rule):
        return ddg(problem, w0, samples, FAULTS[fault](rule))

    assert claim.check(setting, faulty).violates(Kind.IDENTITY)


class Kept(ScheduledMomentum):
    """A velocity that already holds the step, as some libraries keep it: v <- beta v + gamma g, w <- w - v."""

    def step(self, state, t, w, g):
        v = self.mu * state[0] + self.gammas[t] * (g + self.decay * w)
        return (v,), w - v


def test_the_identities_see_a_step_inside_the_velocity():
    """The same with a constant step, another thing where it changes."""

    def faulty(problem, w0, samples, rule):
        return ddg(problem, w0, samples, Kept(rule.gammas, rule.mu, rule.decay))

    for name in ("coasted-identity", "coasting"):
        assert not CLAIMS[name].check(HEAVY, faulty).violates(Kind.IDENTITY)
        assert CLAIMS[name].check(WARMED, faulty).violates(Kind.IDENTITY)


@pytest.mark.parametrize("name", ["coasted-identity", "coasting"])
def test_a_small_step_aside_is_seen_anywhere(name):
    for t, r, j, by in itertools.product((1, 3, 4), (0, 15), (0, -1), (1e-9, -1e-9)):

        def aside(problem, w0, samples, rule, place=(t, r, j), by=by):
            w = ddg(problem, w0, samples, rule).copy()
            w[place] += by
            return w

        outcome = CLAIMS[name].check(NESTEROV, aside)
        assert outcome.violates(Kind.IDENTITY) or (name == "coasting" and t != 4), (t, r, j)


WITH_CONSTANTS = [name for name in MEASURED if name not in ("coasted-distance", "decay-bounded")]


@pytest.mark.parametrize("name", WITH_CONSTANTS)
def test_wrong_certificates_break_the_bounds(name):
    setting = MEASURED[name][0]
    case = replace(setting.case, family="sqrt+noise", gamma_L=setting.case.gamma_L / 2)
    setting = replace(setting, case=case)
    assert not CLAIMS[name].check(setting, ddg).violates(Kind.UPPER_BOUND)
    eta = setting.eta
    problem = case.problem
    problem.f_star = float(problem.f(case.w0)) - 1e-6
    problem.L /= 1000
    problem.M /= 1e6
    problem.variance /= 1e6
    case = replace(case, gamma_L=eta * setting.L / 1000)
    case.__dict__["problem"] = problem
    setting = replace(setting, case=case)
    setting.__dict__["L"] = case.gamma_L / eta
    assert CLAIMS[name].check(setting, ddg).violates(Kind.UPPER_BOUND)


@pytest.mark.parametrize("name", WITH_CONSTANTS)
def test_climbing_breaks_the_bounds(name):
    cases = CLAIMS[name].adversaries + matrix.ordinary(CLAIMS[name])
    assert any(CLAIMS[name].check(case, uphill).violates(Kind.UPPER_BOUND) for case in cases)


@pytest.mark.parametrize(
    ("name", "check"),
    [
        ("momentum-lin", momentum.bounded(momentum.of_weights, lambda *a: 0.9 * recipe_bounds.momentum_lin(*a))),
        ("momentum-clean", momentum.bounded(momentum.of_both, lambda *a: 0.9 * recipe_bounds.momentum_clean(*a))),
        ("any-order", reshuffling.any_order(reshuffling.of_epochs, lambda *a: 0.2 * recipe_bounds.any_order(*a))),
        (
            "steps-blockwise",
            changing_steps.checker(changing_steps.of_weights, lambda *a: 0.7 * recipe_bounds.steps_blockwise(*a)),
        ),
    ],
)
def test_a_bound_that_is_too_small_fails_in_an_examination(name, check):
    assert examine(CLAIMS[name], 40, seed=0).violation is None
    assert examine(replace(CLAIMS[name], check=check), 40, seed=0).violation is not None


@pytest.mark.parametrize("factor", [1 + 2e-6, 1 - 2e-6])
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_threshold_is_seen_to_a_millionth(factor, nesterov, monkeypatch):
    intact = recipe_bounds.momentum_threshold
    case = MomentumQuadraticCase(QuadraticCase(3, 0, 1.0, 0), 0.9, nesterov)
    assert not CLAIMS["momentum-threshold"].check(case, ddg).violates(Kind.STABILITY_THRESHOLD)
    monkeypatch.setattr(recipe_bounds, "momentum_threshold", lambda *symbols: factor * intact(*symbols))
    assert CLAIMS["momentum-threshold"].check(case, ddg).violates(Kind.STABILITY_THRESHOLD)


# --- steps of the proofs -----------------------------------------------------------------------------------


def test_theorem_t2_by_its_multipliers():
    """F_d >= (3/4)(1-r) for both delays, all beta and r; and its parts as PROOFS.md has them."""
    phi = np.linspace(0, np.pi, 4001)[1:]
    z, p = np.exp(1j * phi), np.sin(phi / 2) ** 2
    for beta, r in itertools.product((0.0, 0.3, 0.5, 0.9, 0.99), (0.01, 0.3, 0.7, 0.9, 0.99, 0.9999)):
        q, m2 = 1 - beta, np.abs(z - beta) ** 2
        limit = r * q
        for d in (0, 1):
            W = -(z**-d) * z / ((z - beta) * (z - 1))
            lags = [
                np.sin(tau * phi / 2) ** 2 * (1 / limit - limit * abs(W) ** 2) + np.sin(tau * phi) * W.imag
                for tau in (1, 2)
            ]
            u = 2 * np.cos(phi) - 1 - beta if d else q
            rest = (u**2 if d else 16 * beta * p**2 + q**2) / q + (1 - r) * (4 * p * m2 / limit + q)
            np.testing.assert_allclose(lags[1], (1 - p) / m2 * rest, rtol=1e-6, atol=1e-6 / q)
            assert ((1 - r) * lags[0] + lags[1]).min() >= 0.75 * (1 - r) * (1 - 1e-9)


def test_the_lag_inequality_of_theorem_t2():
    rng = np.random.default_rng(0)
    for family in ("sqrt", "sine", "logistic", "network", "quadratic"):
        problem = make_problem(family, 2, 2, seed=1)
        x, y = rng.normal(size=(2, 200, problem.d)) * 3
        p, q, L = problem.grad(x), problem.grad(y), problem.L
        right = ((p + q) * (y - x)).sum(-1) / 2 + L / 4 * ((y - x) ** 2).sum(-1) - ((q - p) ** 2).sum(-1) / (4 * L)
        assert (problem.f(y) - problem.f(x) - right).max() <= 1e-9


@pytest.mark.parametrize("nesterov", [False, True])
def test_passivity_of_momentum(nesterov):
    rng = np.random.default_rng(1)
    for beta in (0.0, 0.5, 0.9):
        for a in rng.normal(size=(50, 30)).cumsum(axis=1):
            mean, product, square = 0.0, 0.0, 0.0
            for value in a:
                mean = beta * mean + value
                direction = value + beta * mean if nesterov else mean
                product, square = product + value * direction, square + direction**2
            assert product >= (1 - beta) * square - 1e-9


@pytest.mark.parametrize(("n", "m"), [(1, 5), (2, 3), (3, 2), (4, 1)])
def test_all_orders_are_all_orders(n, m):
    orders = all_orders(n, m)
    assert len(orders) == math.factorial(n) ** m == len({tuple(order) for order in orders})
    assert (np.sort(orders.reshape(-1, m, n), axis=2) == np.arange(n)).all()


def test_too_many_orders_are_refused():
    with pytest.raises(ValueError, match=r"m: expected \(n!\)\^m up to .*; take fewer epochs"):
        all_orders(6, 4)
    with pytest.raises(ValueError, match="T: expected whole epochs of n = 2, got 5; take a multiple"):
        RecipeCase(replace(CASE, T=5), epochs=True)
    with pytest.raises(ValueError, match="milestones: expected increasing numbers"):
        Recipe(milestones=(3, 2))


@pytest.mark.parametrize("family", ["sqrt+noise", "huber", "sine", "logistic", "network", "quadratic", "first-circle"])
def test_every_sample_has_the_lipschitz_constant(family):
    problem, rng = make_problem(family, 3, 3, seed=2), np.random.default_rng(0)
    a, b = rng.normal(size=(2, 300, problem.d)) * rng.choice([0.1, 1.0, 4.0], size=(300, 1))
    for i in range(problem.n):
        rise = np.linalg.norm(problem.gradient(i, b) - problem.gradient(i, a), axis=1)
        assert (rise <= sample_lipschitz(problem) * np.linalg.norm(b - a, axis=1) * (1 + 1e-9)).all()
    assert sample_lipschitz(problem) >= problem.L * (1 - 1e-9)


@pytest.mark.parametrize("K", [1, 2, 4])
def test_without_momentum_the_transition_is_the_plain_one(K):
    H = QuadraticCase(K, 1, 1.0, 3).random()
    blocks = split(len(H), K)
    assert momentum_stability.deviation(H, blocks, 0.1, 0.0, True, ddg) < 1e-13
    assert momentum_stability.deviation(H, blocks, 0.1, 0.9, True, ddg) < 1e-13
    assert momentum_stability.deviation(H, blocks, 0.1, 0.9, False, ddg) < 1e-13


def test_decay_conditions_are_those_of_real_poles():
    """At the limit both poles meet; beyond, the response turns negative and the weights leave the ball."""
    for beta in (0.1, 0.5, 0.9):
        heavy, look_ahead = (recipe_bounds.decay_limit(beta, form) for form in (False, True))
        assert np.ptp(np.roots([1, -(1 + beta - heavy), beta]).real) < 1e-6
        assert np.ptp(np.roots([1, -(1 + beta) * (1 - look_ahead), beta * (1 - look_ahead)]).real) < 1e-6


def test_only_admitted_decay_is_drawn():
    strategy = weight_decay.LIN.strategy
    found = examine(replace(CLAIMS["decay-lin"], strategy=strategy, adversaries=(), check=_notes), 30, seed=0).examples
    assert found == 30


def _notes(setting, iteration):
    assert weight_decay.admitted(setting)
    return CLAIMS["decay-bounded"].check(setting, iteration)


def test_cases_are_small():
    for epochs_ in (False, True):
        claim = replace(
            CLAIMS["coasted-distance"], strategy=recipe_cases(epochs=epochs_), adversaries=(), check=_counts
        )
        assert examine(claim, 60, seed=0).violation is None


def _counts(setting, iteration):
    assert len(setting.samples) <= 216
    return CLAIMS["coasted-distance"].check(CLAIMS["coasted-distance"].adversaries[0], iteration)
