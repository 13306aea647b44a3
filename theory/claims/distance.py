"""The weights are never far from the drained iterate."""

from __future__ import annotations

import numpy as np

from theory import adversaries, bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind, rounding, worst
from theory.delayed import Iteration
from theory.steps import KINDS
from theory.strategies import cases


def measure(case: Case, iteration: Iteration) -> Judge:
    """||w^t - x^t|| for every t and history."""
    run = case.run(iteration)
    M = case.problem.gradient_bound()
    measured = np.linalg.norm(run.w - run.x, axis=-1).max(axis=1)
    return lambda K: worst(
        measured, np.array([bounds.distance(case.gammas, M, K, t) for t in range(case.T + 1)]), rounding(run.w)
    )


CLAIM = Claim(
    id="distance",
    statement=r"\|w^t - x^t\| \le (K-1)\sqrt{M}\max_{t \le j \le t+K-2}\gamma_j",
    hypotheses="bounded gradients; any steps; every history",
    source="PROOFS.md section 1, Lemma V0; for virtual iterates, as in Mania et al., SIAM J. Optim. 27(4), 2017",
    kind=Kind.UPPER_BOUND,
    strategy=cases(steps=KINDS, min_K=2),
    check=BoundInK(measure),
    adversaries=adversaries.SLOPE,
)
