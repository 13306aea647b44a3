"""With momentum, the coasted iterate does what the drained one does without: it moves by fresh gradients, and the
weights are never far from it."""

from __future__ import annotations

import numpy as np

from theory import recipe_bounds
from theory.claims.claim import BoundInK, Claim, Judge, Kind, Outcome, largest, rounding, worst
from theory.claims.recipe_cases import first, recipe_cases
from theory.delayed import Iteration
from theory.families import FAMILIES
from theory.recipes import CoastedRun, RecipeCase, squared
from theory.steps import KINDS


def moved(run: CoastedRun) -> np.ndarray:
    """(eta_{t+d_k} s_k(t))_k, (T, R, d)."""
    setting, step = run.setting, np.empty_like(run.s)
    for k, block in enumerate(setting.problem.blocks, start=1):
        late = setting.K - k
        step[..., block] = setting.etas[late : late + run.T, None, None] * run.s[..., block]
    return step


def check_identity(setting: RecipeCase, iteration: Iteration) -> Outcome:
    """max |z^{t+1} - z^t + (eta_{t+d_k} s_k(t))_k| over t, histories and coordinates."""
    run = setting.run(iteration)
    step = moved(run)
    return Outcome(largest(run.z[1:] - run.z[:-1] + step), rounding(run.longer, run.outstanding, step))


def check_coasting(setting: RecipeCase, iteration: Iteration) -> Outcome:
    """z^T against the weights after the data have stopped and everything has run out."""
    run = setting.run(iteration)
    return Outcome(largest(run.coast() - run.z[-1]), rounding(run.longer, run.outstanding, moved(run)))


def measure_distance(setting: RecipeCase, iteration: Iteration) -> Judge:
    """||w^t - z^t|| for every t and history."""
    run, M = setting.run(iteration), setting.problem.gradient_bound()
    far, slack = np.sqrt(squared(run.w - run.z).max(axis=1)), rounding(run.longer, run.outstanding)
    return lambda K: worst(far, recipe_bounds.coasted_distance(setting.eta, M, K, *setting.momentum), slack)


def measure_descent(setting: RecipeCase, iteration: Iteration) -> Judge:
    """f(z^T) - f(z^0) + eta sum <a_t, g(t)> against (D + 1/2) eta^2 L sum ||g(t)||^2, in every history."""
    run, problem, eta = setting.run(iteration), setting.problem, setting.eta
    f = problem.f(run.z)
    risen = f[-1] - f[0] + eta * (run.a * run.g).sum(axis=(0, 2))
    allowed = eta**2 * problem.L * squared(run.g).sum(axis=0)
    return lambda K: worst(risen, (recipe_bounds.lag(K, *setting.momentum) + 0.5) * allowed, rounding(f))


_anything = recipe_cases(tuple(FAMILIES), steps=KINDS, gamma_L=(0.01, 0.1, 0.5), decays=(0.0, 0.01), scheduled=True)

IDENTITY = Claim(
    id="coasted-identity",
    statement=r"z_k^{t+1} = z_k^t - \eta_{t+d_k}\, s_k(t), \quad \eta_t = \sum_{j\ge0}\beta^j\gamma_{t+j}, \quad "
    r"s(t) = \nabla f_{i(t)}(w^t) + \lambda x^t",
    hypotheses="heavy ball or Nesterov, weight decay, any K, any steps, warm-up included",
    source="ours, PROOFS.md section 9, Lemma Z",
    kind=Kind.IDENTITY,
    strategy=_anything,
    check=check_identity,
    case_type=RecipeCase,
)
COASTING = Claim(
    id="coasting",
    statement=r"z^T = \text{the weights once the data have stopped, the pipeline is empty and the velocities are 0}",
    hypotheses="heavy ball or Nesterov, weight decay, any K, any steps",
    source="ours, PROOFS.md section 9",
    kind=Kind.IDENTITY,
    strategy=_anything,
    check=check_coasting,
    case_type=RecipeCase,
)
DISTANCE = Claim(
    id="coasted-distance",
    statement=r"\|w^t - z^t\| \le \eta D\sqrt M, \quad D = K-1+\tfrac{\beta}{1-\beta}"
    r"\;(\text{Nesterov: } \tfrac{\beta^2}{1-\beta})",
    hypotheses="bounded gradients, constant step of any size, momentum; every t and history",
    source="ours, PROOFS.md section 9, Lemma Z",
    kind=Kind.UPPER_BOUND,
    strategy=recipe_cases(),
    check=BoundInK(measure_distance),
    case_type=RecipeCase,
    adversaries=tuple(first("first-huber", K, 20, 0.01, 10.0, 0.3) for K in (2, 3, 5)),
)
DESCENT = Claim(
    id="coasted-descent",
    statement=r"f(z^T) - f(z^0) \le -\eta\sum_{t<T}\langle\nabla f(w^t), g(t)\rangle"
    r" + (D + \tfrac12)\eta^2 L\sum_{t<T}\|g(t)\|^2",
    hypotheses="constant step of any size, momentum, no bound on gradients; every history",
    source="ours, PROOFS.md section 9, Lemma P",
    kind=Kind.UPPER_BOUND,
    strategy=recipe_cases(tuple(FAMILIES)),
    check=BoundInK(measure_descent),
    case_type=RecipeCase,
    adversaries=tuple(first("first-huber", K, K, 1.0, 1.0, 0.0) for K in (2, 3, 5)),
)
