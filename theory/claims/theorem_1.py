"""Theorem 1 of the paper holds, warm-up included, though Lemma 1 does not."""

from __future__ import annotations

from theory import adversaries, bounds
from theory.claims.claim import Claim, Kind
from theory.claims.mean_square import check_mean_square
from theory.strategies import STEPS_UP_TO_1, cases

CLAIM = Claim(
    id="theorem-1",
    statement=r"\tfrac1T\sum_{t<T}E\|\nabla f(w^t)\|^2 \le \tfrac{2(f(w^0)-f^*)}{\gamma T} "
    r"+ 2\gamma L M_K, \quad M_K = KM + K^4 M",
    hypotheses="bounded gradients, constant gamma L <= 1",
    source="Huo et al., arXiv 1804.10574, Theorem 1, as commonly stated; true by PROOFS.md section 3",
    kind=Kind.UPPER_BOUND,
    strategy=cases(gamma_L=STEPS_UP_TO_1, sampled=True),
    check=check_mean_square(bounds.theorem_1),
    adversaries=adversaries.CYCLE,
)
