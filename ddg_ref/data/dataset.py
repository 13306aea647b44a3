"""A data set: training and test samples with their labels, checked at the door."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ddg_ref.arrays import Array, Shape, quiet_arithmetic
from ddg_ref.errors import InputError


class Scaling(NamedTuple):
    """How images were scaled, channel by channel: x = (pixel - mean) / std, pixels from 0 to 255."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Dataset:
    """x (N, ...) floating point, y (N,) whole numbers in [0, classes); `scaling` says how x came about, where it does.

    Raises InputError for arrays that do not fit each other, labels out of range, and NaN or infinite values.
    """

    name: str
    x_train: Array
    y_train: Array
    x_test: Array
    y_test: Array
    classes: int
    scaling: Scaling | None = None

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise InputError(f"data {self.name}: expected at least 2 classes, got {self.classes}; check the labels")
        for part, x, y in (("train", self.x_train, self.y_train), ("test", self.x_test, self.y_test)):
            check_samples(f"data {self.name}, {part}", x, y, self.classes)
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

    def astype(self, dtype: npt.DTypeLike) -> "Dataset":
        """The same data with samples of another floating-point type."""
        with quiet_arithmetic():
            x_train, x_test = self.x_train.astype(dtype, copy=False), self.x_test.astype(dtype, copy=False)
        return replace(self, x_train=x_train, x_test=x_test)


def check_samples(where: str, x: Array, y: Array, classes: int) -> None:
    """Raise InputError unless x and y are samples and labels."""
    check_inputs(where, x)
    if not (isinstance(y, np.ndarray) and y.shape == (len(x),) and y.dtype.kind in "iu"):
        got = f"{y.dtype} {y.shape}" if isinstance(y, np.ndarray) else type(y).__name__
        raise InputError(
            f"{where}: expected y as whole numbers of shape ({len(x)},), one per sample, got {got}; convert it"
        )
    if y.min() < 0 or y.max() >= classes:
        raise InputError(
            f"{where}: expected labels 0 to {classes - 1}, got {y.min()} to {y.max()}; renumber the classes"
        )


def check_inputs(where: str, x: Array) -> None:
    """Raise InputError unless x are samples."""
    if not (isinstance(x, np.ndarray) and x.ndim >= 2 and x.dtype.kind == "f" and x.size):
        got = f"{x.dtype} {x.shape}" if isinstance(x, np.ndarray) else type(x).__name__
        raise InputError(f"{where}: expected x as a non-empty array (samples, ...) of floats, got {got}; convert it")
    finite = np.isfinite(x.reshape(len(x), -1)).all(axis=1)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise InputError(f"{where}: expected finite numbers, got NaN or infinity in sample {bad}; remove or repair it")
