"""Batches as a pure function of (seed, iteration): any worker may ask for any batch, in any order."""

from functools import lru_cache

from ddg_ref.arrays import Array
from ddg_ref.data.augment import shift_and_mirror
from ddg_ref.errors import InputError, whole
from ddg_ref.seeds import Purpose, generator


class Batches:
    """Batch t of an endless sequence of epochs, each a fresh permutation of the samples.

    An epoch has ceil(N / size) batches; the last one is smaller when size does not divide N, never padded. With
    `augment` the images of batch t are shifted and mirrored as (seed, t) says, so differently in every epoch. Raises
    InputError for a size that does not fit, and where there are no images (N, H, W, C) to augment.
    """

    def __init__(self, x: Array, y: Array, size: int, seed: int, *, augment: bool = False) -> None:
        size = whole("batch size", size)
        if not 1 <= size <= len(x):
            raise InputError(
                f"batch size: expected 1 to {len(x)}, the number of training samples, got {size}; change it"
            )
        if augment and x.ndim != 4:
            raise InputError(
                f"augment: expected images (height, width, channels), got samples of shape {x.shape[1:]}; leave it out"
            )
        self.x, self.y, self.size, self.seed, self.augment = x, y, size, seed, augment
        self.per_epoch = -(-len(x) // size)
        self._order = lru_cache(maxsize=2)(self._permutation)  # workers may stand on either side of an epoch's end

    def _permutation(self, epoch: int) -> Array:
        order = generator(Purpose.ORDER, self.seed, epoch).permutation(len(self.x))
        order.flags.writeable = False  # callers get views of it
        return order

    def smallest(self, iterations: int) -> int:
        """The number of samples of the smallest among the batches 0, ..., iterations-1."""
        return self.size if iterations < self.per_epoch else len(self.x) - (self.per_epoch - 1) * self.size

    def indices(self, t: int) -> Array:
        """The samples of batch t: (n,) with n <= size."""
        epoch, place = divmod(t, self.per_epoch)
        return self._order(epoch)[place * self.size : (place + 1) * self.size]

    def samples(self, t: int) -> Array:
        """The samples of batch t: (n, ...), new arrays."""
        x = self.x[self.indices(t)]
        return shift_and_mirror(x, generator(Purpose.AUGMENTATION, self.seed, t)) if self.augment else x

    def labels(self, t: int) -> Array:
        """The labels of batch t: (n,)."""
        return self.y[self.indices(t)]

    def __call__(self, t: int) -> tuple[Array, Array]:
        """Batch t: samples (n, ...) and labels (n,)."""
        return self.samples(t), self.labels(t)
