"""The methods: what module k of K does is read off a row of this table.

At iteration t module k runs forward on batch t and backward on batch t - delay(k, K). `k = 1` is nearest the input.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """One way of training a network that is cut into modules."""

    name: str
    title: str
    delay: Callable[[int, int], int]
    """(k, K) -> how many iterations pass in module k between a batch's forward and its backward pass."""


METHODS = {
    method.name: method
    for method in (
        # The error gradient crosses all modules within the iteration: they run backward one after the other.
        Method("bp", "backpropagation", delay=lambda k, K: 0),
        # Each module goes back on the newest error gradient that has reached it, one iteration older per boundary
        # (Huo, Gu, Yang, Huang, ICML 2018, Algorithm 1), with the weights its forward pass used.
        Method("ddg", "decoupled delayed gradients", delay=lambda k, K: K - k),
    )
}
