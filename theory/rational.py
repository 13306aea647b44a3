"""Ridge sums in exact or high-precision arithmetic, for counterexamples that leave no doubt about rounding.

The Huber function maps fractions to fractions, so everything about it is exact in `Fraction`; sqrt(1+x^2) is
evaluated in `Decimal` with PRECISION digits. Arrays are of dtype object, and theory.delayed runs on them
unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from theory.problems import Array, split

PRECISION = 60


def objects(values: Any, number: Callable[[Any], Any]) -> Array:
    """An object array of `number`s."""
    plain = np.asarray(values, dtype=object)
    return np.asarray(np.frompyfunc(number, 1, 1)(plain), dtype=object)


def huber(x: Fraction) -> Fraction:
    """x^2/2 for |x| <= 1, else |x| - 1/2."""
    return x * x / 2 if abs(x) <= 1 else abs(x) - Fraction(1, 2)


def huber_slope(x: Fraction) -> Fraction:
    """x cut off at -1 and 1."""
    return x if abs(x) <= 1 else x / abs(x)


def root(x: Decimal) -> Decimal:
    """sqrt(1 + x^2), to the precision of the context."""
    return (1 + x * x).sqrt()


def root_slope(x: Decimal) -> Decimal:
    """x/sqrt(1 + x^2)."""
    return x / root(x)


@dataclass(frozen=True, eq=False)
class ExactRidgeSum:
    """f_i(w) = sum_j C_ij phi(<a_j, w>) + <e_i, w> with sum_i e_i = 0, in Fractions or Decimals.

    L: max_j sum_k |G_jk| with G = sum_j |c_j| a_j a_j^T bounds lambda_max(G) (Gershgorin) and is rational.
    M: the corners of |phi'| <= 1, as in problems.RidgeSum.

    Shapes: directions (m, d), coefficients (n, m), tilt (n, d); object arrays of numbers.
    """

    number: Callable[[Any], Any]
    directions: Array
    coefficients: Array
    tilt: Array
    K: int

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.coefficients)

    @property
    def blocks(self) -> tuple[slice, ...]:
        """K blocks of consecutive coordinates."""
        return split(self.directions.shape[1], self.K)

    @property
    def L(self) -> Any:  # noqa: N802
        """A Lipschitz constant of grad f."""
        a = self.directions
        average = self.coefficients.sum(axis=0) / self.number(self.n)
        return abs((a.T * abs(average)) @ a).sum(axis=1).max()

    @property
    def M(self) -> Any:  # noqa: N802
        """Maximum of ||grad f_i||^2 over i and the corners of the slope cube."""
        corners = np.array(np.meshgrid(*[[-1, 1]] * len(self.directions))).reshape(len(self.directions), -1).T
        at_corners = (corners[:, None, :] * self.coefficients) @ self.directions + self.tilt
        return (at_corners**2).sum(axis=-1).max()

    def _phi(self, slope: bool) -> Callable[[Array], Array]:
        exact = self.number is Fraction
        function = (huber_slope if slope else huber) if exact else (root_slope if slope else root)
        return np.frompyfunc(function, 1, 1)

    def values(self, w: Array) -> Array:
        """f_1(w)..f_n(w): (..., d) -> (..., n)."""
        return np.asarray(self._phi(slope=False)(w @ self.directions.T) @ self.coefficients.T + w @ self.tilt.T)

    def f(self, w: Array) -> Array:
        """f(w): (..., d) -> (...)."""
        return np.asarray(self.values(w).sum(axis=-1) / self.number(self.n))

    def gradient(self, i: int | Array, w: Array) -> Array:
        """grad f_i(w): (...), (..., d) -> (..., d)."""
        slopes = self._phi(slope=True)(w @ self.directions.T)
        return np.asarray((slopes * self.coefficients[i]) @ self.directions + self.tilt[i])

    def grad(self, w: Array) -> Array:
        """grad f(w): (..., d) -> (..., d)."""
        total = sum(self.gradient(i, w) for i in range(self.n))
        return np.asarray(total / self.number(self.n))
