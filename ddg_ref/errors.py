"""The errors a caller may meet. Each message is one line: what was expected, what came, what to do."""

from collections.abc import Iterable


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


class DivergenceError(ArithmeticError):
    """The training loss became NaN or infinite."""


class StallError(RuntimeError):
    """The workers have stopped moving."""


class WorkerError(RuntimeError):
    """A worker failed; the original exception is chained as `__cause__`."""


def choose(kind: str, name: object, valid: Iterable[str]) -> str:
    """Return `name` if it is one of `valid`, else raise an InputError that lists them."""
    names = list(valid)
    if not isinstance(name, str) or name not in names:
        raise InputError(f"unknown {kind} {name!r}: choose one of {', '.join(names)}")
    return name


def reason(error: BaseException) -> str:
    """What went wrong, on one line."""
    text = getattr(error, "strerror", None) or str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0]
