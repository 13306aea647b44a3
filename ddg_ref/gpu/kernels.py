"""Formulas as single kernels on a GPU: what goes in, what comes out, what is done for each element, in C.

The texts are those of `cupy.ElementwiseKernel`: a scalar that is T has the type of the arrays; arrays broadcast.
Loading this file gives them to the formulas.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from ddg_ref.arrays import Array, Fused, column_dots, cupy, widened
from ddg_ref.corrections import compensated_step
from ddg_ref.layers.activation import through_tanh, where_positive
from ddg_ref.layers.norm import input_gradient, scale_and_shift
from ddg_ref.optimizers import adam_step, combined, momentum_step, nadam_step, nesterov_step, plain_step

ELEMENTWISE: dict[Fused[..., Any], tuple[str, str, str]] = {
    where_positive: ("T y, T dy", "T dx", "dx = dy * (y > 0)"),
    through_tanh: ("T y, T dy", "T dx", "dx = dy * (1 - y * y)"),
    scale_and_shift: ("T x, T factor, T summand", "T y", "y = x * factor + summand"),
    input_gradient: ("T dy, T centred, T a, T b, T c", "T dx", "dx = a * dy - b * centred - c"),
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


@cache
def _elementwise(xp: Any, name: str, texts: tuple[str, str, str]) -> Callable[..., Any]:
    kernel: Callable[..., Any] = xp.ElementwiseKernel(*texts, name)
    return kernel


@cache
def _sum_of_products(xp: Any) -> Callable[..., Any]:
    kernel: Callable[..., Any] = xp.ReductionKernel("T u, T v", "T y", "u * v", "a + b", "y = a", "0", "column_dots")
    return kernel


def _column_dots(x: Array, y: Array) -> Array:
    (u, width), (v, _) = widened(x), widened(y)
    dots: Array = _sum_of_products(cupy())(u, v, axis=0).reshape(width, -1).sum(axis=0)
    return dots


def _kernel(name: str, texts: tuple[str, str, str]) -> Callable[..., Any]:
    return lambda *operands: _elementwise(cupy(), name, texts)(*operands)


for formula, texts in ELEMENTWISE.items():
    formula.on_gpu = _kernel(formula.formula.__name__, texts)
column_dots.on_gpu = _column_dots
