"""Lemma 1 as stated is false: counterexamples written down, evaluated with 60 digits.

s(x) = sqrt(1 + x^2) has s(4/3) = 5/3, s'(4/3) = 4/5, s'(7/24) = 7/25 and 0 < s'' <= 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext

from hypothesis import strategies as st

from theory.claims.claim import Claim, Kind, Outcome
from theory.claims.lemma_1 import check_history
from theory.delayed import Iteration
from theory.problems import Array
from theory.rational import PRECISION, ExactRidgeSum, objects


@dataclass(frozen=True)
class Written:
    """Samples f_i = sum_k coefficients[i][k] s(w_k), one scalar per module; numbers as text."""

    coefficients: tuple[tuple[int, ...], ...]
    start: tuple[str, ...]
    gammas: tuple[str, ...]
    history: tuple[int, ...]


def decimals(texts: tuple[str, ...]) -> Array:
    """'p/q' or decimal text as 60-digit Decimals."""
    with localcontext(prec=PRECISION):
        pairs = [text.split("/") for text in texts]
        return objects([Decimal(p[0]) / Decimal(p[1] if len(p) > 1 else 1) for p in pairs], Decimal)


def check(written: Written, iteration: Iteration) -> Outcome:
    """Both sides of Lemma 1 on the written history."""
    K = len(written.start)
    problem = ExactRidgeSum(
        Decimal,
        objects([[int(j == k) for k in range(K)] for j in range(K)], Decimal),
        objects(written.coefficients, Decimal),
        objects([[0] * K for _ in written.coefficients], Decimal),
        K,
    )
    return check_history(problem, decimals(written.start), decimals(written.gammas), written.history, iteration)


def _claim(form: str, reading: str, hypotheses: str, *examples: Written) -> Claim:
    return Claim(
        id=f"lemma-1-{form}",
        statement=rf"{reading} \le -\tfrac{{\gamma_t}}{{2}}\|\nabla f(w^t)\|^2 + \gamma_t^2 L M_K",
        hypotheses=hypotheses,
        source="Huo et al., arXiv 1804.10574, Lemma 1, as commonly stated",
        kind=Kind.FALSE_AS_STATED,
        strategy=st.sampled_from(examples),
        check=check,
        case_type=Written,
    )


HISTORY = _claim(
    "per-history",
    r"E[f(w^{t+1})|w^t] - f(w^t)",
    "t >= K-1, given w^t; n = K = 2: drawing sample 2 leaves w^1 = w^0, and module 1 then applies its zero gradient",
    Written(((2, 2), (0, 0)), ("4/3", "7/24"), ("0.001",) * 3, (1,)),
)
RISING = _claim(
    "rising",
    r"E[f(w^{t+1})|w^t] - f(w^t)",
    "t >= K-1, given w^t; n = K = 2: f even increases in expectation",
    Written(((3, 2), (-1, 0)), ("4/3", "7/24"), ("0.001",) * 3, (1,)),
)
WARM_UP = _claim(
    "warm-up",
    r"E f(w^{t+1}) - f(w^t)",
    "t < K-1, n = 1, K = 2: module 1 does not move yet",
    Written(((1, 0),), ("4/3", "0"), ("0.01",) * 2, ()),
    Written(((1, 1),), ("4/3", "7/24"), ("0.005",) * 2, ()),
)
WINDOW = _claim(
    "window",
    r"E f(w^{t+1}) - f(w^t)",
    "t >= K-1, n = 1, K = 3, steps small at even and 1 at odd t: sigma compares only the ends of the window",
    Written(((1, 0, 0),), ("4/3", "0", "0"), ("0.0005", "1") * 4 + ("0.0005",), (0,) * 6),
)
