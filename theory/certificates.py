"""Worst cases that can be checked by hand: exact arithmetic, and nothing but Python's standard library.

A certificate proves: for every L-smooth f >= f*, convex or not, DDG with K modules and exact gradients has

    sum_{t<T} ||grad f(w^t)||^2 <= value L (f(w^0) - f*).

Scale so that L = 1, and write f_t = f(w^t), g_t = grad f(w^t). The certificate is an identity with multipliers y_ij and
z_t, none of them negative,

    value (f_0 - f*) - sum_t ||g_t||^2
        = sum_ij y_ij (f_i - f_j - q_ij) + sum_t z_t (f_t - f* - ||g_t||^2/2) + sum_k P_k,

whose brackets are >= 0 for every smooth f, with forms P_k = sum_ab S_k[a, b] <g_a, g_b>_k in the gradients of block k,
which are >= 0 because S_k is positive semidefinite. The first brackets are the interpolation conditions of smooth
functions (Taylor, Hendrickx, Glineur, Math. Program. 161, 2017): f_i - f_j is at least

    q_ij = <g_i + g_j, w^i - w^j>/2 + ||g_i - g_j||^2/4 - ||w^i - w^j||^2/4.

`python theory/certificates.py FILE` checks the certificates in a file; without FILE those beside this one.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

Matrix: TypeAlias = list[list[Fraction]]
Form: TypeAlias = dict[tuple[int, int], Fraction]
KEPT = Path(__file__).with_name("certificates.json")
"""Certificates that come with the project; their values are those of f = (L/2) w_1^2, so they are tight."""


@dataclass(frozen=True)
class Certificate:
    """K modules, T iterations, step = gamma L, the value that is proved, y by (i, j), z by t."""

    K: int
    T: int
    step: Fraction
    value: Fraction
    pairs: dict[tuple[int, int], Fraction]
    low: tuple[Fraction, ...]


def positions(K: int, T: int, step: Fraction, k: int) -> Matrix:
    """w_k^t - w_k^0 for t < T, as coefficients of g_k(0)..g_k(T-1)."""
    w = [[Fraction(0)] * T]
    for t in range(T - 1):
        w.append(w[t].copy())
        if t >= K - k:
            w[t + 1][t - (K - k)] -= step
    return w


def interpolation(w: Matrix, i: int, j: int) -> Form:
    """q_ij of a block, the symmetric matrix of a form in g_k(0)..g_k(T-1), without its zeros."""
    form: Form = {}

    def add(a: int, b: int, value: Fraction) -> None:
        form[a, b] = form.get((a, b), Fraction(0)) + value

    way = {s: x - y for s, (x, y) in enumerate(zip(w[i], w[j], strict=True)) if x != y}
    for s, x in way.items():
        for end in (i, j):
            add(end, s, x / 4)
            add(s, end, x / 4)
        for r, y in way.items():
            add(s, r, -x * y / 4)
    for a, b, sign in ((i, i, 1), (j, j, 1), (i, j, -1), (j, i, -1)):
        add(a, b, Fraction(sign, 4))
    return form


def semidefinite(matrix: Matrix) -> bool:
    """Whether a symmetric matrix is positive semidefinite, by elimination: a pivot of 0 needs a row of 0."""
    rows = [row.copy() for row in matrix]
    for i, row in enumerate(rows):
        if row[i] < 0 or (row[i] == 0 and any(row[i:])):
            return False
        for a in range(i + 1, len(rows)):
            if row[a] != 0:
                factor = row[a] / row[i]
                rows[a] = [x - factor * y for x, y in zip(rows[a], row, strict=True)]
    return True


def remainder(c: Certificate, k: int) -> Matrix:
    """S_k: what the identity leaves of the gradients of block k."""
    S = [[Fraction(0)] * c.T for _ in range(c.T)]
    for t, z in enumerate(c.low):
        S[t][t] = z / 2 - 1
    w = positions(c.K, c.T, c.step, k)
    for (i, j), y in c.pairs.items():
        if y:
            for (a, b), x in interpolation(w, i, j).items():
                S[a][b] += y * x
    return S


def fault(c: Certificate) -> str | None:
    """Why the certificate proves nothing, or None if it proves its value."""
    if not all(0 <= i < c.T and 0 <= j < c.T and i != j for i, j in c.pairs) or len(c.low) != c.T:
        return f"expected multipliers of iterations below T = {c.T}"
    if c.step <= 0 or min(*c.pairs.values(), *c.low, Fraction(0)) < 0:
        return "expected a step > 0 and multipliers >= 0"
    for t in range(c.T):
        flow = c.low[t] + sum(y if i == t else -y for (i, j), y in c.pairs.items() if t in (i, j))
        if flow != (c.value if t == 0 else 0):
            return f"the multipliers of f_{t} add up to {flow}, not to {c.value if t == 0 else 0}"
    for k in range(1, c.K + 1):
        if not semidefinite(remainder(c, k)):
            return f"S_{k} is not positive semidefinite"
    return None


def from_json(data: Any) -> Certificate:
    """A certificate of JSON's values; ValueError if it is none."""
    try:
        pairs = {(int(i), int(j)): Fraction(y) for i, j, y in data["pairs"]}
        if len(pairs) != len(data["pairs"]):
            raise ValueError("two multipliers of one pair")
        K, T = int(data["K"]), int(data["T"])
        if min(K, T) < 1:
            raise ValueError("K and T must be at least 1")
        return Certificate(
            K, T, Fraction(data["step"]), Fraction(data["value"]), pairs, tuple(map(Fraction, data["low"]))
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(
            f"certificate: expected K, T, step, value, pairs and low ({error!r}); use a file from theory tight"
        ) from None


def to_json(c: Certificate) -> dict[str, Any]:
    """Plain values; `from_json` is the inverse."""
    pairs = [[i, j, str(y)] for (i, j), y in sorted(c.pairs.items()) if y]
    return {"K": c.K, "T": c.T, "step": str(c.step), "value": str(c.value), "pairs": pairs, "low": [*map(str, c.low)]}


def read(path: Path) -> list[Certificate]:
    """The certificates in a file; ValueError if it holds something else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"certificate: expected a JSON file, got {path} ({error}); check the path") from None
    return [
        from_json(item)
        for item in (data["certificates"] if isinstance(data, dict) and "certificates" in data else [data])
    ]


def main(arguments: list[str]) -> int:
    """Check a file; 1 if a certificate proves nothing."""
    faults = 0
    for c in read(Path(arguments[0]) if arguments else KEPT):
        found = fault(c)
        faults += found is not None
        said = f"proves sum ||grad f||^2 <= {c.value} L (f(w^0) - f*)" if found is None else f"refused: {found}"
        print(f"K = {c.K}, T = {c.T}, gamma L = {c.step}: {said}")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
