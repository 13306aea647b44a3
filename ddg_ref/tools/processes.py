"""Work in several processes, watched by the one that asked for it: Ctrl-C, how far it has come, and processes that die.

Ctrl-C reaches every process of a terminal. Those that work here never see it, from their first moment on: the one that
watches decides, and tells them to stop.
"""

import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

from ddg_ref.errors import WorkerError

POLL = 0.2
"""Seconds between two looks at what the processes are doing."""

Result = TypeVar("Result")

_stop: Any = None
_done: Any = None


def stop_requested() -> bool:
    """In one of the processes: whether to end soon, and to hand in what there is."""
    return _stop is not None and _stop.is_set()


def advance(amount: float) -> None:
    """In one of the processes: so much more is done."""
    with _done.get_lock():
        _done.value += amount


def carry_out(
    function: Callable[..., Result],
    calls: Iterable[tuple[Any, ...]],
    processes: int,
    *,
    take: Callable[[Result], None],
    watch: Callable[[float], bool],
    killed: str,
) -> None:
    """Call `function` with the arguments of each of the calls, in so many processes; `take` the results as they come.

    Calls are drawn as processes become free. `watch` is told several times a second the sum of what the processes have
    reported by `advance`. Once it says that all is to stop, no more calls begin, `stop_requested` says so to those that
    run, and their results are taken as well. Raises what a call raises first, and WorkerError with the message
    `killed` if a process is killed, after all results that are handed in have been taken.
    """
    context = get_context("spawn")  # a forked process would share the locks of threads that it does not have
    stop, done, drawn = context.Event(), context.Value("d", 0.0), iter(calls)
    pending: set[Future[Result]] = set()
    broken: BrokenProcessPool | None = None
    failed: BaseException | None = None
    with ProcessPoolExecutor(processes, context, initializer=_begin, initargs=(stop, done)) as pool:
        try:
            while True:
                if watch(done.value) or failed:
                    stop.set()
                    pending = {future for future in pending if not future.cancel()}
                try:
                    for call in () if stop.is_set() or broken else islice(drawn, 2 * processes - len(pending)):
                        with _unseen_interrupts():
                            pending.add(pool.submit(function, *call))
                except BrokenProcessPool as error:
                    broken = error
                if not pending:
                    break
                finished, pending = wait(pending, POLL, FIRST_COMPLETED)
                for future in finished:
                    failure = future.exception()
                    if isinstance(failure, BrokenProcessPool):
                        broken = failure
                    elif failure is not None:
                        failed = failed or failure
                    else:
                        take(future.result())
        finally:
            stop.set()
            for future in pending:
                future.cancel()
    if failed is not None:
        raise failed
    if broken is not None:
        raise WorkerError(killed) from broken


def _begin(stop: Any, done: Any) -> None:
    """The first thing that a process does, having been started with interrupts blocked."""
    global _stop, _done
    _stop, _done = stop, done
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _unseen_interrupts() -> Iterator[None]:
    """Whatever process is started in the block never sees Ctrl-C; this one sees it after the block."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
