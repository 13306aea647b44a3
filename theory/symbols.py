"""What each symbol of a formula may be, and a decorator that refuses the rest."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import wraps
from inspect import signature
from numbers import Real
from typing import Any, ParamSpec, TypeVar

import numpy as np

from theory.checks import NotFiniteError, finite, integer, nonnegative, positive, shown

P = ParamSpec("P")
R = TypeVar("R")


def steps(name: str, gammas: object) -> None:
    """A vector of finite step sizes > 0, of floats or exact numbers, else ValueError."""
    if not isinstance(gammas, np.ndarray) or gammas.ndim != 1 or not _numbers(gammas):
        raise ValueError(
            f"{name}: expected an array of step sizes, got {shown(gammas)}; make one with steps.step_sizes"
        )
    if not (finite(name, gammas) > 0).all():
        raise ValueError(f"{name}: expected steps > 0, got one of {gammas.min()}; pass positive steps")


def _numbers(values: np.ndarray[Any, Any]) -> bool:
    exact = values.dtype == object and all(isinstance(value, Real | Decimal) for value in values)
    return exact or values.dtype.kind in "fiu"


def matrix(name: str, value: Any, *, size: int | None = None) -> None:
    """A matrix of finite floats, symmetric up to rounding; with `size`, of that many rows; else ValueError."""
    fine = isinstance(value, np.ndarray) and value.dtype.kind in "fiu" and value.ndim == 2 and value.size > 0
    if fine and value.shape == (size or len(value),) * 2:
        finite(name, value)
        if np.abs(value - value.T).max() <= 1e-12 * np.abs(value).max():
            return
    raise ValueError(f"{name}: expected a symmetric matrix, got {shown(value)}; check how it was made")


def blocks(name: str, value: object, size: int) -> None:
    """Slices that follow each other from 0 to `size`, else ValueError."""
    slices = value if isinstance(value, tuple) and all(isinstance(block, slice) for block in value) else ()
    edges = [0, *(block.stop for block in slices)]
    if not slices or edges[-1] != size or any(b.start != edge for b, edge in zip(slices, edges, strict=False)):
        raise ValueError(f"{name}: expected slices from 0 to {size}, got {shown(value)}; make them with problems.split")


def squares(name: str, values: object) -> None:
    """One or more finite numbers >= 0, else ValueError."""
    for value in np.ravel(np.asarray(values)):
        nonnegative(name, value)


def momentum(name: str, beta: object) -> None:
    """A number in [0, 1), else ValueError."""
    if nonnegative(name, beta) >= 1:
        raise ValueError(f"{name}: expected a number in [0, 1), got {shown(beta)}; 0.9 is usual")


def flag(name: str, value: object) -> None:
    """True or False, else ValueError."""
    if not isinstance(value, bool):
        raise ValueError(f"{name}: expected True or False, got {shown(value)}; say which")


RANGES: dict[str, Callable[[str, Any], object]] = {
    "K": lambda name, value: integer(name, value, 1),
    "T": lambda name, value: integer(name, value, 1),
    "t": lambda name, value: integer(name, value, 0),
    **dict.fromkeys(("gamma", "L", "sigma"), positive),
    **dict.fromkeys(("A", "M", "nu2", "gamma_L"), nonnegative),
    "gammas": steps,
    "grad2": squares,
    **dict.fromkeys(("n", "d"), lambda name, value: integer(name, value, 1)),
    **dict.fromkeys(("beta", "beta1", "beta2"), momentum),
    "nesterov": flag,
    **dict.fromkeys(("eta", "eps"), positive),
    **dict.fromkeys(("decay", "w02", "G"), nonnegative),
    **dict.fromkeys(("etas", "sums"), steps),
    "warm_up": lambda name, value: integer(name, value, 0),
}
"""By the name of the parameter; each raises ValueError."""


def checked(formula: Callable[P, R]) -> Callable[P, R]:
    """The formula, which raises ValueError for a symbol outside its range, and for a value that no float can hold."""
    parameters = signature(formula)
    unknown = parameters.parameters.keys() - RANGES
    assert not unknown, f"{formula.__name__}: no range for {unknown}"

    @wraps(formula)
    def refusing(*args: P.args, **kwargs: P.kwargs) -> R:
        for name, value in parameters.bind(*args, **kwargs).arguments.items():
            RANGES[name](name, value)
        try:
            with np.errstate(all="ignore"):
                result = formula(*args, **kwargs)
            finite(formula.__name__, np.asarray(result))
        except (ArithmeticError, NotFiniteError) as error:
            raise NotFiniteError(
                f"{formula.__name__}: expected symbols for which it is a float, got others ({error}); rescale them"
            ) from error
        return result

    return refusing
