"""Batches as a pure function of (seed, iteration): any worker may ask for any batch, in any order."""

from functools import lru_cache

import numpy as np

from ddg_ref.arrays import Array
from ddg_ref.errors import InputError


class Batches:
    """Batch t of an endless sequence of epochs, each a fresh permutation of the samples.

    An epoch has ceil(N / size) batches; the last one is smaller when size does not divide N, never padded.
    """

    def __init__(self, x: Array, y: Array, size: int, seed: int) -> None:
        if not 1 <= size <= len(x):
            raise InputError(
                f"batch size: expected 1 to {len(x)}, the number of training samples, got {size}; change it"
            )
        self.x, self.y, self.size, self.seed = x, y, size, seed
        self.per_epoch = -(-len(x) // size)
        self._order = lru_cache(maxsize=2)(self._permutation)  # workers may stand on either side of an epoch's end

    def _permutation(self, epoch: int) -> Array:
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.x))
        order.flags.writeable = False  # callers get views of it
        return order

    def indices(self, t: int) -> Array:
        """The samples of batch t: (n,) with n <= size."""
        epoch, place = divmod(t, self.per_epoch)
        return self._order(epoch)[place * self.size : (place + 1) * self.size]

    def __call__(self, t: int) -> tuple[Array, Array]:
        """Batch t: samples (n, ...) and labels (n,)."""
        chosen = self.indices(t)
        return self.x[chosen], self.y[chosen]
