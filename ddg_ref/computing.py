"""What training computes in: no warning of overflow, one BLAS thread, memory that is kept.

All of it is a state of the process or of a thread, none of the arrays.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import RLock
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController


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
