"""What delay does to any optimizer, and to Adam: Theorems A0, A1, A3."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from hypothesis import strategies as st

from theory import recipe_bounds
from theory.cases import Case
from theory.claims.any_optimizer import OPTIMIZERS, OptimizerCase
from theory.claims.claim import BoundInK, Claim, Judge, Kind, Outcome, rounding, worst
from theory.claims.momentum import held_against
from theory.claims.recipe_cases import LONGEST
from theory.delayed import Iteration
from theory.network import SquashedNetwork
from theory.optimizers import Adam, Rule
from theory.problems import Array, Logistic, Problem, RidgeSum
from theory.recipes import squared
from theory.strategies import ANY_STEPS, cases


def weights_and_drained(case: Case, rule: Rule, iteration: Iteration) -> tuple[Array, Array]:
    """w^0..w^T, and x^0..x^T read off as x_k^t = w_k^{t+d_k} from a run that is K-1 iterations longer."""
    samples = np.pad(case.sequences.samples, ((0, 0), (0, case.K - 1)), mode="edge")
    w = iteration(case.problem, case.w0, samples, rule)
    x = np.empty_like(w[: case.T + 1])
    for k, block in enumerate(case.problem.blocks, start=1):
        x[..., block] = w[case.K - k : case.K - k + case.T + 1, :, block]
    return w[: case.T + 1], x


def measure_descent(drawn: OptimizerCase, iteration: Iteration) -> Judge:
    """f(x^T) - f(w^0) + sum <grad f(w^t), u^t> against (K - 1/2) L sum ||u^t||^2, u^t = x^t - x^{t+1}, in every
    history."""
    case, problem = drawn.case, drawn.case.problem
    w, x = weights_and_drained(case, drawn.rule(), iteration)
    u, f = x[:-1] - x[1:], problem.f(x)
    risen = f[-1] - f[0] + (problem.grad(w[:-1]) * u).sum(axis=(0, 2))
    squares = problem.L * squared(u).sum(axis=0)
    return lambda K: worst(risen, (K - 0.5) * squares, rounding(f))


@dataclass(frozen=True)
class AdamCase:
    """A case, whose step is Adam's gamma, and Adam's numbers."""

    case: Case
    beta1: float
    beta2: float
    eps: float

    @property
    def K(self) -> int:  # noqa: N802
        """Number of modules."""
        return self.case.K

    @cached_property
    def rule(self) -> Adam:
        """The optimizer."""
        return Adam(self.case.gamma, self.beta1, self.beta2, self.eps)


def steepest(problem: Problem) -> float:
    """A bound of every coordinate of every grad f_i, by the arguments that prove M."""
    if isinstance(problem, RidgeSum):
        return float((np.abs(problem.coefficients) @ np.abs(problem.directions) + np.abs(problem.tilt)).max())
    if isinstance(problem, Logistic):
        return float(np.abs(problem.features).max() + problem.rho * 3 * np.sqrt(3) / 8)
    if isinstance(problem, SquashedNetwork):
        losses = zip(problem.inputs, problem.targets, strict=True)
        return max(float(np.abs(problem.magnitude(x, y).first).max()) for x, y in losses)
    raise ValueError(f"problem: expected one with bounded gradients, got {problem.name!r}; choose another")


def measure_distance(drawn: AdamCase, iteration: Iteration) -> Judge:
    """The largest coordinate of |w_k^t - x_k^t|, block by block, against d_k gamma C."""
    case = drawn.case
    w, x = weights_and_drained(case, drawn.rule, iteration)
    far = np.array([np.abs(w[..., block] - x[..., block]).max() for block in case.problem.blocks])
    move, slack = case.gamma * recipe_bounds.adam_move(drawn.beta1, drawn.beta2), rounding(w)
    delays = case.K - np.arange(1, case.K + 1)
    return lambda K: worst(far, np.maximum(0, delays - (case.K - K)) * move, slack)


def measure_mean_square(drawn: AdamCase, iteration: Iteration) -> Judge:
    """S_T with beta1 = 0 against Theorem A3."""
    case, problem = drawn.case, drawn.case.problem
    w, _ = weights_and_drained(case, drawn.rule, iteration)
    values, G = squared(problem.grad(w[:-1])), steepest(problem)

    def judge(K: int) -> Outcome:
        return held_against(
            values,
            recipe_bounds.adam_without_first_moment(
                case.A, problem.L, G, K, case.gamma, case.T, problem.d, drawn.beta2, drawn.eps
            ),
        )

    return judge


_cases = cases(samples=(1, 2, 3), gamma_L=ANY_STEPS).filter(lambda case: LONGEST[case.n] >= case.T)
_numbers = st.sampled_from(((0.9, 0.999), (0.5, 0.9), (0.9, 0.95), (0.0, 0.9), (0.0, 0.3)))


def _adam(numbers: st.SearchStrategy[tuple[float, float]]) -> st.SearchStrategy[AdamCase]:
    eps = st.sampled_from((1e-8, 1e-3, 0.1, 1.0))
    return st.builds(lambda case, betas, eps: AdamCase(case, betas[0], betas[1], eps), _cases, numbers, eps)


def _first(K: int, T: int, gamma_L: float, start: float) -> Case:
    return Case("first-huber", K, 1, T, "constant", gamma_L, start, seed=0)


DESCENT = Claim(
    id="any-optimizer-descent",
    statement=r"f(x^T) \le f(w^0) - \sum_{t<T}\langle\nabla f(w^t), u^t\rangle + (K-\tfrac12)L\sum_{t<T}\|u^t\|^2, \;"
    r" u^t = x^t - x^{t+1}",
    hypotheses="momentum, Nesterov, weight decay, Adam; any K; every history",
    source="ours, PROOFS.md section 13, Theorem A0",
    kind=Kind.UPPER_BOUND,
    strategy=st.builds(OptimizerCase, st.sampled_from(OPTIMIZERS), _cases),
    check=BoundInK(measure_descent),
    case_type=OptimizerCase,
    adversaries=tuple(OptimizerCase("adam", _first(K, K, 1.0, 1.0)) for K in (2, 3, 5)),
)
DISTANCE = Claim(
    id="adam-distance",
    statement=r"\|w_k^t - x_k^t\|_\infty \le d_k\,\gamma C, \quad C = C(\beta_1, \beta_2)",
    hypotheses="Adam, beta_1^2 < beta_2; any f, any t, every history",
    source="ours, PROOFS.md section 13, Theorem A1",
    kind=Kind.UPPER_BOUND,
    strategy=_adam(_numbers),
    check=BoundInK(measure_distance),
    case_type=AdamCase,
    adversaries=tuple(AdamCase(_first(K, 20, 0.01, 10.0), 0.0, 0.3, 1e-8) for K in (2, 4)),
)
MEAN_SQUARE = Claim(
    id="adam-mean-square",
    statement=r"S_T \le 2(G+\epsilon)\left(\tfrac{A}{\gamma T} + \tfrac{d\Lambda}{T}"
    r"\left(\tfrac{G}{\sqrt{1-\beta_2}} + \tfrac{(K-1/2)\gamma L}{1-\beta_2}\right)\right), \;"
    r" \Lambda = \ln\left(1+\tfrac{G^2}{(1-\beta_2)\epsilon^2}\right) + T\ln\tfrac1{\beta_2}",
    hypotheses="Adam with beta_1 = 0, d weights, every coordinate of every grad f_i at most G, constant step",
    source="ours, PROOFS.md section 13, Theorem A3; without delay as Defossez, Bottou, Bach, Usunier, TMLR 2022",
    kind=Kind.UPPER_BOUND,
    strategy=_adam(st.sampled_from(((0.0, 0.3), (0.0, 0.9), (0.0, 0.99)))),
    check=BoundInK(measure_mean_square),
    case_type=AdamCase,
    adversaries=tuple(AdamCase(_first(K, 2000, 0.5, 1.0), 0.0, 0.99, 1.0) for K in (2, 8)),
)
