"""Two-dimensional convolution (cross-correlation, as the field uses the word), images NHWC."""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from itertools import product
from math import prod
from operator import iadd
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ddg_ref.arrays import Array, Fused, Params, Shape, column_sums, per_channel, xp_of
from ddg_ref.errors import InputError, shown, switch, whole
from ddg_ref.layers.base import Layer
from ddg_ref.layers.images import check_images
from ddg_ref.layers.init import Initializer, check_initializer, he_normal

Pair: TypeAlias = tuple[int, int]

WINDOW_BYTES = 1 << 20
"""Windows are gathered for a few images at a time, so that they are still in the cache when they are multiplied."""


def pair(name: str, size: int | Pair, least: int = 1) -> Pair:
    """One size for both image axes, or one each. Raises InputError unless they are whole numbers, `least` or more."""
    both = size if isinstance(size, tuple | list) else (size, size)
    if len(both) != 2:
        raise InputError(f"{name}: expected one whole number or (vertical, horizontal), got {shown(size)}; give two")
    vertical, horizontal = both
    return whole(name, vertical, least), whole(name, horizontal, least)


def extend(x: Array, rows: Pair, columns: Pair) -> Array:
    """The part [rows) x [columns) of images x (N, H, W, C), which may reach outside: there it is zero. C-contiguous."""
    n, h, w, c = x.shape
    (top, bottom), (left, right) = rows, columns
    if (top, bottom, left, right) == (0, h, 0, w):
        whole: Array = np.ascontiguousarray(x)
        return whole
    part: Array = np.zeros((n, bottom - top, right - left, c), dtype=x.dtype)
    inner_rows, inner_columns = slice(max(0, top), max(0, min(h, bottom))), slice(max(0, left), max(0, min(w, right)))
    inside = x[:, inner_rows, inner_columns]
    below, beside = max(0, -top), max(0, -left)
    part[:, below : below + inside.shape[1], beside : beside + inside.shape[2]] = inside
    return part


def places(rows: Pair, columns: Pair, kernel: Pair, stride: Pair) -> Pair:
    """How many windows lie in the part [rows) x [columns): vertically, horizontally."""
    (top, bottom), (left, right), (kh, kw), (sh, sw) = rows, columns, kernel, stride
    return (bottom - top - kh) // sh + 1, (right - left - kw) // sw + 1


def windows(x: Array, kernel: Pair, stride: Pair) -> Array:
    """The windows of x (N, H, W, C) as a view (N, H', W', kh, kw*C) without copying; x is C-contiguous.

    In NHWC the kw neighbouring pixels of one kernel row lie side by side, so a window is kh runs of kw*C values.
    """
    (kh, kw), (sh, sw) = kernel, stride
    n, h, w, c = x.shape
    step_n, step_h, step_w, _ = x.strides
    step_c = x.itemsize  # not the array's own: with one channel that may be anything, as 0 in x[..., None]
    shape = (n, *places((0, h), (0, w), kernel, stride), kh, kw * c)
    strides = (step_n, step_h * sh, step_w * sw, step_h, step_c)
    view: Array = np.lib.stride_tricks.as_strided(x, shape, strides)
    return view


@Fused
def gathered(x: Array, rows: Pair, columns: Pair, kernel: Pair, stride: Pair) -> Iterator[tuple[slice, Array]]:
    """The windows of that part of x as matrices (n H' W', kh kw C), a few images at a time: (which images, matrix).

    All come in the same buffer: one is gone when the next is asked for.
    """
    view = windows(extend(x, rows, columns), kernel, stride)
    n, *window = view.shape
    size = max(1, min(n, WINDOW_BYTES // max(1, prod(window) * view.itemsize)))
    buffer = np.empty((size, *window), dtype=view.dtype)
    for start in range(0, n, size):
        part = view[start : start + size]
        copy = buffer[: len(part)]
        copy[...] = part  # the one copy of the data that a convolution makes
        yield slice(start, start + len(part)), copy.reshape(-1, window[2] * window[3])


def correlate(x: Array, rows: Pair, columns: Pair, kernel: Array, stride: Pair = (1, 1)) -> Array:
    """Cross-correlation of the part [rows) x [columns) of x (N, H, W, C), as `extend` has it, with kernel
    (kh, kw, C, D): (N, H', W', D)."""
    kh, kw, c, d = kernel.shape
    xp, matrix = xp_of(x), kernel.reshape(kh * kw * c, d)
    y: Array = xp.empty((len(x), *places(rows, columns, (kh, kw), stride), d), dtype=x.dtype)
    for images, part in gathered(x, rows, columns, (kh, kw), stride):
        xp.matmul(part, matrix, out=y[images].reshape(-1, d))
    return y


class ConvCache(NamedTuple):
    x: Array


class Conv2d(Layer):
    """y[n,i,j,d] = b[d] + sum_{a,b,c} x[n, i*s+a-p, j*s+b-p, c] w[a,b,c,d], zero outside the image.

    x (N, H, W, c_in), w (kh, kw, c_in, c_out), b (c_out,), y (N, H', W', c_out), H' = (H+2p-kh)//s + 1.
    kernel, stride s and padding p are one number or (vertical, horizontal).
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: int | Pair = 3,
        *,
        stride: int | Pair = 1,
        padding: int | Pair = 0,
        bias: bool = True,
        init: Initializer = he_normal,
    ) -> None:
        self.c_in, self.c_out, self.kernel = whole("c_in", c_in, 1), whole("c_out", c_out, 1), pair("kernel", kernel)
        self.stride, self.padding, self.bias = pair("stride", stride), pair("padding", padding, 0), switch("bias", bias)
        self._init = check_initializer(init)

    def parameter_shapes(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"weight": (*self.kernel, self.c_in, self.c_out)}
        return shapes | {"bias": (self.c_out,)} if self.bias else shapes

    def init(self, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> Params:
        weight = {"weight": self._init(rng, (*self.kernel, self.c_in, self.c_out), dtype)}
        return weight | {"bias": np.zeros(self.c_out, dtype)} if self.bias else weight

    def output_shape(self, input_shape: Shape) -> Shape:
        sides = check_images(self, input_shape, self.c_in)[:2]
        sizes = zip(sides, self.kernel, self.stride, self.padding, strict=True)
        h, w = ((size + 2 * p - k) // s + 1 for size, k, s, p in sizes)
        if min(h, w) < 1:
            raise InputError(f"{self}: the kernel is larger than images of shape {input_shape}; add padding")
        return (h, w, self.c_out)

    def _extent(self, x: Array) -> tuple[Pair, Pair]:
        """The rows and columns of the padded images."""
        (ph, pw), (_, h, w, _) = self.padding, x.shape
        return (-ph, h + ph), (-pw, w + pw)

    def forward(self, params: Params, x: Array) -> tuple[Array, ConvCache]:
        self.expect(x, (None, None, self.c_in))
        self.output_shape(x.shape[1:])
        y = correlate(x, *self._extent(x), params["weight"], self.stride)
        if self.bias:
            per_channel(xp_of(y).add, y, params["bias"], out=y)
        return y, ConvCache(x)

    # Every output is a product of one window (a row) with the kernel (a matrix): as in a linear layer, dw is the
    # product of the transposed windows with dy.
    def gradients(self, params: Params, cache: ConvCache, dy: Array) -> Params:
        shape = params["weight"].shape  # (kh, kw, c_in, c_out)
        parts = gathered(cache.x, *self._extent(cache.x), self.kernel, self.stride)
        dw = reduce(iadd, (rows.T @ dy[images].reshape(-1, self.c_out) for images, rows in parts))
        weight = {"weight": dw.reshape(shape)}
        return weight | {"bias": column_sums(dy)} if self.bias else weight

    # Output i used w[a] on pixel r = i*s + a - p. Seen from the pixel: r + p = j*s + phase got w[phase + m*s] dy[j-m]
    # for m = 0, 1, ... So the pixels of one phase (there are s per axis) are a correlation of dy with every s-th tap
    # of the kernel, turned by 180 degrees.
    def input_gradient(self, params: Params, cache: ConvCache, dy: Array) -> tuple[Array, tuple[ConvCache, Array]]:
        weight, x_shape = params["weight"], cache.x.shape
        parts = []
        by_axis = zip(x_shape[1:3], self.kernel, self.stride, self.padding, strict=True)
        for rows, columns in product(*(_phases(*axis) for axis in by_axis)):
            taps = weight[rows.taps, columns.taps][::-1, ::-1].swapaxes(2, 3)  # (mh, mw, c_out, c_in)
            part = correlate(dy, rows.outputs, columns.outputs, taps)
            parts.append(((slice(None), rows.pixels, columns.pixels), part))
        if self.stride == (1, 1):  # a single phase, which has all pixels
            return parts[0][1], (cache, dy)
        dx = xp_of(dy).zeros(x_shape, dtype=dy.dtype)
        for pixels, part in parts:
            dx[pixels] = part
        return dx, (cache, dy)

    def weight_gradients(self, params: Params, kept: tuple[ConvCache, Array]) -> Params:
        return self.gradients(params, *kept)

    def backward(self, params: Params, cache: ConvCache, dy: Array) -> tuple[Array, Params]:
        grads = self.gradients(params, cache, dy)  # first: its padded images are gone when those of dy are made
        return self.input_gradient(params, cache, dy)[0], grads


class Phase(NamedTuple):
    """Along one axis: pixels that are s apart, the kernel taps that reached them, and the outputs they went to."""

    pixels: slice
    taps: slice
    outputs: Pair


def _phases(size: int, k: int, s: int, p: int) -> Iterator[Phase]:
    for phase in range(min(s, k)):
        first, end = -((phase - p) // s), -((phase - p - size) // s)  # j such that 0 <= j*s + phase - p < size
        if first < end:
            most = -((phase - k) // s) - 1  # the largest m
            yield Phase(slice(first * s + phase - p, size, s), slice(phase, k, s), (first - most, end))
