"""The smallest case on which an implementation differs from DDG, in fractions, to follow with paper and pencil.

Everything in these cases is a small multiple of a power of 2, so floats compute it without rounding too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np

from theory.exact import all_sequences
from theory.problems import Array, RidgeSum
from theory.rational import ExactRidgeSum, huber_slope, objects
from theory.trial import Difference, Trajectories, difference, reference


@dataclass(frozen=True)
class ByHand:
    """K modules of `width` weights, n samples, T iterations. f_i(w) = (i+1) h(s), h Huber's function and s = w[0] +
    2 w[1] + 3 w[2] + ..; `changing` steps are 1/2, 1/4, 1/2, .., others 1/2."""

    width: int
    K: int
    T: int
    n: int
    changing: bool

    @property
    def d(self) -> int:
        """Weights in all."""
        return self.width * self.K

    @cached_property
    def exact(self) -> ExactRidgeSum:
        """f_0..f_{n-1}, in fractions."""
        directions = objects(np.arange(1, self.d + 1)[None], Fraction)
        coefficients = objects(np.arange(1, self.n + 1)[:, None], Fraction)
        return ExactRidgeSum(Fraction, directions, coefficients, objects(np.zeros((self.n, self.d)), Fraction), self.K)

    @cached_property
    def floats(self) -> RidgeSum:
        """The same functions, in floats."""
        a, c, e = (array.astype(float) for array in (self.exact.directions, self.exact.coefficients, self.exact.tilt))
        return RidgeSum("huber", a, c, e, self.K)

    @property
    def w0(self) -> Array:
        """(1/4, 0, .., 0)."""
        return objects([Fraction(1, 4), *[0] * (self.d - 1)], Fraction)

    @property
    def gammas(self) -> Array:
        """T+K-1 steps."""
        steps = [Fraction(1, 4) if self.changing and t % 2 else Fraction(1, 2) for t in range(self.T + self.K - 1)]
        return objects(steps, Fraction)

    @property
    def samples(self) -> Array:
        """Every sequence, (n^T, T)."""
        return all_sequences(self.n, self.T)

    def expected(self) -> Array:
        """What DDG does, and its draining, in fractions: (T+K, n^T, d)."""
        return reference(self.exact, self.w0, self.samples, self.gammas)

    def got(self, candidate: Trajectories) -> Array:
        """What an implementation does, in floats."""
        return candidate(self.floats, self.w0.astype(float), self.samples, self.gammas.astype(float))


def sizes() -> Iterator[ByHand]:
    """From small to large: first modules of one weight each, up to K = 5, then of two."""
    for width, K in itertools.product((1, 2), range(1, 6)):
        for T, n, changing in itertools.product(range(1, K + 3), (1, 2), (False, True)):
            yield ByHand(width, K, T, n, changing)


def smallest(candidate: Trajectories) -> tuple[ByHand, Difference] | None:
    """The first of `sizes` on which the implementation differs from DDG, and where; None if there is none. One in which
    only the draining differs counts where no other is found."""
    draining = None
    for case in sizes():
        expected, got, T = case.expected(), case.got(candidate), case.T
        if (found := difference(case.exact.blocks, expected[: T + 1], got[: T + 1])) is not None:
            return case, found
        if draining is None and (found := difference(case.exact.blocks, expected, got)) is not None:
            draining = case, found
    return draining


def written(case: ByHand, found: Difference, got: Array) -> str:
    """The case up to the difference, a line per module and iteration; `got` as `ByHand.got` gives it."""
    w, order = case.expected()[:, found.r], [int(i) for i in case.samples[found.r]]
    gammas = case.gammas
    s = " + ".join(f"{j + 1} w[{j}]" if j else "w[0]" for j in range(case.d))
    ones = ", ".join(str(j + 1) for j in range(case.d))
    modules = "modules" if case.K > 1 else "module"
    lines = [
        f"K = {case.K} {modules} of {case.width} weight{'s' * (case.width > 1)}, T = {case.T}, "
        f"samples {row(order)}, steps {row(gammas)}, w^0 = {row(w[0])}",
        f"the gradient of f_i at w is (i+1) c ({ones}), c = {s}, cut off at -1 and 1",
    ]
    gradients: list[Array] = []
    for t in range(found.t):
        if t < case.T:
            c = huber_slope(sum(case.exact.directions[0] * w[t]))
            g = case.exact.gradient(np.array([order[t]]), w[t][None])[0]
            gradients.append(g)
            lines.append(f"t = {t}: sample {order[t]}; c = {c}, g({t}) = {order[t] + 1} c ({ones}) = {row(g)}")
        else:
            lines.append(f"t = {t}: no sample comes in, the pipeline drains")
        for k, block in enumerate(case.exact.blocks, start=1):
            lines.append(f"    module {k} {_move(case, w, gradients, t, k, block)}")
        lines.append(f"    so w^{t + 1} = {row(w[t + 1])}")
    theirs = [Fraction(float(value)) if np.isfinite(value) else value for value in got[found.t, found.r]]
    at = f"module {found.k}, coordinate {found.j}: expected {found.expected}, got {theirs[found.j]}"
    lines.append(f"yours: w^{found.t} = {row(theirs)}; {at}")
    return "\n".join(lines)


def _move(case: ByHand, w: Array, gradients: list[Array], t: int, k: int, block: slice) -> str:
    late = case.K - k
    s = t - late
    if s < 0:
        return f"waits: its first gradient arrives at t = {late}"
    if s >= case.T:
        return "is done"
    return f"applies g({s}): {row(w[t][block])} - {case.gammas[t]} {row(gradients[s][block])} = {row(w[t + 1][block])}"


def row(values: Iterable[Any]) -> str:
    """Numbers in brackets."""
    return f"({', '.join(str(value) for value in values)})"
