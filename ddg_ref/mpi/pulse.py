"""Signs of life: what each rank lets all others know, ten times a second, from a thread of its own.

Waiting alone does not tell a rank that computes for long from one that has died. So every rank says what it is at: it
moves on (within a call of the engine: it has begun a new phase since it said so last), it does work of its own, or it
waits. One that hangs in a phase says nothing, nor does one whose process is stopped or whose host cannot be reached. A
rank that leaves says so, and why; that is the last thing it says.

Time is counted in beats of this rank's own thread and not by the clock: if the whole machine is suspended, or a rank
itself is stopped for a while, that is nobody else's silence.
"""

from math import ceil
from threading import Event, Thread
from typing import NamedTuple

from mpi4py import MPI

from ddg_ref.errors import InputError
from ddg_ref.task import Task
from ddg_ref.timeline import Activity

BEAT_SECONDS = 0.1
GRACE = 3
"""Beats by which a sign of life may be late."""
LONGEST_GOODBYE = 1000
"""Bytes of what a rank says when it leaves."""

MOVES, OWN_WORK, WAITS, LEAVES = b"M", b"O", b"W", b"L"
STOP = b"!"
"""Added by a rank that was asked to end the call."""


class Goodbye(NamedTuple):
    """What a rank says when it leaves the program."""

    code: int
    why: str


class Pulse(Thread):
    """This rank's signs of life and what it hears of the others'.

    `limit` is the number of beats after which silence is a stall, None for never. Raises InputError if the MPI library
    allows one thread alone.
    """

    def __init__(self, communicator: MPI.Intracomm) -> None:
        super().__init__(name="ddg-pulse", daemon=True)
        if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
            raise InputError(
                "engine mpi: expected an MPI library with MPI_THREAD_MULTIPLE, got thread level "
                f"{MPI.Query_thread()}; ask for it, or use engine threads"
            )
        self._communicator = communicator
        self._others = [rank for rank in range(communicator.size) if rank != communicator.rank]
        self._sent: dict[int, list[MPI.Request]] = {rank: [] for rank in self._others}
        self._heard, self._moved = dict.fromkeys(self._others, 0), dict.fromkeys(self._others, 0)
        self._activity: Activity | None = None
        self._task: Task | None = None
        self._said_since, self._calls, self._waits = 0.0, 0, False
        self._goodbye: bytes | None = None
        self._over = Event()
        self.beats = 0
        self.limit: int | None = None
        self.gone: dict[int, Goodbye] = {}
        """The ranks that have left the program."""

    def allow(self, seconds: float | None) -> None:
        """From now on silence for so long is a stall."""
        self.limit = None if seconds is None else ceil(seconds / BEAT_SECONDS) + GRACE

    def enter(self, activity: Activity, task: Task) -> None:
        """A call of the engine begins: this rank moves as far as `activity` does, until `come_out`."""
        self._calls, self._task, self._activity = self._calls + 1, task, activity

    def come_out(self) -> None:
        """The rank has come out of the loop."""
        self._activity = None

    def wait(self, waits: bool) -> bool:
        """Whether this rank waits for the others; returns what was said before."""
        before, self._waits = self._waits, waits
        return before

    def silent(self, since: int) -> list[int]:
        """The ranks that have given no sign of life since that beat, or one long before, if that is a stall."""
        return [rank for rank in self._others if self._quiet_since(max(since, self._heard[rank]))]

    def stuck(self, since: int) -> bool:
        """Whether it is a stall that this rank has waited since that beat: nobody else has moved either."""
        return self._quiet_since(since) and all(map(self._quiet_since, self._moved.values()))

    def _quiet_since(self, beat: int) -> bool:
        return self.limit is not None and self.beats - beat > self.limit

    def leave(self, code: int, why: str) -> None:
        """Say goodbye: with which exit code, and why, if there is anything to say."""
        self._goodbye = LEAVES + b"%d " % code + why.encode()[:LONGEST_GOODBYE]

    def close(self) -> None:
        """All have said goodbye: once this rank has said its own, no more is said."""
        self._over.set()
        self.join()
        for requests in self._sent.values():
            MPI.Request.Waitall(requests)

    def run(self) -> None:
        over = False
        while not over:
            over = self._over.wait(BEAT_SECONDS)
            self.beats += 1
            self._listen()
            if self._goodbye is None:
                self._say(self._sign())
            elif self._goodbye:
                self._say(self._goodbye, always=True)
                self._goodbye = b""

    def _sign(self) -> bytes:
        """What there is to say; nothing if this rank should move and does not."""
        activity, task = self._activity, self._task
        if activity is None:
            sign = WAITS if self._waits else OWN_WORK
        else:
            since = activity.since
            sign, self._said_since = MOVES if since != self._said_since else b"", since
        return sign + STOP + b"%d" % self._calls if task is not None and task.stop_requested else sign

    def _say(self, text: bytes, always: bool = False) -> None:
        for rank, requests in self._sent.items():
            requests[:] = [request for request in requests if not request.Test()]
            if text and (always or not requests):
                requests.append(self._communicator.Isend([text, MPI.BYTE], rank))

    def _listen(self) -> None:
        status = MPI.Status()
        while self._communicator.Iprobe(status=status):
            text = bytearray(status.Get_count(MPI.BYTE))
            self._communicator.Recv([text, MPI.BYTE], status.source)
            self._hear(status.source, bytes(text))

    def _hear(self, rank: int, text: bytes) -> None:
        if text.startswith(LEAVES):
            code, _, why = text[len(LEAVES) :].partition(b" ")
            self.gone[rank] = Goodbye(int(code), " ".join(why.decode(errors="replace").split()))
            return
        sign, stop, calls = text.partition(STOP)
        if sign:
            self._heard[rank] = self.beats
        if sign in (MOVES, OWN_WORK):
            self._moved[rank] = self.beats
        if stop and self._task is not None and int(calls) == self._calls:
            self._task.stop_requested = True
