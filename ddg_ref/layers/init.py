"""Initial weights. A random weight matrix keeps the scale of what passes through it if its variance fits its fan."""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ddg_ref.arrays import Array, Shape
from ddg_ref.errors import InputError, shown

Initializer: TypeAlias = "Callable[[np.random.Generator, Shape, npt.DTypeLike], Array]"


def check_initializer(init: Any) -> Initializer:
    """`init`, which must be a function."""
    if not callable(init):
        raise InputError(f"init: expected a function of (rng, shape, dtype), got {shown(init)}; he_normal is one")
    return init  # type: ignore[no-any-return]


def he_normal(rng: np.random.Generator, shape: Shape, dtype: npt.DTypeLike) -> Array:
    """N(0, 2/fan_in): keeps the variance through ReLU (He, Zhang, Ren, Sun, ICCV 2015, eq. 10).

    `shape` ends in (fan per tap, outputs); axes before that are the taps of a convolution kernel.
    """
    fan_in = prod(map(int, shape[:-1]))
    return (rng.standard_normal(shape) * sqrt(2 / fan_in)).astype(dtype)


def glorot_uniform(rng: np.random.Generator, shape: Shape, dtype: npt.DTypeLike) -> Array:
    """U(-a, a), a = sqrt(6/(fan_in+fan_out)): for layers without ReLU (Glorot, Bengio, AISTATS 2010, eq. 16)."""
    *inner, outputs = map(int, shape)  # NumPy's small types would overflow in what follows
    fan_in, fan_out = prod(inner), prod(inner[:-1]) * outputs
    bound = sqrt(6 / (fan_in + fan_out))
    return rng.uniform(-bound, bound, shape).astype(dtype)
