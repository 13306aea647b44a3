"""Quadratics with momentum: DDG is stable on all of them exactly up to gamma L = g*(K, beta)."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from theory import momentum_stability, recipe_bounds
from theory.claims.claim import BoundInK, Claim, Judge, Kind, Outcome
from theory.claims.quadratic_threshold import QuadraticCase
from theory.claims.recipe_cases import BETAS
from theory.delayed import Iteration
from theory.problems import Array, split
from theory.strategies import seeds


@dataclass(frozen=True)
class MomentumQuadraticCase:
    """A quadratic, and momentum in one of two forms."""

    quadratic: QuadraticCase
    beta: float
    nesterov: bool

    @property
    def K(self) -> int:  # noqa: N802
        """Number of modules."""
        return self.quadratic.K

    def threshold(self, K: int) -> float:
        """The step that the theorem allows for K modules."""
        return recipe_bounds.momentum_threshold(K, self.beta, self.nesterov) / self.quadratic.curvature


def _another(H: Array, case: MomentumQuadraticCase, gamma: float, iteration: Iteration) -> Outcome | None:
    """An outcome that violates, if the iterates do not follow the transition matrix up to rounding."""
    blocks = split(len(H), case.K)
    deviation = momentum_stability.deviation(H, blocks, gamma, case.beta, case.nesterov, iteration)
    if deviation < 1e-11:
        return None
    return Outcome(deviation, 0.0, note=f"the iterates are {deviation:.1e} away from those of DDG's transition matrix")


def measure_stable(case: MomentumQuadraticCase, iteration: Iteration) -> Judge:
    """Spectral radius at 0.999 of the threshold on a random H, after making sure that the matrix is DDG's."""
    H = case.quadratic.random()
    blocks = split(len(H), case.K)

    def judge(K: int) -> Outcome:
        gamma = 0.999 * case.threshold(K)
        radius = momentum_stability.spectral_radius(H, blocks, gamma, case.beta, case.nesterov)
        return _another(H, case, case.threshold(case.K), iteration) or Outcome(radius, 1.0)

    return judge


def check_sharp(case: MomentumQuadraticCase, iteration: Iteration) -> Outcome:
    """The step at which the extremal quadratic loses stability, times L, against the formula."""
    H, L = case.quadratic.extremal(), case.quadratic.curvature
    measured = L * momentum_stability.measured_threshold(H, split(len(H), case.K), case.beta, case.nesterov)
    threshold = recipe_bounds.momentum_threshold(case.K, case.beta, case.nesterov)
    outcome = Outcome(measured, threshold, slack=1e-6 * threshold)
    return _another(H, case, threshold / L, iteration) or outcome


def _claim(form: str, statement: str, hypotheses: str, kind: Kind, check: object, near: tuple[object, ...]) -> Claim:
    quadratics = st.builds(
        QuadraticCase,
        K=st.integers(1, 5),
        extra=st.integers(0, 2 if kind is Kind.UPPER_BOUND else 0),
        curvature=st.sampled_from((0.1, 1.0, 7.0)),
        seed=seeds,
    )
    return Claim(
        id=f"momentum-{form}",
        statement=statement,
        hypotheses=hypotheses,
        source="ours, PROOFS.md section 9, Theorem M3",
        kind=kind,
        strategy=st.builds(MomentumQuadraticCase, quadratics, st.sampled_from(BETAS), st.booleans()),
        check=check,  # type: ignore[arg-type]
        adversaries=near,
        case_type=MomentumQuadraticCase,
    )


STABLE = _claim(
    "stable",
    r"\gamma L < g^*(K,\beta) \Rightarrow \text{every mode of } \tfrac12 w^\top Hw, \; 0 < H \le L, \text{ decays}",
    "n = 1, quadratic f, heavy ball or Nesterov, K <= 5; measured at 0.999 of the threshold",
    Kind.UPPER_BOUND,
    BoundInK(measure_stable),
    tuple(MomentumQuadraticCase(QuadraticCase(K, 1, 1.0, 0), 0.9, form) for K in (2, 3) for form in (False, True)),
)
SHARP = _claim(
    "threshold",
    r"\tfrac L2 w_1^2 \text{ loses stability at } \gamma L = g^*(K,\beta) = 2\sin\tfrac\phi2"
    r"\sqrt{(1-\beta)^2+4\beta\sin^2\tfrac\phi2}, \; \cos(K-\tfrac12)\phi = \beta\cos(K-\tfrac32)\phi",
    "n = 1, heavy ball (this formula) or Nesterov (PROOFS.md), K <= 5; bisection from both sides",
    Kind.STABILITY_THRESHOLD,
    check_sharp,
    (),
)
