"""Formulas as single kernels on a GPU: what goes in, what comes out, what is done for each element, in C.

The texts are those of `cupy.ElementwiseKernel`: a scalar that is T has the type of the arrays; arrays broadcast.
Loading this file gives them to the formulas.
"""

from collections.abc import Callable, Iterator
from functools import cache
from math import gcd, prod
from typing import Any

from ddg_ref.arrays import Array, Fused, column_dots, column_sums, cupy, for_each, widened
from ddg_ref.corrections import compensated_step
from ddg_ref.gpu.packing import for_all
from ddg_ref.layers.activation import through_tanh, where_positive
from ddg_ref.layers.conv import Pair, gathered, places
from ddg_ref.layers.norm import coefficients, factor, input_gradient, scale_and_shift, towards
from ddg_ref.optimizers import adam_step, combined, momentum_step, nadam_step, nesterov_step, plain_step

ELEMENTWISE: dict[Fused[..., Any], tuple[str, str, str]] = {
    where_positive: ("T y, T dy", "T dx", "dx = dy * (y > 0)"),
    through_tanh: ("T y, T dy", "T dx", "dx = dy * (1 - y * y)"),
    scale_and_shift: ("T x, T factor, T summand", "T y", "y = x * factor + summand"),
    input_gradient: ("T dy, T centred, T a, T b, T c", "T dx", "dx = a * dy - b * centred - c"),
    factor: ("T scale, T variance, T eps", "T y", "y = scale * (1 / sqrt(variance + eps))"),
    coefficients: (
        "T scale, T variance, T dots, T dshift, T eps, T rows",
        "T dscale, T a, T b, T c",
        "T inverse = 1 / sqrt(variance + eps); dscale = dots * inverse; a = scale * inverse; "
        "b = a * dscale * inverse / rows; c = a * dshift / rows",
    ),
    towards: (
        "T old, T old2, T fresh, T fresh2, T momentum, T unbiased",
        "T moved, T moved2",
        "moved = old + momentum * (fresh - old); moved2 = old2 + momentum * (fresh2 * unbiased - old2)",
    ),
    plain_step: ("T w, T g, T gamma, T decay", "T new_w", "new_w = w - gamma * (g + decay * w)"),
    momentum_step: (
        "T w, T g, T velocity, T gamma, T decay, T momentum",
        "T new_w, T new_velocity",
        "new_velocity = momentum * velocity + (g + decay * w); new_w = w - gamma * new_velocity",
    ),
    nesterov_step: (
        "T w, T g, T velocity, T gamma, T decay, T momentum",
        "T new_w, T new_velocity",
        "T d = g + decay * w; new_velocity = momentum * velocity + d; "
        "new_w = w - gamma * (d + momentum * new_velocity)",
    ),
    adam_step: (
        "T w, T g, T m, T v, T gamma, T decay, T beta1, T rest1, T beta2, T rest2, T correct1, T correct2, T eps",
        "T new_w, T new_m, T new_v",
        "T d = g + decay * w; new_m = beta1 * m + rest1 * d; new_v = beta2 * v + rest2 * (d * d); "
        "new_w = w - gamma * (new_m * correct1 / (sqrt(new_v) * correct2 + eps))",
    ),
    nadam_step: (
        "T w, T g, T m, T v, T gamma, T decay, T beta1, T rest1, T beta2, T rest2, T share_m, T share_g, T correct2, "
        "T eps",
        "T new_w, T new_m, T new_v",
        "T d = g + decay * w; new_m = beta1 * m + rest1 * d; new_v = beta2 * v + rest2 * (d * d); "
        "new_w = w - gamma * ((new_m * share_m + d * share_g) / (sqrt(new_v) * correct2 + eps))",
    ),
    compensated_step: (
        "T w, T g, T velocity, T gamma, T decay, T momentum, T a, T b",
        "T new_w, T new_velocity",
        "T d = g + decay * w; new_velocity = momentum * velocity + d; new_w = w - gamma * (a * new_velocity + b * d)",
    ),
    combined: ("T w, T velocity, T of_w, T of_velocity", "T new_w", "new_w = of_w * w + of_velocity * velocity"),
}


WINDOW_BYTES = 1 << 28
"""Windows are gathered for all images if they fit: a GPU has few caches, and much to keep busy."""

GATHER = (
    "raw T x, int32 height, int32 width, int32 channels, int32 top, int32 left, int32 down, int32 across, "
    "int32 kh, int32 kw, int32 sh, int32 sw",
    "T y",
    "int c = i % channels; int b = i / channels % kw; int a = i / channels / kw % kh; "
    "ptrdiff_t place = i / channels / kw / kh; ptrdiff_t image = place / across / down; "
    "int row = place / across % down * sh + a + top; int column = place % across * sw + b + left; "
    "bool inside = (row >= 0) & (row < height) & (column >= 0) & (column < width); "
    "y = inside ? x[((image * height + row) * width + column) * channels + c] : T(0)",
)
"""Value i of the windows: channel c of pixel (a, b) of the window at a place; 0 where that lies outside the image."""


def _gathered(x: Array, rows: Pair, columns: Pair, kernel: Pair, stride: Pair) -> Iterator[tuple[slice, Array]]:
    x, (n, *image) = cupy().ascontiguousarray(x), x.shape
    window = (*places(rows, columns, kernel, stride), *kernel, image[-1])
    size = max(1, min(n, WINDOW_BYTES // max(1, prod(window) * x.itemsize)))
    buffer = cupy().empty((size, *window), dtype=x.dtype)
    for start in range(0, n, size):
        part = x[start : start + size]
        copy = buffer[: len(part)]
        gather = _elementwise(cupy(), "gather", GATHER)
        gather(part, *image, rows[0], columns[0], *window[:2], *kernel, *stride, copy)
        yield slice(start, start + len(part)), copy.reshape(-1, prod(window[2:]))


@cache
def _elementwise(xp: Any, name: str, texts: tuple[str, str, str]) -> Callable[..., Any]:
    kernel: Callable[..., Any] = xp.ElementwiseKernel(*texts, name)
    return kernel


@cache
def _sum_of_products(xp: Any) -> Callable[..., Any]:
    kernel: Callable[..., Any] = xp.ReductionKernel("T u, T v", "T y", "u * v", "a + b", "y = a", "0", "column_dots")
    return kernel


BLOCKS = 32
"""Sums over rows are taken in so many parts, as far as the rows divide, then over the parts: the sums of a few columns
alone would keep a few blocks of the GPU busy."""


def _in_blocks(x: Array) -> tuple[Array, int]:
    """x (..., W, C) as (P, R/P, W*C), and P*W."""
    rows, width = widened(x)
    parts = gcd(len(rows), BLOCKS)
    return rows.reshape(parts, -1, rows.shape[1]), parts * width


def _column_dots(x: Array, y: Array) -> Array:
    (u, parts), (v, _) = _in_blocks(x), _in_blocks(y)
    dots: Array = _sum_of_products(cupy())(u, v, axis=1).reshape(parts, -1).sum(axis=0)
    return dots


def _column_sums(x: Array) -> Array:
    blocks, parts = _in_blocks(x)
    sums: Array = blocks.sum(axis=1).reshape(parts, -1).sum(axis=0)
    return sums


def _kernel(name: str, texts: tuple[str, str, str]) -> Callable[..., Any]:
    return lambda *operands: _elementwise(cupy(), name, texts)(*operands)


for formula, texts in ELEMENTWISE.items():
    formula.on_gpu = _kernel(formula.formula.__name__, texts)
for_each.on_gpu = for_all
column_dots.on_gpu = _column_dots
column_sums.on_gpu = _column_sums
gathered.on_gpu = _gathered
