"""The best constant for exact gradients: what f = (L/2) w_1^2 needs, and how near to it the theorems are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from theory import bounds, stability
from theory.cases import Case
from theory.claims.claim import Claim, Kind, Outcome, largest
from theory.claims.mean_square import mean_square
from theory.delayed import Iteration
from theory.problems import split

WITHIN = (1 + math.pi**2 / 8) / 2
"""C_G <= 1.117 C_ex: approached for many modules near the threshold."""


@dataclass(frozen=True)
class Step:
    """K and gamma L as a share of the threshold."""

    K: int
    share: float

    @property
    def gamma_L(self) -> float:  # noqa: N802
        """The step size, for L = 1."""
        return self.share * bounds.quadratic_threshold(self.K)

    def extremal(self) -> Case:
        """f = w_1^2/2, and as many iterations as its slowest mode needs to lose all but 1e-14 of the sum of squares."""
        H = np.diag(np.eye(1, self.K)[0])
        moduli = np.abs(np.linalg.eigvals(stability.transition(H, split(self.K, self.K), self.gamma_L)))
        slowest = moduli[moduli < 1 - 1e-6].max(initial=0.1)  # 1: the coordinates that do not move
        T = 2 * self.K + math.ceil(math.log(1e-14) / (2 * math.log(slowest)))
        return Case("first-quadratic", self.K, 1, T, "constant", self.gamma_L, 1.0, seed=0)


def check_reached(step: Step, iteration: Iteration) -> Outcome:
    """gamma T S_T/A on f = w_1^2/2 against C_ex, relative."""
    case = step.extremal()
    reached = case.gamma * case.T * mean_square(case, iteration).mean / case.A
    return Outcome(abs(reached / bounds.worst_constant(case.K, case.gamma_L) - 1), 1e-11)


def check_near(step: Step, iteration: Iteration) -> Outcome:
    """C_ex/C_G, C_G/(1.117 C_ex) and, where they apply, C_G/C_F and C_F/C_D0: the largest, against 1; and for K <= 2,
    how far C_G is from C_ex, as a ratio."""
    K, gamma_L = step.K, step.gamma_L
    least, G = bounds.worst_constant(K, gamma_L), bounds.theorem_g_constant(K, gamma_L)
    ratios = [least / G, G / (WITHIN * least)]
    if K <= 2:
        ratios.append(G / least)
    if gamma_L / 2 + (gamma_L * (K - 1)) ** 2 / 2 < 1:
        F = bounds.theorem_f_constant(K, gamma_L)
        ratios.append(G / F)
        if gamma_L * (K - 0.5) < 1:
            ratios.append(F / (gamma_L * bounds.theorem_d0(1.0, 1.0, K, gamma_L, 1)))
    return Outcome(largest(*ratios), 1.0, slack=1e-9)


REACHED = Claim(
    id="worst-quadratic",
    statement=r"f = \tfrac L2 w_1^2: \; \gamma\sum_t\|\nabla f(w^t)\|^2/A = C_{\mathrm{ex}} ="
    r" \tfrac{1+\sin m\psi}{\cos\psi\cos m\psi}, \; m = 2K-1, \; \sin\psi = \tfrac{\gamma L}{2}",
    hypotheses="n = 1, constant gamma L < 2 sin(pi/(2(2K-1))); until 1e-14 of the sum is left, K <= 8",
    source="ours, PROOFS.md section 5, the lower bound",
    kind=Kind.IDENTITY,
    strategy=st.builds(Step, st.integers(1, 8), st.sampled_from((0.1, 0.3, 0.5, 0.7, 0.9, 0.97))),
    check=check_reached,
    case_type=Step,
)
NEAR = Claim(
    id="worst-constants",
    statement=r"C_{\mathrm{ex}} \le C_G \le C_F \le C_{D0}, \; C_G \le \tfrac{1+\pi^2/8}{2} C_{\mathrm{ex}}, \;"
    r" C_G = C_{\mathrm{ex}} \text{ for } K \le 2",
    hypotheses="gamma L < 2 sin(pi/(2(2K-1))), C_F and C_D0 where they apply",
    source="ours, PROOFS.md section 5",
    kind=Kind.UPPER_BOUND,
    strategy=st.builds(Step, st.integers(1, 12) | st.sampled_from((30, 300, 10**4)), st.floats(1e-3, 0.9999)),
    check=check_near,
    case_type=Step,
)
