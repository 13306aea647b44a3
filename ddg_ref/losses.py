"""Losses: the value, averaged over the batch, and the error gradient that starts the backward pass."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from ddg_ref.arrays import Array, on_host, xp_of
from ddg_ref.errors import InputError

Loss: TypeAlias = Callable[[Array, Array], tuple[Array, Array]]
"""(y, labels) -> (loss, dy): y (N, C), labels (N,) integers in [0, C), loss a scalar, dy = d loss/d y (N, C).

Raises InputError for other shapes and types, since arrays that broadcast give a number all the same.
"""


def check_plain(name: str, x: Array) -> None:
    """Raise InputError unless x is an array, and of no kind that computes in another way, as matrices do."""
    if not hasattr(x, "dtype") or (isinstance(x, np.ndarray) and type(x) is not np.ndarray):
        raise InputError(f"{name}: expected an array, got {type(x).__name__}; convert it with numpy.asarray")


def check_labels(y: Array, labels: Array) -> None:
    """Raise InputError unless y is (N, C) and labels are N whole numbers in [0, C).

    On a GPU labels are not looked at: the host would wait for them. A Dataset has checked them before they went there.
    """
    check_plain("outputs", y)
    check_plain("labels", labels)
    if not (y.ndim == 2 and y.size and y.dtype.kind == "f"):
        raise InputError(
            f"outputs: expected a non-empty array (samples, classes) of floats, got {y.dtype} {y.shape}; "
            "let the network end in one output per class"
        )
    shape = labels.shape
    if shape != y.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(
            f"labels: expected whole numbers of shape ({len(y)},), one per sample, got {labels.dtype} {shape}; "
            "flatten or convert them"
        )
    classes = y.shape[1]
    if on_host(labels) and labels.astype(np.uint64).max() >= classes:  # a negative one becomes very large
        raise InputError(
            f"labels: expected 0 to {classes - 1}, got {next(int(n) for n in labels if not 0 <= n < classes)}; "
            "renumber the classes"
        )


def one_hot(labels: Array, like: Array) -> Array:
    """Rows of the identity: labels (N,) -> (N, C), with the shape and dtype of `like`."""
    check_labels(like, labels)
    encoded: Array = xp_of(like).zeros_like(like)
    encoded[xp_of(like).arange(len(labels)), labels] = 1
    return encoded


def softmax_cross_entropy(y: Array, labels: Array) -> tuple[Array, Array]:
    """-log of the probability given to the right class, p = softmax(y): dy = (p - one_hot) / N."""
    target = one_hot(labels, y)
    xp = xp_of(y)
    shifted = y - y.max(axis=1, keepdims=True)  # softmax does not change; exp cannot overflow
    exponentials = xp.exp(shifted)
    totals = exponentials.sum(axis=1, keepdims=True)  # (N, 1)
    loss = (xp.log(totals[:, 0]) - (shifted * target).sum(axis=1)).mean()
    return loss, (exponentials / totals - target) / len(y)


def mean_squared_error(y: Array, target: Array) -> tuple[Array, Array]:
    """Mean over all entries of (y - target)^2, both (N, C): dy = 2 (y - target) / (N C)."""
    check_plain("outputs", y)
    check_plain("target", target)
    if y.dtype.kind != "f":
        raise InputError(f"outputs: expected floats, got {y.dtype}; convert them")
    if y.shape != target.shape or not y.size:
        raise InputError(
            f"target: expected the shape of the outputs, not empty, got {y.shape} and {target.shape}; reshape one"
        )
    difference = y - target
    return (difference * difference).mean(), difference * (2 / difference.size)


def squared_error(y: Array, labels: Array) -> tuple[Array, Array]:
    """Mean squared error of y against the one-hot labels."""
    return mean_squared_error(y, one_hot(labels, y))


LOSSES: dict[str, Loss] = {"cross-entropy": softmax_cross_entropy, "squared-error": squared_error}
