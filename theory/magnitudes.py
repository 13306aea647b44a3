"""Interval propagation for derivatives: bounds on |u|, |grad u| and |grad^2 u| that hold for every w in R^d.

A `Magnitude` of a function u: R^d -> R holds numbers with, for all w at once and entry by entry,

    |u(w)| <= value,   |d u/d w_a| <= first_a,   |d^2 u/(d w_a d w_b)| <= second_ab.

These are intervals symmetric about zero; sum, product and chain rule carry them through a formula by the
triangle inequality. A symmetric H with |H_ab| <= B_ab has |<v, H v>| <= <|v|, B |v|>, so ||H|| <=
lambda_max(B).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from theory.problems import Array

TANH_SECOND = 4 / (3 * math.sqrt(3))
"""max |tanh''| = max 2 t (1 - t^2) over t in [0, 1], attained at t = 1/sqrt(3). And |tanh'| = sech^2 <= 1."""


@dataclass(frozen=True)
class Magnitude:
    """Bounds on a function and its derivatives; shapes (), (d,), (d, d), all nonnegative float64."""

    value: float
    first: Array
    second: Array

    @staticmethod
    def constant(value: float, d: int) -> Magnitude:
        """|u| = |value|, no derivatives."""
        return Magnitude(abs(value), np.zeros(d), np.zeros((d, d)))

    @staticmethod
    def squashed_weight(a: int, d: int) -> Magnitude:
        """u = tanh(w_a): |u| <= 1, |u'| <= 1, |u''| <= 4/(3 sqrt 3)."""
        unit = np.zeros(d)
        unit[a] = 1.0
        return Magnitude(1.0, unit, TANH_SECOND * np.outer(unit, unit))

    def __add__(self, other: Magnitude) -> Magnitude:
        return Magnitude(self.value + other.value, self.first + other.first, self.second + other.second)

    def __mul__(self, other: Magnitude) -> Magnitude:
        """(uv)' = u'v + uv';  (uv)'' = u''v + u'v'^T + v'u'^T + uv''."""
        cross = np.outer(self.first, other.first)
        return Magnitude(
            self.value * other.value,
            self.first * other.value + self.value * other.first,
            self.second * other.value + cross + cross.T + self.value * other.second,
        )

    def scaled(self, factor: float) -> Magnitude:
        """factor u, for a constant factor >= 0."""
        return Magnitude(factor * self.value, factor * self.first, factor * self.second)

    def tanh(self) -> Magnitude:
        """tanh(u)' = sech^2(u) u';  tanh(u)'' = sech^2(u) u'' + tanh''(u) u'u'^T."""
        return Magnitude(
            math.tanh(self.value),
            self.first,
            self.second + TANH_SECOND * np.outer(self.first, self.first),
        )

    def half_squared_error(self, target: float) -> Magnitude:
        """(u - y)^2/2 has derivative (u - y)u' and (u - y)u'' + u'u'^T, with |u - y| <= |u| + |y|."""
        gap = self.value + abs(target)
        return Magnitude(gap**2 / 2, gap * self.first, gap * self.second + np.outer(self.first, self.first))
