"""A GPU: modules that compute on it, each in a stream of its own, and arrays on their way between streams.

On a GPU a call returns when its work has been queued, not when it is done. What is queued in one stream is done in
order; between streams only events say what comes first. So an array that one module gives to another travels with an
event, and the receiver's stream, not its thread, waits for it:

    sender                                      receiver
    y = ...                                     message = (from a channel)
    message = device.hand_over(y)  ---------->  x = device.receive(message)
                                                ... = x ...

The receiver copies, also on the same GPU: the memory of y goes back to the sender's stream as soon as nobody refers to
it, and that stream may write to it again at once. Before that it must wait until the receiver has read it; that is why
the sender keeps what it has handed over until it has told its stream to wait for the receiver's copy.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from os import environ
from threading import Lock
from typing import Any

import ddg_ref.gpu.kernels  # noqa: F401 - gives the formulas their kernels
from ddg_ref.arrays import Array, cupy, gpu_of, on_host, to_host
from ddg_ref.device import Device, Handed, Message, content
from ddg_ref.errors import InputError, reason


class Queued(Handed):
    """An array of a GPU on its way to another module.

    `ready` is the event after which it may be read. The receiver sets `taken`, the event after which it has been.
    """

    def __init__(self, array: Array, ready: Any) -> None:
        self.array, self.ready = array, ready
        self.taken: Any = None

    def fetched(self, kept: dict[int, Any]) -> Array:
        """A copy, made by a stream that nothing else waits in; this thread waits for it, since NumPy cannot.

        `kept` holds the receiver's streams, by the number of the GPU.
        """
        cuda, index = cupy().cuda, gpu_of(self.array)
        with cuda.Device(index):
            if index not in kept:
                kept[index] = cuda.Stream(non_blocking=True)
            stream = kept[index]
            with stream:
                stream.wait_event(self.ready)
                x = to_host(self.array)
                self.taken = stream.record(cuda.Event(disable_timing=True))
        return x


LAUNCHING = Lock()
"""Whoever launches kernels has it: threads that launch at once take the interpreter's lock from each other at every one
of them, and all come out later. Nobody waits for anything else while he has it."""

LEAD = 16
"""Iterations that a worker may have asked for and that are not done: what they have allocated is not free before."""


class Cuda(Device):
    """The GPU of that number. Raises InputError, one line, if there is none."""

    def __init__(self, index: int) -> None:
        self.index, self.name = index, f"cuda:{index}"
        check_gpu(index)
        with cupy().cuda.Device(index):
            self._stream = cupy().cuda.Stream(non_blocking=True)
        self._given: deque[Queued] = deque()
        self._ends: deque[Any] = deque()  # of the last iterations, as events

    @contextmanager
    def opened(self) -> Iterator[None]:
        with cupy().cuda.Device(self.index):
            with self.selected():
                try:
                    yield
                finally:
                    self._stream.synchronize()
            self._given.clear()
            self._ends.clear()

    @contextmanager
    def selected(self) -> Iterator[None]:
        # A new object each time: threads that share one get each other's device back.
        with cupy().cuda.Device(self.index), self._stream:
            yield

    def launching(self) -> AbstractContextManager[Any]:
        return LAUNCHING

    def keep_pace(self) -> None:
        self._ends.append(self._record())
        if len(self._ends) > LEAD:
            self._ends.popleft().synchronize()

    def give_back(self) -> None:
        with cupy().cuda.Device(self.index):
            cupy().get_default_memory_pool().free_all_blocks()
        cupy().get_default_pinned_memory_pool().free_all_blocks()

    def place(self, x: Array) -> Array:
        if on_host(x):  # through pinned memory, which CuPy keeps until the copy is done
            placed: Array = cupy().asarray(x)
            return placed
        return x if gpu_of(x) == self.index else self._copy(x)

    def hand_over(self, x: Array) -> Queued:
        while self._given and (taken := self._given[0].taken) is not None:
            self._stream.wait_event(taken)
            self._given.popleft()
        handed = Queued(cupy().ascontiguousarray(x), self._record())
        self._given.append(handed)
        return handed

    def receive(self, message: Message) -> Array:
        if not isinstance(message, Queued):
            x = content(message)
            return self.place(x) if on_host(x) else self._copy(x)
        self._stream.wait_event(message.ready)
        x = self._copy(message.array)
        message.taken = self._record()
        return x

    def _copy(self, x: Array) -> Array:
        """A copy of a C-contiguous array of any GPU, directly where the hardware can do that."""
        assert x.flags.c_contiguous  # bytes are copied, whatever they mean
        copy: Any = cupy().empty(x.shape, x.dtype)
        copy.data.copy_from_device_async(x.data, x.nbytes)
        placed: Array = copy
        return placed

    def _record(self) -> Any:
        return self._stream.record(cupy().cuda.Event(disable_timing=True))


INSTALL = "pip install 'cupy-cuda12x[ctk]' (with a driver for CUDA 13 'cupy-cuda13x[ctk]'), or use cpu"


WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""cuBLAS reads it when a thread first multiplies. Without it products on several streams may differ from run to run:
docs.nvidia.com/cuda/cublas, "Results reproducibility"."""


def check_gpu(index: int) -> None:
    """Raise InputError, which says what is missing and what to do, unless the GPU of that number can compute."""
    name = f"device cuda:{index}"
    environ.setdefault(WORKSPACE, ":4096:8")
    try:
        runtime = cupy().cuda.runtime
    except ImportError as error:
        raise InputError(f"{name}: CuPy is not installed ({error.name or error}); {INSTALL}") from None
    try:
        count = runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise InputError(f"{name}: no GPU can be used ({reason(error)}); install NVIDIA's driver, or use cpu") from None
    if index >= count:
        raise InputError(f"{name}: expected a number below {count}, the number of GPUs here; choose another")
    _check_libraries(cupy(), index)


@cache
def _check_libraries(xp: Any, index: int) -> None:
    """Raise InputError unless what CuPy loads on first use is there: the compiler of kernels, and matrix products."""
    with xp.cuda.Device(index):
        uses: dict[str, Callable[[], Any]] = {
            "its memory": lambda: xp.zeros((2, 2), "float32"),
            "NVRTC": lambda: xp.ElementwiseKernel("T x", "T y", "y = x + 1", "probe")(xp.zeros((2, 2), "float32")),
            "cuBLAS": lambda: xp.matmul(xp.zeros((2, 2), "float32"), xp.zeros((2, 2), "float32")),
        }
        for library, use in uses.items():
            try:
                use()
            except Exception as error:  # of whatever kind: CuPy has many, and each means that nothing can be computed
                raise InputError(
                    f"device cuda:{index}: {library} cannot be used ({reason(error)}); {INSTALL}"
                ) from None
