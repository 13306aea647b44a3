"""Samples and labels as a caller has them, made plain arrays or refused."""

from typing import Any

import numpy as np

from ddg_ref.arrays import Array
from ddg_ref.errors import InputError

PLAIN = (np.ndarray, np.memmap, np.matrix, np.ma.MaskedArray)
"""The array types that are numbers and nothing more, the last if its mask hides none. Others may carry a unit or a
coordinate, which would be lost without a word: whoever wants that can say `numpy.asarray(x)`."""
WAYS = {
    "__cuda_array_interface__": "bring it into host memory, as cupy.asnumpy(x) does",
    "to_numpy": "convert it with its to_numpy()",
    "toarray": "convert it with its toarray()",
}
"""Something that an array of another library has, and what makes an array of NumPy's of it."""
RENUMBER = "numpy.unique(y, return_inverse=True)[1]"


def as_array(wanted: str, value: Any) -> Array:
    """`value` as an ndarray in the machine's byte order. Raises InputError, which says what was `wanted`."""
    if type(value) not in PLAIN:
        way = next((way for name, way in WAYS.items() if hasattr(value, name)), "convert it with numpy.asarray(x)")
        raise InputError(f"{wanted}, got {type(value).__name__}; {way}")
    if np.ma.is_masked(value):
        raise InputError(f"{wanted}, got {type(value).__name__} with values masked; fill them, or leave them out")
    array = np.asarray(value)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def check_inputs(where: str, given: Any) -> Array:
    """What is given as x, as a plain array. Raises InputError unless it holds samples, of finite numbers."""
    wanted = f"{where}: expected x as a non-empty array (samples, ...) of floats"
    x = as_array(wanted, given)
    if x.ndim < 2 or x.dtype.kind != "f" or not x.size:
        advice = ", pixels from 0 to 255 by x.astype('float32') / 255" if x.dtype.kind in "iu" else ""
        raise InputError(f"{wanted}, got {x.dtype} {x.shape}; convert it{advice}")
    finite = np.isfinite(x.reshape(len(x), -1)).all(axis=1)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise InputError(f"{where}: expected finite numbers, got NaN or infinity in sample {bad}; remove or repair it")
    return x


def check_labels(where: str, given: Any, samples: int) -> Array:
    """What is given as y, as a plain array. Raises InputError unless it holds a whole number for each sample."""
    wanted = f"{where}: expected y as whole numbers of shape ({samples},), one per sample"
    y = as_array(wanted, given)
    if y.shape != (samples,) or y.dtype.kind not in "iu":
        advice = ": y.astype(int)" if y.dtype.kind in "fb" else f": {RENUMBER}" if y.dtype.kind in "OSUT" else ""
        raise InputError(f"{wanted}, got {y.dtype} {y.shape}; convert it{advice}")
    return y


def check_samples(where: str, x: Any, y: Any, classes: int) -> tuple[Array, Array]:
    """x and y as plain arrays, y of int64. Raises InputError unless they are samples and labels."""
    x = check_inputs(where, x)
    y = check_labels(where, y, len(x))
    if y.min() < 0 or y.max() >= classes:
        raise InputError(
            f"{where}: expected labels 0 to {classes - 1}, got {y.min()} to {y.max()}; renumber the classes: {RENUMBER}"
        )
    return x, y.astype(np.int64, copy=False)
