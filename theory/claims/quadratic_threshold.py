"""Quadratics: DDG is stable on all of them exactly up to gamma L = 2 sin(pi/(2(2K-1)))."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from theory import bounds, stability
from theory.claims.claim import BoundInK, Claim, Judge, Kind, Outcome
from theory.delayed import Iteration
from theory.problems import Array, split
from theory.strategies import seeds


@dataclass(frozen=True)
class QuadraticCase:
    """K modules, lambda_max(H) = L = curvature, dimension K + extra; the seed makes a random H."""

    K: int
    extra: int
    curvature: float
    seed: int

    def random(self) -> Array:
        """A positive definite H that couples the blocks: random eigenvectors, eigenvalues in [L/100, L]."""
        rng = np.random.default_rng(self.seed)
        d = self.K + self.extra
        basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
        eigenvalues = self.curvature * 100.0 ** -rng.uniform(size=d)
        eigenvalues[0] = self.curvature
        return np.asarray((basis * eigenvalues) @ basis.T)

    def extremal(self) -> Array:
        """L on one coordinate of module 1, the most delayed; L/1000 elsewhere."""
        curvatures = np.full(self.K + self.extra, self.curvature / 1000)
        curvatures[0] = self.curvature
        return np.diag(curvatures)


def _another(H: Array, case: QuadraticCase, gamma: float, iteration: Iteration) -> Outcome | None:
    """An outcome that violates, if the iterates do not follow the transition matrix of DDG up to rounding."""
    deviation = stability.deviation(H, split(len(H), case.K), gamma, iteration)
    if deviation < 1e-11:
        return None
    return Outcome(deviation, 0.0, note=f"the iterates are {deviation:.1e} away from those of DDG's transition matrix")


def measure_stable(case: QuadraticCase, iteration: Iteration) -> Judge:
    """Spectral radius at 0.999 of the threshold on a random H, after making sure that the matrix is DDG's."""
    H = case.random()

    def judge(K: int) -> Outcome:
        gamma = 0.999 * bounds.quadratic_threshold(K) / case.curvature
        radius = stability.spectral_radius(H, split(len(H), case.K), gamma)
        return _another(H, case, gamma, iteration) or Outcome(radius, 1.0)

    return judge


def check_sharp(case: QuadraticCase, iteration: Iteration) -> Outcome:
    """L times the step at which the extremal quadratic loses stability, against the formula."""
    H = case.extremal()
    threshold = bounds.quadratic_threshold(case.K)
    measured = case.curvature * stability.measured_threshold(H, split(len(H), case.K))
    outcome = Outcome(measured, threshold, slack=1e-6 * threshold)
    return _another(H, case, threshold / case.curvature, iteration) or outcome


_cases = st.builds(
    QuadraticCase,
    K=st.integers(1, 8),
    extra=st.integers(0, 3),
    curvature=st.sampled_from((0.1, 1.0, 7.0)),
    seed=seeds,
)
STABLE = Claim(
    id="quadratic-stable",
    statement=r"\gamma L < 2\sin\tfrac{\pi}{2(2K-1)} \Rightarrow \text{every mode of } \tfrac12 w^\top H w,"
    r"\; 0 < H \le L, \text{ decays}",
    hypotheses="n = 1, quadratic f, K <= 8; measured at 0.999 of the threshold",
    source="ours, PROOFS.md section 5; for one pure delay Levin and May, 1976",
    kind=Kind.UPPER_BOUND,
    strategy=_cases,
    check=BoundInK(measure_stable),
    adversaries=(QuadraticCase(2, 1, 1.0, 0), QuadraticCase(3, 0, 1.0, 0)),
    case_type=QuadraticCase,
)
SHARP = Claim(
    id="quadratic-threshold",
    statement=r"f = \tfrac{L}{2} w_1^2 \text{ loses stability at } \gamma L = 2\sin\tfrac{\pi}{2(2K-1)}",
    hypotheses="n = 1, K <= 8; bisection from both sides",
    source="ours, PROOFS.md section 5; for one pure delay Levin and May, 1976",
    kind=Kind.STABILITY_THRESHOLD,
    strategy=_cases,
    check=check_sharp,
    case_type=QuadraticCase,
)
