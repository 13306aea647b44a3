"""Ctrl-C and SIGTERM: the first ends a run between two iterations, the second at once."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol


class Interrupted(Exception):  # noqa: N818 - not an error
    """The user asked to stop; nothing is lost."""


class Stoppable(Protocol):
    """Work that ends after the iteration at hand once this is set."""

    stop_requested: bool


@contextmanager
def stop_between_iterations(work: Stoppable, then: str) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) ends training after the iteration at hand, the second ends it at once.

    `then` says what is left after the second one. It raises Interrupted.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        work.stop_requested = asked = True

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped at once; {then}") from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
