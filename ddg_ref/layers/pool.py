"""Pooling of images (N, H, W, C). Windows lie inside the image; rows and columns left over at the end are dropped."""

from collections.abc import Iterator
from typing import NamedTuple

from ddg_ref.arrays import Array, Params, Shape, xp_of
from ddg_ref.errors import InputError
from ddg_ref.layers.base import Layer
from ddg_ref.layers.conv import Pair, pair
from ddg_ref.layers.images import check_images


class _WindowPool(Layer):
    """Windows of `kernel` every `stride` pixels (default: side by side)."""

    def __init__(self, kernel: int | Pair = 2, *, stride: int | Pair | None = None) -> None:
        self.kernel = pair("kernel", kernel)
        self.stride = self.kernel if stride is None else pair("stride", stride)

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3 or any(size < k for size, k in zip(input_shape, self.kernel, strict=False)):
            raise InputError(
                f"{self}: expected images (height, width, channels) of at least {self.kernel}, got {input_shape}; "
                "drop this layer or enlarge the images"
            )
        h, w = ((size - k) // s + 1 for size, k, s in zip(input_shape, self.kernel, self.stride, strict=False))
        return (h, w, input_shape[2])

    def _taps(self, x_shape: Shape) -> Iterator[tuple[slice, slice, slice]]:
        """For each place in the window, in reading order, the pixels that lie there: an index into x."""
        (kh, kw), (sh, sw) = self.kernel, self.stride
        h, w, _ = self.output_shape(x_shape[1:])
        for a in range(kh):
            for b in range(kw):
                yield slice(None), slice(a, a + (h - 1) * sh + 1, sh), slice(b, b + (w - 1) * sw + 1, sw)


class MaxPoolCache(NamedTuple):
    x: Array
    y: Array


class MaxPool(_WindowPool):
    """y = the largest value of each window. Among equal values the first in reading order gets the gradient."""

    def forward(self, params: Params, x: Array) -> tuple[Array, MaxPoolCache]:
        taps = self._taps(x.shape)
        y = x[next(taps)].copy()
        for tap in taps:
            xp_of(x).maximum(y, x[tap], out=y)
        return y, MaxPoolCache(x, y)

    # y equals one of the window's values: its derivative is 1 there and 0 elsewhere.
    def backward(self, params: Params, cache: MaxPoolCache, dy: Array) -> tuple[Array, Params]:
        dx, remaining = xp_of(dy).zeros_like(cache.x), dy.copy()
        for tap in self._taps(cache.x.shape):
            here = remaining * (cache.x[tap] == cache.y)
            dx[tap] += here
            remaining -= here  # exactly 0 once given away
        return dx, {}


class AvgPool(_WindowPool):
    """y = the mean of each window."""

    def forward(self, params: Params, x: Array) -> tuple[Array, Shape]:
        taps = self._taps(x.shape)
        y = x[next(taps)].copy()
        for tap in taps:
            y += x[tap]
        y /= self.kernel[0] * self.kernel[1]
        return y, x.shape

    # each of the window's values has weight 1/(kh kw)
    def backward(self, params: Params, cache: Shape, dy: Array) -> tuple[Array, Params]:
        dx = xp_of(dy).zeros(cache, dtype=dy.dtype)
        share = dy / (self.kernel[0] * self.kernel[1])
        for tap in self._taps(cache):
            dx[tap] += share
        return dx, {}


class GlobalAvgPool(Layer):
    """The mean over all pixels: (N, H, W, C) -> (N, C)."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return check_images(self, input_shape)[2:]

    def forward(self, params: Params, x: Array) -> tuple[Array, Shape]:
        self.expect(x, (None, None, None))
        return x.mean(axis=(1, 2)), x.shape

    # each pixel has weight 1/(H W)
    def backward(self, params: Params, cache: Shape, dy: Array) -> tuple[Array, Params]:
        share = dy / (cache[1] * cache[2])  # (N, C)
        dx: Array = xp_of(dy).broadcast_to(share[:, None, None, :], cache).copy()  # (N, H, W, C)
        return dx, {}
