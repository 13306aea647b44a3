"""DDG as people run it: momentum, weight decay, warm-up, step drops, epochs; and its coasted iterate.

The coasted iterate z^t is where the weights end up if the data stop after t iterations, the pipeline empties *and* the
velocities run out. As the drained iterate x^t does for plain SGD, it moves by fresh gradients alone:

    z_k^{t+1} = z_k^t - eta_{t+d_k} s_k(t),   eta_t = gamma_t + beta gamma_{t+1} + beta^2 gamma_{t+2} + ..,

where s(t) = g(t) + decay x^t is what the optimizer is given; with Nesterov's look-ahead eta_t = gamma_t + beta times
that sum. With a constant step eta = gamma/(1-beta) either way. Steps after the run's end do not change the run: the
last one of the schedule goes on for ever.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from theory.cases import Case
from theory.checks import integer, nonnegative, positive
from theory.delayed import Iteration, ddg
from theory.exact import LISTED_AT_MOST, all_sequences
from theory.families import FIRST_MODULE
from theory.network import SquashedNetwork
from theory.optimizers import ScheduledMomentum
from theory.problems import Array, Logistic, Problem, RidgeSum
from theory.steps import step_sizes
from theory.symbols import flag, momentum


@dataclass(frozen=True)
class Recipe:
    """What the optimizer and the schedule are: `decay` in units of L, milestones in iterations.

    Raises ValueError for a momentum outside [0, 1), a negative decay or warm-up, milestones that do not increase.
    """

    beta: float = 0.0
    nesterov: bool = False
    decay: float = 0.0
    warm_up: int = 0
    milestones: tuple[int, ...] = ()
    factor: float = 0.1

    def __post_init__(self) -> None:
        momentum("beta", self.beta)
        flag("nesterov", self.nesterov)
        nonnegative("decay", self.decay)
        integer("warm_up", self.warm_up, 0)
        positive("factor", self.factor)
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones: expected increasing numbers, got {self.milestones}; sort them")

    def drops(self, count: int) -> Array:
        """factor^(number of milestones <= t) for t < count."""
        passed = (np.arange(count)[:, None] >= np.array(self.milestones, dtype=int)).sum(axis=1)
        return np.asarray(self.factor**passed)

    def ramp(self, count: int) -> Array:
        """min(1, (t+1)/warm_up) for t < count."""
        return np.asarray(np.minimum(1.0, (np.arange(count) + 1.0) / max(1, self.warm_up)))


@dataclass(frozen=True)
class RecipeCase:
    """A case and a recipe. `case.gamma_L` is L times the largest *effective* step eta = gamma/(1-beta); `case.steps` is
    multiplied by the recipe's warm-up and drops.

    With `epochs`, iterations come in epochs of n and the orders are all (n!)^m of sampling without replacement, T = mn,
    and `case.gamma_L` is eta times the largest L of a single f_i.
    """

    case: Case
    recipe: Recipe = Recipe()
    epochs: bool = False

    def __post_init__(self) -> None:
        if self.epochs and self.case.T % self.case.n:
            raise ValueError(f"T: expected whole epochs of n = {self.case.n}, got {self.case.T}; take a multiple")

    @property
    def K(self) -> int:  # noqa: N802
        """Number of modules."""
        return self.case.K

    @property
    def momentum(self) -> tuple[float, bool]:
        """beta, and whether in Nesterov's form."""
        return self.recipe.beta, self.recipe.nesterov

    @property
    def problem(self) -> Problem:
        """As the case's."""
        return self.case.problem

    @cached_property
    def L(self) -> float:  # noqa: N802
        """Of f; with `epochs`, of every f_i."""
        return sample_lipschitz(self.problem) if self.epochs else self.problem.L

    @property
    def eta(self) -> float:
        """The largest effective step."""
        return self.case.gamma_L / self.L

    @property
    def decay(self) -> float:
        """The weight decay, as ddg_ref takes it."""
        return self.recipe.decay * self.L

    @cached_property
    def _long(self) -> Array:
        """gamma_t until the schedule has come to rest."""
        recipe, needed = self.recipe, self.case.T + self.K - 1
        kind = step_sizes(self.case.steps, self.eta, needed, self.case.seed)
        count = max(needed, recipe.warm_up, *recipe.milestones, 0) + 1
        gammas = np.pad(kind, (0, count - needed), mode="edge") * recipe.ramp(count) * recipe.drops(count)
        return np.asarray((1 - recipe.beta) * gammas)

    @property
    def gammas(self) -> Array:
        """T+K-1 step sizes, which multiply the velocity."""
        return self._long[: self.case.T + self.K - 1]

    @cached_property
    def sums(self) -> Array:
        """gamma_t + beta gamma_{t+1} + beta^2 gamma_{t+2} + .., for t < T+K."""
        beta, sums = self.recipe.beta, np.array(self._long)
        sums[-1] /= 1 - beta
        for t in reversed(range(len(sums) - 1)):
            sums[t] += beta * sums[t + 1]
        return sums[: self.case.T + self.K]

    @cached_property
    def etas(self) -> Array:
        """The effective steps eta_t, for t < T+K."""
        if not self.recipe.nesterov:
            return self.sums
        return np.asarray(self._long[: self.case.T + self.K] + self.recipe.beta * self.sums)

    @cached_property
    def samples(self) -> Array:
        """Every order of the samples: (R, T)."""
        case = self.case
        if case.family in FIRST_MODULE:  # all samples are alike, so one order stands for all
            return np.arange(case.T)[None] % case.n
        return all_orders(case.n, case.T // case.n) if self.epochs else all_sequences(case.n, case.T)

    @property
    def rule(self) -> ScheduledMomentum:
        """The optimizer."""
        return ScheduledMomentum(self.gammas, self.recipe.beta, self.decay, self.recipe.nesterov)

    def run(self, iteration: Iteration = ddg) -> CoastedRun:
        """Run the iteration over every order, and K-1 iterations longer, on any samples, to read x off."""
        samples = np.pad(self.samples, ((0, 0), (0, self.K - 1)), mode="edge")
        return CoastedRun(self, iteration(self.problem, self.case.w0, samples, self.rule))


@dataclass(frozen=True, eq=False)
class CoastedRun:
    """One experiment: everything in it comes from the weights w alone, by definition."""

    setting: RecipeCase
    longer: Array

    @property
    def T(self) -> int:  # noqa: N802
        """Number of iterations."""
        return self.setting.case.T

    @property
    def w(self) -> Array:
        """w^0..w^T, (T+1, R, d)."""
        return self.longer[: self.T + 1]

    @cached_property
    def x(self) -> Array:
        """The drained iterate, x_k^t = w_k^{t+d_k}, (T+1, R, d)."""
        x = np.empty_like(self.w)
        for k, block in enumerate(self.setting.problem.blocks, start=1):
            late = self.setting.K - k
            x[..., block] = self.longer[late : late + self.T + 1, :, block]
        return x

    @cached_property
    def g(self) -> Array:
        """g(t) = grad f_{i(t)}(w^t), (T, R, d)."""
        samples = self.setting.samples
        return np.stack([self.setting.problem.gradient(samples[:, t], self.w[t]) for t in range(self.T)])

    @cached_property
    def s(self) -> Array:
        """What the optimizer is given, g(t) + decay x^t, (T, R, d)."""
        return self.g + self.setting.decay * self.x[:-1] if self.setting.decay else self.g

    @cached_property
    def a(self) -> Array:
        """grad f(w^t), (T, R, d)."""
        return np.asarray(self.setting.problem.grad(self.w[:-1]))

    @cached_property
    def outstanding(self) -> Array:
        """What the gradients computed so far will still add to the steps, (T+1, R, d): those in flight all they get,
        those in the velocity what it has not yet given."""
        setting, s = self.setting, self.s
        beta, nesterov = setting.momentum
        total = np.zeros_like(self.w)
        for k, block in enumerate(setting.problem.blocks, start=1):
            late, velocity = setting.K - k, np.zeros_like(self.w[0][:, block])
            for t in range(self.T + 1):
                for r in range(max(0, t - late), t):
                    total[t][:, block] += setting.etas[r + late] * s[r][:, block]
                if t - 1 >= late:
                    velocity = beta * velocity + s[t - 1 - late][:, block]
                total[t][:, block] += setting.sums[t] * (beta * beta if nesterov else beta) * velocity
        return total

    @cached_property
    def z(self) -> Array:
        """The coasted iterate, w^t less what is outstanding, (T+1, R, d)."""
        return np.asarray(self.w - self.outstanding)

    @cached_property
    def directions(self) -> Array:
        """Q^t, the mean part of the step's direction: M^t = beta M^{t-1} + a_t, or a_t + beta M^t; (T, R, d)."""
        beta, nesterov = self.setting.momentum
        directions, mean = np.empty_like(self.a), np.zeros_like(self.a[0])
        for t, a in enumerate(self.a):
            mean = beta * mean + a
            directions[t] = a + beta * mean if nesterov else mean
        return directions

    def coast(self) -> Array:
        """Stop the data after iteration T, let the pipeline empty and the velocities run out, (R, d), by the rule."""
        setting = self.setting
        beta, late = setting.recipe.beta, setting.K - 1
        rounds = 0 if beta == 0 else math.ceil(math.log(1e-17) / math.log(beta))
        gammas = np.pad(setting._long, (0, self.T + late + rounds), mode="edge")
        rule = ScheduledMomentum(gammas, beta, 0.0, setting.recipe.nesterov)
        end = np.empty_like(self.w[0])
        for k, block in enumerate(setting.problem.blocks, start=1):
            w, state = np.broadcast_to(setting.case.w0[block], end[:, block].shape), rule.start(end[:, block])
            for t in range(setting.K - k, self.T + late + rounds):
                r = t - (setting.K - k)
                given = self.s[r][:, block] if r < self.T else np.zeros_like(w)
                state, w = rule.step(state, t, w, given)
            end[:, block] = w
        return np.asarray(end)


def squared(v: Array) -> Array:
    """||v||^2: (..., d) -> (...)."""
    return np.asarray((v * v).sum(axis=-1))


def all_orders(n: int, m: int) -> Array:
    """Every order of m epochs that use each of n samples once: ((n!)^m, mn) integers."""
    integer("n", n, 1)
    integer("m", m, 1)
    if m * math.lgamma(n + 1) > math.log(LISTED_AT_MOST):
        raise ValueError(f"m: expected (n!)^m up to {LISTED_AT_MOST}, got ({n}!)^{m}; take fewer epochs")
    one = np.array(list(itertools.permutations(range(n))))
    chosen = np.indices((len(one),) * m).reshape(m, -1).T
    return np.asarray(one[chosen].reshape(len(chosen), m * n))


def sample_lipschitz(problem: Problem) -> float:
    """A Lipschitz constant of every grad f_i, by the arguments that prove L of their average."""
    if isinstance(problem, RidgeSum):
        a = problem.directions
        return max(float(np.linalg.eigvalsh((a.T * np.abs(row)) @ a)[-1]) for row in problem.coefficients)
    if isinstance(problem, Logistic):
        return float((problem.features**2).sum(axis=1).max()) / 4 + 2 * problem.rho
    if isinstance(problem, SquashedNetwork):
        losses = [problem.magnitude(x, y) for x, y in zip(problem.inputs, problem.targets, strict=True)]
        return max(float(np.linalg.eigvalsh(loss.second)[-1]) for loss in losses)
    return problem.L  # its samples differ by linear functions, or not at all
