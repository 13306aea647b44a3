"""Bad input is refused in one line that says what was expected, what came, and what to do."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt


class NotFiniteError(ValueError):
    """NaN or infinite, where only a number means something."""


def shown(value: object) -> str:
    """`value` on one short line."""
    try:
        return f"{' '.join(repr(value).split()):.80}"
    except ValueError:  # an integer of more digits than Python prints
        return f"{type(value).__name__} of many digits"


def integer(name: str, value: object, low: int) -> int:
    """`value` as an int >= `low`; a bool, a float or a string is refused (ValueError)."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"{name}: expected an integer >= {low}, got {shown(value)}; pass a whole number")
    if value < low:
        raise ValueError(f"{name}: expected an integer >= {low}, got {shown(value)}; pass at least {low}")
    return int(value)


def number(name: str, value: object) -> float:
    """`value` as a float, if it is a finite number, else ValueError."""
    return _number(name, value, "", lambda number: True, f"pass a number for {name}")


def positive(name: str, value: object) -> float:
    """`value` as a float, if it is a finite number > 0, else ValueError."""
    return _number(name, value, " > 0", lambda number: number > 0, f"pass a positive {name}")


def nonnegative(name: str, value: object) -> float:
    """`value` as a float, if it is a finite number >= 0, else ValueError."""
    return _number(name, value, " >= 0", lambda number: number >= 0, "check how it was computed")


def _number(name: str, value: object, range_: str, inside: Callable[[float], bool], hint: str) -> float:
    refusal = f"{name}: expected a finite number{range_}, got {shown(value)}; {hint}"
    if not isinstance(value, Real | Decimal) or isinstance(value, bool):
        raise ValueError(refusal)
    try:
        number = float(value)
    except (OverflowError, ValueError):  # beyond every float; a signalling NaN
        number = math.nan
    if not math.isfinite(number):
        raise NotFiniteError(refusal)
    if not inside(number):
        raise ValueError(refusal)
    return number


def finite(name: str, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """`values`, floats or exact numbers, if none of them is NaN or infinite, else NotFiniteError."""
    fine = (values == values) & (np.abs(values) != np.inf)
    if not fine.all():
        at = tuple(int(i) for i in np.argwhere(~np.asarray(fine, dtype=bool))[0])
        raise NotFiniteError(
            f"{name}: expected finite numbers, got {values[at]} at {at} of {values.shape}; check how it was computed"
        )
    return values
