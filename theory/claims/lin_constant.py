"""How small the constant of gamma L M in Theorem 1* (lin) could be: at least 1/g*(K), and no case is known that needs
more."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from theory import adversaries, bounds, recipe_bounds
from theory.claims.claim import Claim, Kind, Outcome
from theory.claims.mean_square import check_mean_square
from theory.delayed import Iteration, Run
from theory.problems import Radial
from theory.strategies import cases


@dataclass(frozen=True)
class Circling:
    """f = h(||(w_1, 0.999 w_2)||), w_1 and w_2 in module 1 of K, from (1, 1), T steps just above the threshold."""

    K: int
    T: int = 6000

    @property
    def problem(self) -> Radial:
        """f, whose L and M are 1 and f* is 0."""
        B = np.zeros((2, 2 * self.K))
        B[0, 0], B[1, 1] = 1.0, 0.999
        return Radial(B, 1, self.K)

    def run(self, iteration: Iteration) -> Run:
        """All T iterations, from rest."""
        w0 = np.zeros(2 * self.K)
        w0[:2] = 1.0
        gammas = np.full(self.T + self.K - 1, 1.03 * bounds.quadratic_threshold(self.K))
        return Run.of(self.problem, w0, np.zeros((1, self.T), dtype=int), gammas, iteration)


def check_lower(circling: Circling, iteration: Iteration) -> Outcome:
    """0.9/g*(K) against the C for which S_T = A/(gamma T) + C gamma L M."""
    run, problem = circling.run(iteration), circling.problem
    gamma, A = float(run.gammas[0]), float(problem.f(run.w[0, 0]))
    S = float((problem.grad(run.w[:-1]) ** 2).sum(axis=-1).mean())
    return Outcome(0.9 / bounds.quadratic_threshold(circling.K), (S - A / (gamma * circling.T)) / gamma)


LOWER = Claim(
    id="lin-constant-lower",
    statement=r"S_T \le \tfrac{A}{\gamma T} + C\gamma LM \text{ for all } f, \gamma, T \Rightarrow C \ge 1/g^*(K), \;"
    r" g^*(K) = 2\sin\tfrac{\pi}{2(2K-1)}",
    hypotheses="K = 2..6; what is measured is that C >= 0.9/g*(K), from rest",
    source="ours, PROOFS.md section 14",
    kind=Kind.UPPER_BOUND,
    strategy=st.builds(Circling, st.integers(2, 6)),
    check=check_lower,
    case_type=Circling,
)
CONJECTURE = Claim(
    id="lin-conjecture",
    statement=r"S_T \le \tfrac{A}{\gamma T} + \tfrac{\gamma LM}{g^*(K)}",
    hypotheses="not proved; bounded gradients, constant step of any size",
    source="ours, PROOFS.md section 14",
    kind=Kind.CONJECTURE,
    strategy=cases(),
    check=check_mean_square(recipe_bounds.conjectured_lin),
    adversaries=adversaries.DESCENT + adversaries.CIRCLE,
)
