"""The errors a caller may meet. Each message is one line: what was expected, what came, what to do."""

import reprlib
from collections.abc import Iterable
from math import inf, isfinite, nan
from numbers import Real
from operator import index
from typing import Any

import numpy as np


class InputError(ValueError):
    """Something given by the caller cannot be used."""


class CheckpointError(InputError):
    """A checkpoint does not belong to this run, or cannot be read or written."""


class DamagedError(CheckpointError):
    """A checkpoint is not as it was written: it is of no more use."""


class WriteError(RuntimeError):
    """A file cannot be written; what was there before is there still."""


class LaunchError(InputError):
    """There are not as many MPI ranks as modules. `outside`: there is no MPI launch at all."""

    def __init__(self, message: str, modules: int, *, outside: bool = False) -> None:
        super().__init__(message)
        self.modules, self.outside = modules, outside


class ScheduleError(InputError):
    """Workers cannot follow this schedule to its end."""


class AgreementError(InputError):
    """The ranks of an MPI launch have not been given the same."""


class DivergenceError(ArithmeticError):
    """The training loss became NaN or infinite."""


class StallError(RuntimeError):
    """The workers have stopped moving."""


class WorkerError(RuntimeError):
    """A worker failed; the original exception is chained as `__cause__`."""


def shown(value: object) -> str:
    """`value` as a message shows it: on one line, cut short."""
    return " ".join(reprlib.repr(value).split())


def choose(kind: str, name: object, valid: Iterable[str]) -> str:
    """Return `name` if it is one of `valid`, else raise an InputError that lists them."""
    names = list(valid)
    if not isinstance(name, str) or name not in names:
        raise InputError(f"unknown {kind} {shown(name)}: choose one of {', '.join(names)}")
    return name


def reason(error: BaseException) -> str:
    """What went wrong, on one line."""
    text = getattr(error, "strerror", None) or str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0]


def whole(name: str, value: Any, least: int | None = None) -> int:
    """`value` as a Python int, whatever its type: arithmetic of NumPy's whole numbers overflows.

    Raises InputError unless it is a whole number, truth values being none, and `least` or more.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = index(value)
    except TypeError:
        raise InputError(f"{name}: expected a whole number, got {shown(value)}; give one") from None
    if least is not None and number < least:
        raise InputError(f"{name}: expected a whole number >= {least}, got {number}; choose a larger one")
    return number


def real(name: str, value: Any, least: float | None = None) -> float:
    """`value` as a Python float: NumPy's float64 would widen float32 arrays.

    Raises InputError unless it is finite, and `least` or more.
    """
    try:
        number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else nan
    except OverflowError:
        number = inf
    if not isfinite(number):
        raise InputError(f"{name}: expected a finite number, got {shown(value)}; give one")
    if least is not None and number < least:
        raise InputError(f"{name}: expected a finite number >= {least}, got {number}; choose a larger one")
    return number


def switch(name: str, value: Any) -> bool:
    """`value` as a Python bool. Raises InputError if it is no truth value."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(f"{name}: expected True or False, got {shown(value)}; choose one")
    return bool(value)
