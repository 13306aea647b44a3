"""Arrays: NumPy on a CPU, CuPy on a GPU, decided from the array itself and never from ambient state.

This is the only file that imports CuPy, and only once an array of it turns up or a GPU is asked for.
"""

from collections.abc import Callable, Sequence
from functools import update_wrapper
from importlib import import_module
from typing import Any, Generic, ParamSpec, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Shape: TypeAlias = tuple[int, ...]
Params: TypeAlias = dict[str, Array]
"""Named arrays: the weights of a layer, their gradients, or running statistics."""


def cupy() -> Any:
    """The module CuPy. Raises ImportError if it is not installed."""
    return import_module("cupy")


def on_host(x: Array) -> bool:
    """Whether `x` lies in host memory."""
    return isinstance(x, np.ndarray)


def gpu_of(x: Any) -> int:
    """The number of the GPU on which `x` lies."""
    index: int = x.device.id
    return index


def xp_of(x: Array) -> Any:
    """The module whose functions work on `x`: `numpy`, or `cupy` for an array on a GPU."""
    return np if isinstance(x, np.ndarray) else cupy()


def to_host(x: Array) -> Array:
    """`x` in host memory: itself if it lies there, else a copy."""
    return x if isinstance(x, np.ndarray) else cupy().asnumpy(x)


def hosted(arrays: Params) -> Params:
    """The arrays in host memory."""
    return {name: to_host(array) for name, array in arrays.items()}


def numbers(scalars: Sequence[Array]) -> list[Any]:
    """The values of scalar arrays of one GPU, brought to the host in one copy."""
    return list(to_host(cupy().stack(scalars))) if scalars else []


def placed_like(model: Array, x: Array) -> Array:
    """`x` where `model` lies, which is host memory or a GPU: itself if it lies there, else a copy."""
    placed: Array = xp_of(model).asarray(x)
    return placed


def settled(x: Array) -> Array:
    """`x`, once nothing that was asked of its GPU is still to be done: others may now read it and write to it."""
    if not on_host(x):
        cupy().cuda.get_current_stream().synchronize()
    return x


Operands = ParamSpec("Operands")
Result = TypeVar("Result")


class Fused(Generic[Operands, Result]):
    """A NumPy function that goes over its arrays several times, and what does the same at once on a GPU.

    Where its first argument lies decides, an array or arrays with names. `ddg_ref.gpu.kernels` sets `on_gpu`; without
    it a GPU follows the formula.
    """

    def __init__(self, formula: Callable[Operands, Result]) -> None:
        self.formula = self.on_gpu = formula
        update_wrapper(self, formula)

    def __call__(self, *operands: Operands.args, **named: Operands.kwargs) -> Result:
        given = operands[0].values() if isinstance(operands[0], dict) else operands[:1]
        return (self.formula if all(map(on_host, given)) else self.on_gpu)(*operands, **named)


def widened(x: Array) -> tuple[Array, int]:
    """x (..., W, C) as rows (R, W*C), and W: so that work per channel runs along rows of more than a few values."""
    width = x.shape[-2] if x.ndim > 2 else 1
    return x.reshape(-1, width * x.shape[-1]), width


def split(x: Array, parts: int) -> list[Array]:
    """x (N, ...) in so many parts, whose numbers of samples differ by one at the most; views, not copies."""
    return [x] if parts == 1 else list(xp_of(x).array_split(x, parts))


def joined(parts: list[Array]) -> Array:
    """What `split` took apart."""
    whole: Array = parts[0] if len(parts) == 1 else xp_of(parts[0]).concatenate(parts)
    return whole


@Fused
def for_each(arrays: Params, rule: Callable[..., Sequence[Array]], *others: Params, results: int = 1) -> list[Params]:
    """What `rule` makes, number by number, of the arrays of each name: so many results, none of no arrays."""
    found: list[Params] = [{} for _ in range(results)]
    for name, x in arrays.items():
        for into, made in zip(found, rule(x, *(other[name] for other in others)), strict=True):
            into[name] = made
    return found


def added(grads: Params, more: Params) -> Params:
    """The sum of two gradients of the same parameters."""
    return for_each(grads, lambda g, other: (g + other,), more)[0]


@Fused
def column_sums(x: Array) -> Array:
    """Sum of `x` over every axis but the last: shape (..., C) -> (C,), same dtype.

    A product with a row of ones, because BLAS adds rows several times faster than `x.sum(axis=0)` when C is small.
    """
    rows, width = widened(x)
    sums = np.ones(len(rows), dtype=x.dtype) @ rows  # (W*C,)
    totals: Array = sums.reshape(width, -1).sum(axis=0)
    return totals


@Fused
def column_dots(x: Array, y: Array) -> Array:
    """Sum of x * y over every axis but the last: shapes (..., C) -> (C,)."""
    return column_sums(x * y)


def per_channel(operation: Callable[..., Array], x: Array, v: Array, out: Array | None = None) -> Array:
    """operation(x, v), v (C,) broadcast over x (..., C): several times faster than plain broadcasting for small C."""
    if not on_host(x):
        return operation(x, v, out=out)
    rows, width = widened(x)
    if out is None:
        out = xp_of(x).empty(x.shape, dtype=x.dtype)
    assert out.flags.c_contiguous  # so that reshape does not copy
    operation(rows, xp_of(x).tile(v, width), out=out.reshape(rows.shape))
    return out
