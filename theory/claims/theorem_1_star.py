"""Theorem 1*: the mean squared gradient, linear in K, in three forms."""

from __future__ import annotations

from collections.abc import Callable

from theory import adversaries, bounds
from theory.claims.claim import Claim, Kind
from theory.claims.mean_square import check_mean_square
from theory.strategies import cases


def _claim(form: str, right_side: str, bound: Callable[..., float]) -> Claim:
    return Claim(
        id=f"theorem-1-{form}",
        statement=rf"\tfrac1T\sum_{{t<T}}E\|\nabla f(w^t)\|^2 \le {right_side}",
        hypotheses="bounded gradients, constant step of any size, warm-up included",
        source=f"ours, PROOFS.md section 3, Theorem 1* ({form})",
        kind=Kind.UPPER_BOUND,
        strategy=cases(sampled=True),
        check=check_mean_square(bound),
        adversaries=adversaries.DESCENT + adversaries.CIRCLE,
    )


LIN = _claim("lin", r"\tfrac{A}{\gamma T} + (K - 1/2)\gamma L M", bounds.theorem_1_lin)
CLEAN = _claim("clean", r"\tfrac{2A}{\gamma T} + \gamma L M (1 + \gamma L (K-1)^2)", bounds.theorem_1_clean)
SHARP = _claim(
    "sharp",
    r"(\sqrt Q + \sqrt{P+Q})^2, \; P = \tfrac{A}{\gamma T} + \tfrac{\gamma L M}{2}, \;"
    r" Q = \tfrac{\gamma^2 L^2 (K-1)^2 M}{4}",
    bounds.theorem_1_sharp,
)
