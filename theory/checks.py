"""Bad input is refused in one line that says what was expected, what came, and what to do."""

from __future__ import annotations

import math
from decimal import Decimal
from numbers import Integral, Real


def integer(name: str, value: object, low: int) -> int:
    """`value` as an int >= `low`; a bool, a float or a string is refused (ValueError)."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ValueError(f"{name}: expected an integer >= {low}, got {value!r}; pass a whole number")
    if value < low:
        raise ValueError(f"{name}: expected an integer >= {low}, got {value}; pass at least {low}")
    return int(value)


def positive(name: str, value: float) -> float:
    """`value` if it is a finite number > 0, else ValueError."""
    if not isinstance(value, Real | Decimal) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name}: expected a finite number > 0, got {value!r}; pass a positive {name}")
    return float(value)


def nonnegative(name: str, value: float) -> float:
    """`value` if it is a finite number >= 0, else ValueError."""
    if not isinstance(value, Real | Decimal) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name}: expected a finite number >= 0, got {value!r}; check how it was computed")
    return float(value)
