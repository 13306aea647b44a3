"""Residual blocks: what passes through the body, and what passes by it (He, Zhang, Ren, Sun, CVPR 2016)."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ddg_ref.arrays import Array, Params, Shape, xp_of
from ddg_ref.errors import InputError, shown, switch, whole
from ddg_ref.layers.base import Cache, Layer
from ddg_ref.layers.compose import Chain, Sequential, as_layers
from ddg_ref.layers.images import check_images


class Subsample(Layer):
    """Option A shortcut (He, Zhang, Ren, Sun, CVPR 2016, section 3.3): no parameters.

    Every `stride`-th pixel of x (N, H, W, c_in), then zeros for the channels that are missing: (N, H', W', c_out).
    With stride 1 and c_out = c_in it is the identity.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1) -> None:
        self.c_in, self.c_out = whole("c_in", c_in, 1), whole("c_out", c_out, 1)
        self.stride = whole("stride", stride, 1)
        if self.c_out < self.c_in:
            raise InputError(f"a shortcut adds channels: expected c_out >= c_in, got {c_in} -> {c_out}; add some")

    def output_shape(self, input_shape: Shape) -> Shape:
        h, w, _ = check_images(self, input_shape, self.c_in)
        return (-(-h // self.stride), -(-w // self.stride), self.c_out)

    def forward(self, params: Params, x: Array) -> tuple[Array, Shape]:
        self.expect(x, (None, None, self.c_in))
        if self.stride == 1 and self.c_in == self.c_out:
            return x, x.shape
        y = xp_of(x).zeros((len(x), *self.output_shape(x.shape[1:])), dtype=x.dtype)
        y[..., : self.c_in] = x[:, :: self.stride, :: self.stride]
        return y, x.shape

    # each kept value has derivative 1, each dropped one 0
    def backward(self, params: Params, cache: Shape, dy: Array) -> tuple[Array, Params]:
        if self.stride == 1 and self.c_in == self.c_out:
            return dy, {}
        dx = xp_of(dy).zeros(cache, dtype=dy.dtype)
        dx[:, :: self.stride, :: self.stride] = dy[..., : self.c_in]
        return dx, {}


class ResidualCache(NamedTuple):
    body: Chain
    shortcut: Cache


class Residual(Layer):
    """y = body(x) + shortcut(x).

    An `open` block may be cut inside its body, which must have the shape of y from its first layer on. Two arrays then
    cross the cut, what the body has come to and the shortcut: they travel as one, of shape (N, 2, ...).
    """

    def __init__(self, body: Iterable[Layer], shortcut: Subsample, *, open: bool = False) -> None:
        self.body, self.shortcut, self.open = Sequential(as_layers("body", body)), shortcut, switch("open", open)
        if not self.body.layers:
            raise InputError("body: expected at least one layer, got none; give a list of layers")
        if not isinstance(shortcut, Subsample):
            raise InputError(f"shortcut: expected a Subsample, got {shown(shortcut)}; Subsample(c, c) changes nothing")
        self._begins = self._ends = True

    def steps(self) -> list[tuple[str, Layer]]:
        return self.body.steps() if self.open else super().steps()

    def part(self, start: int, stop: int) -> Layer:
        whole = len(self.steps())
        if (start, stop) == (0, whole):
            return self
        part = copy(self)
        part.body = self.body.part(start, stop)
        part._begins, part._ends = self._begins and start == 0, self._ends and stop == whole
        return part

    def parameter_shapes(self) -> dict[str, Shape]:
        return self.body.parameter_shapes()

    def stats_shapes(self) -> dict[str, Shape]:
        return self.body.stats_shapes()

    def init(self, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> Params:
        return self.body.init(rng, dtype)

    def init_stats(self, dtype: npt.DTypeLike = np.float32) -> Params:
        return self.body.init_stats(dtype)

    def output_shape(self, input_shape: Shape) -> Shape:
        x = input_shape if self._begins else input_shape[1:]
        body = self.body.output_shape(x)
        shortcut = self.shortcut.output_shape(x) if self._begins else x
        first = self.body.layers[0].output_shape(x) if self.open else body
        if body != shortcut or first != shortcut:
            inside = f", its first layer {first}" if self.open else ""
            raise InputError(f"{self}: body gives {body}{inside}, shortcut {shortcut}; all must give the same shape")
        return body if self._ends else (2, *body)

    def fewest_samples(self, input_shape: Shape) -> int:
        return self.body.fewest_samples(input_shape if self._begins else input_shape[1:])

    def _enter(self, x: Array) -> tuple[Array, Array, Cache]:
        """What goes into the body, what goes past it, and the shortcut's cache."""
        if not self._begins:
            return xp_of(x).ascontiguousarray(x[:, 0]), x[:, 1], None
        straight, cache = self.shortcut.forward({}, x)
        return x, straight, cache

    def _leave(self, y: Array, straight: Array) -> Array:
        together: Array = y + straight if self._ends else xp_of(y).stack((y, straight), axis=1)
        return together

    def forward(self, params: Params, x: Array) -> tuple[Array, ResidualCache]:
        x, straight, shortcut = self._enter(x)
        y, body = self.body.forward(params, x)
        return self._leave(y, straight), ResidualCache(body, shortcut)

    def backward(self, params: Params, cache: ResidualCache, dy: Array) -> tuple[Array, Params]:
        dy, straight = self._apart(dy)
        dx, grads = self.body.backward(params, cache.body, dy)
        return self._joined(dx, straight, cache.shortcut), grads

    def input_gradient(self, params: Params, cache: ResidualCache, dy: Array) -> tuple[Array, Chain]:
        dy, straight = self._apart(dy)
        dx, kept = self.body.input_gradient(params, cache.body, dy)
        return self._joined(dx, straight, cache.shortcut), kept

    def weight_gradients(self, params: Params, kept: Chain) -> Params:
        return self.body.weight_gradients(params, kept)

    def _apart(self, dy: Array) -> tuple[Array, Array]:
        """The error gradients of what the body has come to, and of the shortcut."""
        return (dy, dy) if self._ends else (xp_of(dy).ascontiguousarray(dy[:, 0]), dy[:, 1])

    # x reaches y along two paths, so its gradient is the sum of both
    def _joined(self, dx: Array, straight: Array, shortcut: Cache) -> Array:
        if not self._begins:
            both: Array = xp_of(dx).stack((dx, straight), axis=1)
            return both
        total: Array = dx + self.shortcut.backward({}, shortcut, straight)[0]
        return total

    def infer(self, params: Params, stats: Params, x: Array) -> Array:
        x, straight, _ = self._enter(x)
        return self._leave(self.body.infer(params, stats, x), straight)

    def advance(self, stats: Params, cache: ResidualCache) -> Params:
        return self.body.advance(stats, cache.body)
