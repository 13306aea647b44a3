"""What a layer is: configuration and pure functions. It owns no arrays and remembers nothing between calls.

Several batches are in flight at once under delayed gradients, so what `backward` needs is a *value*, the cache,
that the caller keeps; and the weights a backward pass uses are visible at the call.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ddg_ref.arrays import Array, Params, Shape
from ddg_ref.errors import InputError

Cache: TypeAlias = Any
"""Whatever a layer's forward hands to its backward; only that layer looks inside."""

Kept: TypeAlias = Any
"""Whatever the first half of a layer's backward pass hands to the second; only that layer looks inside."""


class Layer(ABC):
    """A differentiable function y = f(params, x) on batches; axis 0 of x and y counts samples.

    The vector-Jacobian contract: if `y, cache = forward(params, x)` and `dy` is the gradient of a scalar with respect
    to y, then `dx, grads = backward(params, cache, dy)` are its gradients with respect to x and to each array of
    `params`. Neither writes into its arguments. An `input_shape` is the shape of one sample, without the batch axis.
    """

    def parameter_shapes(self) -> dict[str, Shape]:
        """Name and shape of each parameter."""
        return {}

    def stats_shapes(self) -> dict[str, Shape]:
        """Name and shape of each running statistic."""
        return {}

    def init(self, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> Params:
        """Fresh parameters of the given dtype, drawn from `rng` and from nothing else."""
        return {}

    def init_stats(self, dtype: npt.DTypeLike = np.float32) -> Params:
        """Running statistics before the first batch."""
        return {}

    def steps(self) -> list[tuple[str, Layer]]:
        """The layers in here between which a network may be cut, each with what its arrays' names begin with."""
        return [("", self)]

    def part(self, start: int, stop: int) -> Layer:
        """Those of the steps start, ..., stop-1 as one layer, whose arrays keep their names."""
        return self

    @abstractmethod
    def output_shape(self, input_shape: Shape) -> Shape:
        """Shape of one output sample. Raises InputError if `input_shape` does not fit the layer."""

    def fewest_samples(self, input_shape: Shape) -> int:
        """How many samples a batch must have at least for the layer to be trained on it."""
        return 1

    @abstractmethod
    def forward(self, params: Params, x: Array) -> tuple[Array, Cache]:
        """Output for the batch `x`, as in training, and what backward will need."""

    @abstractmethod
    def backward(self, params: Params, cache: Cache, dy: Array) -> tuple[Array, Params]:
        """Input gradient, and parameter gradients with the keys, shapes and dtype of `params`."""

    def gradients(self, params: Params, cache: Cache, dy: Array) -> Params:
        """The parameter gradients of `backward`, without the input gradient: for the first layer nobody wants it."""
        return self.backward(params, cache, dy)[1]

    # A backward pass in two halves: others wait for the first one, nobody for the second (Qi, Wan, Huang, Lin, *Zero
    # Bubble Pipeline Parallelism*, ICLR 2024). A layer whose parameter gradients come with the input gradient, or which
    # has none, is done with them in the first half.
    def input_gradient(self, params: Params, cache: Cache, dy: Array) -> tuple[Array, Kept]:
        """The input gradient of `backward`, bit for bit, and what `weight_gradients` will need, at any later time."""
        return self.backward(params, cache, dy)

    def weight_gradients(self, params: Params, kept: Kept) -> Params:
        """The parameter gradients of `backward`, bit for bit, from what `input_gradient` kept at the same `params`."""
        grads: Params = kept
        return grads

    def infer(self, params: Params, stats: Params, x: Array) -> Array:
        """Output for the batch `x`, as in evaluation: no cache, running statistics in place of the batch's."""
        return self.forward(params, x)[0]

    def advance(self, stats: Params, cache: Cache) -> Params:
        """Running statistics after the batch that gave `cache`; a new value, counted once per call."""
        return stats

    def expect(self, x: Array, sample: tuple[int | None, ...]) -> None:
        """Raise InputError unless `x` is a batch of samples of this shape (None: any size)."""
        fits = x.ndim == len(sample) + 1 and all(
            want in (None, have) for want, have in zip(sample, x.shape[1:], strict=True)
        )
        if not fits:
            wanted = ", ".join(["batch", *("any" if size is None else str(size) for size in sample)])
            raise InputError(
                f"{self}: expected input of shape ({wanted}), got {x.shape}; check the model's input shape"
            )

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value}" for name, value in vars(self).items() if not name.startswith("_"))
        return f"{type(self).__name__}({fields})"
