"""The vector-Jacobian check: is <J^T u, v> what backward says, equal to <u, J v>, what forward does?

u (the cotangent) and v (the direction) are random, so one number tests every entry of J. The derivative along v is
taken in float64 by central differences. Where a function has kinks, the caller chooses inputs that stay away from them.
"""

from collections.abc import Callable

import numpy as np

from ddg_ref.arrays import Array, Params
from ddg_ref.layers import Layer

STEP = 1e-3
TOLERANCE = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 1e-9}
"""By the dtype in which backward ran: largest error relative to the sum of |gradient * v|, the size of the terms."""


def derivative(f: Callable[[Array], float], x: Array, v: Array) -> float:
    """d f(x + s v) / d s at s = 0 in float64, with an error of order STEP^4.

    Richardson: central differences D(h) err by c h^2 + O(h^4), which (4 D(h/2) - D(h)) / 3 cancels.
    """
    x, v = np.asarray(x, np.float64), np.asarray(v, np.float64)

    def central(h: float) -> float:
        return float((f(x + h * v) - f(x - h * v)) / (2 * h))

    return (4 * central(STEP / 2) - central(STEP)) / 3


def check_gradient(f: Callable[[Array], float], gradient: Array, x: Array, rng: np.random.Generator, name: str) -> None:
    """Assert that `gradient`, in whatever dtype, is that of the scalar function f at x."""
    assert gradient.shape == x.shape, f"gradient of {name}: shape {gradient.shape}, not {x.shape}"
    v = rng.uniform(-1, 1, x.shape)
    claimed, found = float((gradient * v).sum(dtype=np.float64)), derivative(f, x, v)
    size = max(1.0, float(np.abs(gradient * v).sum(dtype=np.float64)))
    error = abs(claimed - found) / size
    assert error <= TOLERANCE[gradient.dtype], f"gradient of {name}: {claimed} along v, but {found} by differences"


def check_layer(layer: Layer, params: Params, x: Array, rng: np.random.Generator) -> None:
    """Assert that `layer.backward`, run in the dtype of x, gives the gradients of <u, y> by x and every parameter."""
    y, cache = layer.forward(params, x)
    u = rng.standard_normal(y.shape).astype(y.dtype)
    dx, grads = layer.backward(params, cache, u)
    assert grads.keys() == params.keys()
    wide = {name: array.astype(np.float64) for name, array in params.items()}

    def objective(params: Params, x: Array) -> float:
        return float((u * layer.forward(params, x)[0]).sum())

    check_gradient(lambda moved: objective(wide, moved), dx, x, rng, "x")
    for name, array in params.items():
        check_gradient(
            lambda moved, name=name: objective(wide | {name: moved}, x.astype(np.float64)),
            grads[name],
            array,
            rng,
            name,
        )
