"""Losses: the value, averaged over the batch, and the error gradient that starts the backward pass."""

from collections.abc import Callable
from typing import TypeAlias

from ddg_ref.arrays import Array, xp_of

Loss: TypeAlias = Callable[[Array, Array], tuple[Array, Array]]
"""(y, labels) -> (loss, dy): y (N, C), labels (N,) integers in [0, C), loss a scalar, dy = d loss/d y (N, C)."""


def one_hot(labels: Array, like: Array) -> Array:
    """Rows of the identity: labels (N,) -> (N, C), with the shape and dtype of `like`."""
    encoded: Array = xp_of(like).zeros_like(like)
    encoded[xp_of(like).arange(len(labels)), labels] = 1
    return encoded


def softmax_cross_entropy(y: Array, labels: Array) -> tuple[Array, Array]:
    """-log of the probability given to the right class, p = softmax(y): dy = (p - one_hot) / N."""
    xp = xp_of(y)
    shifted = y - y.max(axis=1, keepdims=True)  # softmax does not change; exp cannot overflow
    exponentials = xp.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)  # (N, 1)
    target = one_hot(labels, y)
    loss = (xp.log(totals[:, 0]) - (shifted * target).sum(axis=1)).mean()
    return loss, (exponentials / totals - target) / len(y)


def mean_squared_error(y: Array, target: Array) -> tuple[Array, Array]:
    """Mean over all entries of (y - target)^2, both (N, C): dy = 2 (y - target) / (N C)."""
    difference = y - target
    return (difference * difference).mean(), difference * (2 / difference.size)


def squared_error(y: Array, labels: Array) -> tuple[Array, Array]:
    """Mean squared error of y against the one-hot labels."""
    return mean_squared_error(y, one_hot(labels, y))


LOSSES: dict[str, Loss] = {"cross-entropy": softmax_cross_entropy, "squared-error": squared_error}
