"""What all ranks do together: each call returns once all ranks have made it.

Nothing here blocks within MPI, where a broadcast would keep a core busy and hear nothing. While a rank waits it looks
at the others' signs of life, and gives up on those that have left or fallen silent.
"""

import pickle
from collections.abc import Callable
from math import inf
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from mpi4py import MPI

from ddg_ref.errors import StallError
from ddg_ref.mpi.channel import wait_until
from ddg_ref.mpi.launch import LeftError
from ddg_ref.mpi.pulse import BEAT_SECONDS, Pulse

T = TypeVar("T")

GOODBYE_BEATS = round(1.0 / BEAT_SECONDS)
"""How long a rank that has left may have been the last to come to a meeting."""


class Team:
    """All ranks. Every method raises LeftError if one of them has left the program, and so will never come, and
    StallError if one gives no sign of life any more.
    """

    def __init__(self, communicator: MPI.Intracomm, pulse: Pulse) -> None:
        self._communicator, self._pulse = communicator, pulse

    def exchange(self, value: T, patience: float | None = None) -> list[T] | None:
        """What all ranks give, in their order; None if they have not all come after `patience` seconds."""
        mine = pickle.dumps(value)
        sizes = self._sizes(len(mine), patience)
        if sizes is None:
            return None
        everything = bytearray(int(sizes.sum()))
        self.wait(self._communicator.Iallgatherv([mine, MPI.BYTE], [everything, (sizes, None), MPI.BYTE]))
        ends = np.cumsum(sizes)
        parts = memoryview(everything)
        return [pickle.loads(parts[end - size : end]) for end, size in zip(ends, sizes, strict=True)]

    def together(self, value: T) -> list[T]:
        """What all ranks give, in their order."""
        values = self.exchange(value)
        assert values is not None
        return values

    def collect(self, value: Any, take: Callable[[Any], None]) -> None:
        """On rank 0, `take` what the others give, one after the other."""
        mine = pickle.dumps(value) if self._communicator.rank else b""
        sizes = self._sizes(len(mine), None)
        assert sizes is not None
        if self._communicator.rank:
            self.wait(self._communicator.Isend([mine, MPI.BYTE], 0))
            return
        for rank in range(1, self._communicator.size):
            text = bytearray(int(sizes[rank]))
            self.wait(self._communicator.Irecv([text, MPI.BYTE], rank))
            take(pickle.loads(text))

    def _sizes(self, size: int, patience: float | None) -> "np.ndarray[Any, np.dtype[np.int64]] | None":
        sizes = np.empty(self._communicator.size, np.int64)
        met = self.wait(self._communicator.Iallgather(np.array([size]), sizes), patience=patience)
        return sizes if met else None

    def wait(self, request: MPI.Request, status: MPI.Status | None = None, patience: float | None = None) -> bool:
        """Wait until `request` is complete; False if it is not after `patience` seconds, silent ranks or no."""
        deadline = inf if patience is None else perf_counter() + patience
        begun = self._pulse.beats
        since: dict[int, int] = {}

        def watch(waited: float) -> None:
            for rank, (code, why) in list(self._pulse.gone.items()):
                if self._pulse.beats - since.setdefault(rank, self._pulse.beats) > GOODBYE_BEATS:
                    raise LeftError(f"rank {rank} has left the program{why and ': '}{why}", code)
            silent = self._pulse.silent(begun) if patience is None else []
            if silent:
                raise StallError(f"no sign of life of rank {', '.join(map(str, silent))} for {waited:.1f} s")

        before = self._pulse.wait(True)
        try:
            wait_until(lambda: request.Test(status) or perf_counter() > deadline, watch)
        finally:
            self._pulse.wait(before)
        return request.Test()
