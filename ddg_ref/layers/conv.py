"""Two-dimensional convolution (cross-correlation, as the field uses the word), images NHWC."""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from ddg_ref.arrays import Array, Params, Shape, column_sums, xp_of
from ddg_ref.errors import InputError
from ddg_ref.layers.base import Layer
from ddg_ref.layers.init import Initializer, he_normal

Pair: TypeAlias = tuple[int, int]

WINDOW_BYTES = 1 << 20
"""Windows are gathered for a few images at a time, so that they are still in the cache when they are multiplied."""


def pair(name: str, size: int | Pair, smallest: int = 1) -> Pair:
    """One size for both image axes, or one each. Raises InputError if it is below `smallest`."""
    vertical, horizontal = (size, size) if isinstance(size, int) else size
    if min(vertical, horizontal) < smallest:
        raise InputError(f"{name}: expected whole numbers >= {smallest}, got {size}; choose larger ones")
    return vertical, horizontal


def windows(x: Array, kernel: Pair, stride: Pair) -> Array:
    """The windows of x (N, H, W, C) as a view (N, H', W', kh, kw*C) without copying; x is C-contiguous.

    In NHWC the kw neighbouring pixels of one kernel row lie side by side, so a window is kh runs of kw*C values.
    """
    (kh, kw), (sh, sw) = kernel, stride
    n, h, w, c = x.shape
    step_n, step_h, step_w, _ = x.strides
    step_c = x.itemsize  # not the array's own: with one channel that may be anything, as 0 in x[..., None]
    shape = (n, (h - kh) // sh + 1, (w - kw) // sw + 1, kh, kw * c)
    strides = (step_n, step_h * sh, step_w * sw, step_h, step_c)
    view: Array = xp_of(x).lib.stride_tricks.as_strided(x, shape, strides)
    return view


def image_chunks(view: Array) -> list[slice]:
    """Slices of the batch axis of a window view, each of about WINDOW_BYTES once copied."""
    n = view.shape[0]
    per_image = max(1, view.size // max(n, 1) * view.itemsize)
    size = max(1, WINDOW_BYTES // per_image)
    return [slice(i, i + size) for i in range(0, n, size)]


def correlate(x: Array, kernel: Array, stride: Pair) -> Array:
    """Valid cross-correlation of x (N, H, W, C) with kernel (kh, kw, C, D): (N, H', W', D)."""
    kh, kw, c, d = kernel.shape
    view = windows(x, (kh, kw), stride)
    matrix = kernel.reshape(kh * kw * c, d)
    y: Array = xp_of(x).empty((*view.shape[:3], d), dtype=x.dtype)
    for chunk in image_chunks(view):
        gathered = view[chunk].reshape(-1, kh * kw * c)  # (n H' W', kh kw C): the one copy
        y[chunk] = (gathered @ matrix).reshape(y[chunk].shape)
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
        self.c_in, self.c_out, self.kernel = c_in, c_out, pair("kernel", kernel)
        self.stride, self.padding, self.bias = pair("stride", stride), pair("padding", padding, 0), bias
        self._init = init

    def parameter_shapes(self) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"weight": (*self.kernel, self.c_in, self.c_out)}
        return shapes | {"bias": (self.c_out,)} if self.bias else shapes

    def init(self, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> Params:
        weight = {"weight": self._init(rng, (*self.kernel, self.c_in, self.c_out), dtype)}
        return weight | {"bias": np.zeros(self.c_out, dtype)} if self.bias else weight

    def output_shape(self, input_shape: Shape) -> Shape:
        if len(input_shape) != 3 or input_shape[2] != self.c_in:
            raise InputError(
                f"{self}: expected images (height, width, {self.c_in}), got {input_shape}; reshape the data"
            )
        sizes = zip(input_shape[:2], self.kernel, self.stride, self.padding, strict=True)
        h, w = ((size + 2 * p - k) // s + 1 for size, k, s, p in sizes)
        if min(h, w) < 1:
            raise InputError(f"{self}: the kernel is larger than images of shape {input_shape}; add padding")
        return (h, w, self.c_out)

    def _pad(self, x: Array) -> Array:
        (ph, pw), (n, h, w, c) = self.padding, x.shape
        if ph == pw == 0:
            unpadded: Array = xp_of(x).ascontiguousarray(x)
            return unpadded
        padded: Array = xp_of(x).zeros((n, h + 2 * ph, w + 2 * pw, c), dtype=x.dtype)
        padded[:, ph : ph + h, pw : pw + w] = x
        return padded

    def forward(self, params: Params, x: Array) -> tuple[Array, ConvCache]:
        self.expect(x, (None, None, self.c_in))
        self.output_shape(x.shape[1:])
        y = correlate(self._pad(x), params["weight"], self.stride)
        if self.bias:
            y += params["bias"]
        return y, ConvCache(x)

    # Every output is a product of one window (a row) with the kernel (a matrix): dw is the product of the transposed
    # windows with dy, as in a linear layer. The pixel at r = i*s + a - p received w[a] dy[i] from each i, a, so dx is
    # itself a correlation: of dy, spread out to stride 1, with the kernel turned by 180 degrees.
    def backward(self, params: Params, cache: ConvCache, dy: Array) -> tuple[Array, Params]:
        weight = params["weight"]  # (kh, kw, c_in, c_out)
        view = windows(self._pad(cache.x), self.kernel, self.stride)  # (N, H', W', kh, kw*c_in)
        dw = xp_of(dy).zeros((view.shape[3] * view.shape[4], self.c_out), dtype=dy.dtype)
        for chunk in image_chunks(view):
            gathered = view[chunk].reshape(-1, dw.shape[0])  # (n H' W', kh kw c_in)
            dw += gathered.T @ dy[chunk].reshape(-1, self.c_out)
        grads = {"weight": dw.reshape(weight.shape)}
        if self.bias:
            grads["bias"] = column_sums(dy)
        turned = weight[::-1, ::-1].swapaxes(2, 3)  # (kh, kw, c_out, c_in)
        return correlate(self._spread(dy, cache.x.shape), turned, (1, 1)), grads

    def _spread(self, dy: Array, x_shape: Shape) -> Array:
        """dy with stride-1 zeros between its pixels, in a frame that makes a valid correlation give x's size."""
        n, h, w, _ = x_shape
        kh, kw = self.kernel
        frame: Array = xp_of(dy).zeros((n, h + kh - 1, w + kw - 1, self.c_out), dtype=dy.dtype)
        rows = _spread_axis(dy.shape[1], h + kh - 1, kh, self.stride[0], self.padding[0])
        columns = _spread_axis(dy.shape[2], w + kw - 1, kw, self.stride[1], self.padding[1])
        frame[:, rows[1], columns[1]] = dy[:, rows[0], columns[0]]
        return frame


def _spread_axis(outputs: int, frame: int, k: int, s: int, p: int) -> tuple[slice, slice]:
    """Output i belongs at place k-1-p + i*s of the frame: the outputs that fall inside it, and their places."""
    first = max(0, -((k - 1 - p) // s))  # ceil((p-k+1)/s): outputs before it saw padding only
    place = k - 1 - p + first * s
    count = max(0, min(outputs - first, (frame - place + s - 1) // s))
    return slice(first, first + count), slice(place, place + count * s, s)
