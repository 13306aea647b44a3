"""Arrays: NumPy on a CPU, CuPy on a GPU, decided from the array itself and never from ambient state.

This is the only file that imports CuPy, and only once an array of it turns up or a GPU is asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, wraps
from importlib import import_module
from threading import RLock
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

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


Several = TypeVar("Several", bound="Array | tuple[Array, ...]")


def one_kernel(inputs: str, outputs: str, operation: str) -> Callable[[Callable[..., Several]], Callable[..., Several]]:
    """Give a NumPy function, which goes over its arrays several times, the same as one kernel on a GPU.

    The texts are those of `cupy.ElementwiseKernel`: what goes in, what comes out, and what is done for each element, in
    C. A scalar that is T has the type of the arrays. Arrays broadcast; the function's first argument is one.
    """

    def decorate(function: Callable[..., Several]) -> Callable[..., Several]:
        @wraps(function)
        def call(first: Array, *rest: Array | float) -> Several:
            if isinstance(first, np.ndarray):
                return function(first, *rest)
            result: Several = _elementwise(cupy(), inputs, outputs, operation, function.__name__)(first, *rest)
            return result

        return call

    return decorate


@cache
def _elementwise(xp: Any, inputs: str, outputs: str, operation: str, name: str) -> Callable[..., Any]:
    kernel: Callable[..., Any] = xp.ElementwiseKernel(inputs, outputs, operation, name)
    return kernel


@cache
def _sum_of_products(xp: Any) -> Callable[..., Any]:
    kernel: Callable[..., Any] = xp.ReductionKernel("T u, T v", "T y", "u * v", "a + b", "y = a", "0", "column_dots")
    return kernel


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


def total(grads: list[Params]) -> Params:
    """The sum of gradients of the same parameters, in their order."""
    first, *more = grads
    for part in more:
        first = {name: g + part[name] for name, g in first.items()}
    return first


def column_sums(x: Array) -> Array:
    """Sum of `x` over every axis but the last: shape (..., C) -> (C,), same dtype.

    A product with a row of ones, because BLAS adds rows several times faster than `x.sum(axis=0)` when C is small.
    """
    rows, width = widened(x)
    sums = xp_of(x).ones(len(rows), dtype=x.dtype) @ rows  # (W*C,)
    totals: Array = sums.reshape(width, -1).sum(axis=0)
    return totals


def column_dots(x: Array, y: Array) -> Array:
    """Sum of x * y over every axis but the last: shapes (..., C) -> (C,)."""
    if on_host(x):
        return column_sums(x * y)
    (u, width), (v, _) = widened(x), widened(y)
    dots: Array = _sum_of_products(cupy())(u, v, axis=0).reshape(width, -1).sum(axis=0)
    return dots


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


def quiet_arithmetic() -> np.errstate:
    """No floating-point error is a warning or an exception, whatever the caller has asked of NumPy: overflow shows as
    a loss that is not finite and ends the run, and underflow is rounding.

    Holds for the thread that enters it.
    """
    return np.errstate(all="ignore")


M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""glibc's names of what `mallopt` sets."""


@cache
def keep_freed_memory() -> None:
    """Ask the C library to keep the memory of large arrays for the next ones, in one pool for all threads.

    By itself it returns such memory to the system at once and gets it anew page by page, which takes a third as long
    as a convolutional network's iteration. Does nothing where the C library is another than glibc.
    """
    from ctypes import CDLL  # slow to import, so only when training starts

    try:
        mallopt = CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    for parameter, value in ((M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, 2**31 - 1), (M_ARENA_MAX, 1)):
        mallopt(parameter, value)


def _blas_pools() -> "ThreadpoolController":
    """Of the libraries that are loaded now: others may come later."""
    from threadpoolctl import ThreadpoolController  # slow to import, so only when training starts

    return ThreadpoolController().select(user_api="blas")


@contextmanager
def _in_control_of_blas() -> Iterator[None]:
    """For the block, what this thread asks of OpenBLAS is done: threadpoolctl passes over all threads but the first."""
    from threadpoolctl import OpenBLASController

    OpenBLASController.clear_controlling_thread(force=True)
    try:
        yield
    finally:
        OpenBLASController.clear_controlling_thread(force=True)


class _OneBlasThread:
    """How many threads BLAS has is a state of the process: the first holder to come limits them, the last gives back.

    Reentrant, since a holder that was left alone (a generator, say) goes whenever it is collected.
    """

    def __init__(self) -> None:
        self._lock, self._holders = RLock(), 0
        self._limit: Any = None  # which alone says whether there is one: whoever is interrupted here leaves that true

    def take(self) -> None:
        with self._lock:
            self._holders += 1
            if self._limit is None:
                with _in_control_of_blas():
                    self._limit = _blas_pools().limit(limits=1)

    def leave(self) -> None:
        with self._lock:
            self._holders = max(0, self._holders - 1)
            if self._holders == 0 and self._limit is not None:
                with _in_control_of_blas():
                    self._limit.restore_original_limits()
                self._limit = None


_ONE_BLAS_THREAD = _OneBlasThread()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread: K workers then use K cores, and results do not depend on how BLAS splits a product.

    Holds for the process, until all who hold it at the same time have left.
    """
    try:
        _ONE_BLAS_THREAD.take()
        yield
    finally:
        _ONE_BLAS_THREAD.leave()


@contextmanager
def computing() -> Iterator[None]:
    """What layers compute in: `one_blas_thread`, and in this thread `quiet_arithmetic`."""
    with one_blas_thread(), quiet_arithmetic():
        yield
