"""A data set: training and test samples with their labels, checked at the door."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ddg_ref.arrays import Array, Shape
from ddg_ref.computing import quiet_arithmetic
from ddg_ref.data.samples import RENUMBER, as_array, check_labels, check_samples
from ddg_ref.errors import InputError, shown, whole
from ddg_ref.seeds import Purpose, generator

TEST_SHARE = 5
"""Every fifth sample, after a shuffle that is always the same, is for testing."""
CLASSES_ALWAYS = 1000
"""So many classes, as ImageNet has, any data set may have; more, only one with as many samples. Every class is an
output of the network, so their number decides what is allocated."""


class Scaling(NamedTuple):
    """How images were scaled, channel by channel: x = (pixel - mean) / std, pixels from 0 to 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Dataset:
    """x (N, ...) floating point, y (N,) whole numbers in [0, classes); `scaling` says how x came about, where it does.

    Images are (N, height, width, channels). Raises InputError for arrays that do not fit each other, that are no plain
    arrays of NumPy's, labels out of range, and NaN or infinite values.
    """

    name: str
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    classes: int
    scaling: Scaling | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise InputError(f"data: expected a name, got {shown(self.name)}; give a text")
        classes = whole(f"data {self.name}, classes", self.classes)
        if classes < 2:
            raise InputError(f"data {self.name}: expected at least 2 classes, got {classes}; check the labels")
        for part in ("train", "test"):
            x, y = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            x, y = check_samples(f"data {self.name}, {part}", x, y, classes)
            object.__setattr__(self, f"x_{part}", x)
            object.__setattr__(self, f"y_{part}", y)
        object.__setattr__(self, "classes", classes)
        most = max(CLASSES_ALWAYS, len(self.x_train) + len(self.x_test))
        if classes > most:
            raise InputError(
                f"data {self.name}: expected at most {most} classes for so many samples, got {classes}; "
                f"renumber them: {RENUMBER}"
            )
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise InputError(
                f"data {self.name}: expected training and test samples of one shape, got {self.x_train.shape[1:]} and "
                f"{self.x_test.shape[1:]}; make them equal"
            )

    @property
    def input_shape(self) -> Shape:
        """Shape of one sample."""
        return self.x_train.shape[1:]

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all samples and labels."""
        from hashlib import sha256  # slow to import, and few runs need it

        digest = sha256()
        for part in (self.x_train, self.y_train, self.x_test, self.y_test):
            digest.update(f"{part.dtype} {part.shape} ".encode())
            digest.update(np.ascontiguousarray(part).data)
        return digest.hexdigest()

    @cached_property
    def largest(self) -> float:
        """The largest number among all samples, but for its sign."""
        return max(max(float(x.max()), -float(x.min())) for x in (self.x_train, self.x_test))

    def astype(self, dtype: npt.DTypeLike) -> "Dataset":
        """The same data with samples of another floating-point type. Raises InputError if that cannot hold them."""
        if self.x_train.dtype == self.x_test.dtype == np.dtype(dtype):
            return self  # all of it has been checked
        try:
            with quiet_arithmetic(), np.errstate(over="raise"):
                x_train, x_test = (x.astype(dtype, copy=False) for x in (self.x_train, self.x_test))
        except FloatingPointError:
            raise InputError(
                f"data {self.name}: expected numbers that {np.dtype(dtype)} holds, got {self.largest:.3g}; scale them"
            ) from None
        return replace(self, x_train=x_train, x_test=x_test)


def divided(name: str, x: Any, y: Any) -> Dataset:
    """Samples x (N, ...) and their labels y (N,), 0, 1, ..., as a data set of that name.

    One sample in five, chosen by a fixed shuffle, becomes the test set. Raises InputError as Dataset does, and for
    labels that reach the number of samples: they count something else.
    """
    wanted = f"data {name}: expected x (samples, ...), at least {TEST_SHARE} samples"
    x = as_array(wanted, x)
    if x.ndim < 2 or len(x) < TEST_SHARE:
        raise InputError(f"{wanted}, got x {x.dtype} {x.shape}; reshape it")
    y = check_labels(f"data {name}", y, len(x))
    classes = max(2, int(y.max()) + 1)
    if classes > len(x):
        raise InputError(
            f"data {name}: expected labels 0, 1, ... below the number of samples, {len(x)}, got {y.max()}; "
            f"renumber the classes: {RENUMBER}"
        )
    x, y = check_samples(f"data {name}", x, y, classes)  # while samples still have the caller's numbers
    order = generator(Purpose.TEST_SPLIT, 0).permutation(len(x))
    test, train = order[::TEST_SHARE], np.delete(order, np.s_[::TEST_SHARE])
    return Dataset(name, x[train], y[train], x[test], y[test], classes)
