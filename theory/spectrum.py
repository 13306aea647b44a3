"""The Lipschitz constant of a gradient, seen from below: along a segment, and by power iteration at a point.

Both are ratios ||grad(b) - grad(a)||/||b - a|| of two points, hence lower bounds of every L that is valid around
these points, up to rounding; neither is an upper bound of anything.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from theory.checks import finite, integer
from theory.problems import Array

STEP = 1e-5
"""Relative step of the central difference: with float64 gradients its rounding and its cubic error are both small."""


def secant_ratio(difference: Array, segment: Array) -> float:
    """||grad f(b) - grad f(a)|| / ||b - a||; 0 for a segment of length 0, which says nothing."""
    length = float(np.linalg.norm(segment))
    return float(np.linalg.norm(difference)) / length if length != 0 else 0.0


def curvature(grad: Callable[[Array], Array], w: Array, v: Array, iterations: int) -> tuple[float, Array]:
    """||H v|| for the last of `iterations` steps v <- H v/||H v|| from `v`, all (d,), and the new direction.

    H v = (grad(w + e v) - grad(w - e v))/(2e). As ||v|| = 1, ||H v|| is at most the largest |eigenvalue| of the
    Hessian H at w, and tends to it.
    """
    integer("iterations", iterations, 1)
    finite("w", w)
    if not np.any(finite("v", v)):
        raise ValueError("v: expected a direction, got a vector of zeros; draw another")
    v = v / np.linalg.norm(v)
    e = STEP * (1 + float(np.linalg.norm(w)) / np.sqrt(len(w)))
    size = 0.0
    for _ in range(iterations):
        image = (grad(w + e * v) - grad(w - e * v)) / (2 * e)
        size = float(np.linalg.norm(image))
        if size == 0:
            break
        v = image / size
    return size, v
