"""Batch normalisation (Ioffe, Szegedy, ICML 2015, Algorithm 1), over every axis but the last."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ddg_ref.arrays import Array, Fused, Params, Shape, column_dots, column_sums, per_channel, xp_of
from ddg_ref.errors import InputError, real, whole
from ddg_ref.layers.base import Layer


class BatchNormCache(NamedTuple):
    centred: Array
    mean: Array
    variance: Array


@Fused
def scale_and_shift(x: Array, factor: Array, summand: Array) -> Array:
    """x (..., C) * factor (C,) + summand (C,)."""
    y = per_channel(np.multiply, x, factor)
    return per_channel(np.add, y, summand, out=y)


@Fused
def input_gradient(dy: Array, centred: Array, a: Array, b: Array, c: Array) -> Array:
    """a dy - b centred - c, dy and centred (..., C), a, b and c (C,)."""
    dx = per_channel(np.multiply, dy, a)
    dx -= per_channel(np.multiply, centred, b)
    return per_channel(np.subtract, dx, c, out=dx)


@Fused
def factor(scale: Array, variance: Array, eps: float) -> Array:
    """What centred values are multiplied by: scale / deviation, per channel."""
    product: Array = scale * (1 / np.sqrt(variance + eps))
    return product


@Fused
def coefficients(scale: Array, variance: Array, dots: Array, dshift: Array, eps: float, rows: int) -> tuple[Array, ...]:
    """dscale, and the a, b and c of `input_gradient`, per channel; `dots` are the sums of dy * centred."""
    inverse = 1 / np.sqrt(variance + eps)
    dscale, a = dots * inverse, scale * inverse
    return dscale, a, a * dscale * inverse / rows, a * dshift / rows


@Fused
def towards(old: Array, old2: Array, new: Array, new2: Array, momentum: float, unbiased: float) -> tuple[Array, Array]:
    """Running mean and variance, moved towards those of a batch; `unbiased` makes its variance that."""
    return old + momentum * (new - old), old2 + momentum * (new2 * unbiased - old2)


class BatchNorm(Layer):
    """x_hat = (x - mean) / sqrt(variance + eps), y = scale * x_hat + shift, per channel, over the batch's R rows.

    x and y (N, C) or (N, H, W, C), R = N or N*H*W; `scale` and `shift` (C,). In evaluation `running_mean` and
    `running_variance` (C,) stand in for the batch's: after each batch they move towards it by the factor `momentum`,
    with the variance in its unbiased form (divided by R-1), so a batch needs R > 1.
    """

    def __init__(self, channels: int, *, eps: float = 1e-5, momentum: float = 0.1) -> None:
        self.channels = whole("channels", channels, 1)
        self.eps, self.momentum = real("eps", eps), real("momentum", momentum)
        if self.eps <= 0:
            raise InputError(f"eps: expected a number > 0, got {self.eps}; choose a larger one")
        if not 0 <= self.momentum <= 1:
            raise InputError(f"momentum: expected a number in [0, 1], got {self.momentum}; choose another")

    def parameter_shapes(self) -> dict[str, Shape]:
        return {"scale": (self.channels,), "shift": (self.channels,)}

    def stats_shapes(self) -> dict[str, Shape]:
        return {"running_mean": (self.channels,), "running_variance": (self.channels,)}

    def init(self, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> Params:
        return {"scale": np.ones(self.channels, dtype), "shift": np.zeros(self.channels, dtype)}

    def init_stats(self, dtype: npt.DTypeLike = np.float32) -> Params:
        return {
            "running_mean": np.zeros(self.channels, dtype),
            "running_variance": np.ones(self.channels, dtype),
        }

    def output_shape(self, input_shape: Shape) -> Shape:
        if not input_shape or input_shape[-1] != self.channels:
            raise InputError(
                f"{self}: expected samples (..., {self.channels}), got {input_shape}; check the layer before"
            )
        return input_shape

    def fewest_samples(self, input_shape: Shape) -> int:
        return 2 if prod(input_shape[:-1]) == 1 else 1  # of a single row every x_hat is 0

    def forward(self, params: Params, x: Array) -> tuple[Array, BatchNormCache]:
        self.expect(x, (*(None,) * (x.ndim - 2), self.channels))
        rows = x.size // self.channels
        if rows < 2:
            raise InputError(
                f"{self}: expected a batch of at least 2 rows (samples, or pixels of all samples) to take means over, "
                f"got {rows}; use larger batches"
            )
        mean = column_sums(x) / rows
        centred = per_channel(xp_of(x).subtract, x, mean)
        variance = column_dots(centred, centred) / rows
        y = scale_and_shift(centred, factor(params["scale"], variance, self.eps), params["shift"])
        return y, BatchNormCache(centred, mean, variance)

    # With dx_hat = scale dy: mean and deviation depend on every row, and x_hat has mean 0 and mean square 1, so the
    # part of dx_hat along the constant and the part along x_hat cancel:
    #   dx = (dx_hat - mean(dx_hat) - x_hat mean(x_hat dx_hat)) / deviation,
    # where mean(dx_hat) = scale dshift / R and mean(x_hat dx_hat) = scale dscale / R. With a = scale / deviation and
    # x_hat = centred / deviation that is a dy - a dshift / R - centred a dscale / (R deviation).
    def backward(self, params: Params, cache: BatchNormCache, dy: Array) -> tuple[Array, Params]:
        rows, dots, dshift = dy.size // self.channels, column_dots(dy, cache.centred), column_sums(dy)
        dscale, a, b, c = coefficients(params["scale"], cache.variance, dots, dshift, self.eps, rows)
        return input_gradient(dy, cache.centred, a, b, c), {"scale": dscale, "shift": dshift}

    def infer(self, params: Params, stats: Params, x: Array) -> Array:
        self.expect(x, (*(None,) * (x.ndim - 2), self.channels))
        by = factor(params["scale"], stats["running_variance"], self.eps)
        return scale_and_shift(x, by, params["shift"] - stats["running_mean"] * by)

    def advance(self, stats: Params, cache: BatchNormCache) -> Params:
        rows = cache.centred.size // self.channels
        old = stats["running_mean"], stats["running_variance"]
        mean, variance = towards(*old, cache.mean, cache.variance, self.momentum, rows / (rows - 1))
        return {"running_mean": mean, "running_variance": variance}
