"""A user's own data: an .npz file, which is a zip archive of arrays, read as something that cannot be trusted."""

import zlib
from pathlib import Path
from typing import IO
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
from numpy.lib import format as npy

from ddg_ref.arrays import Array
from ddg_ref.data.dataset import Dataset
from ddg_ref.errors import InputError
from ddg_ref.seeds import Purpose, generator

TEST_SHARE = 5
"""Every fifth sample, after a shuffle that is always the same, is for testing."""
LARGEST_RATIO = 200
"""How many times larger than the file its arrays may be."""
HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def load_npz(path: Path) -> Dataset:
    """The arrays `x` (N, ...) of floats and `y` (N,) of labels 0, 1, ... in the file, as `numpy.savez` writes them.

    One sample in five, chosen by a fixed shuffle, becomes the test set. Nothing is unpickled, and no more is allocated
    than the file holds. Raises InputError, one line, for any file that is not like that.
    """
    try:
        with ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist()}
            if members.keys() != {"x.npy", "y.npy"}:
                raise InputError(f"expected the arrays x and y, got {', '.join(sorted(members)[:5]) or 'none'}")
            if sum(member.file_size for member in members.values()) > LARGEST_RATIO * path.stat().st_size:
                raise InputError(f"the arrays are more than {LARGEST_RATIO} times larger than the file")
            x, y = (_read(archive, members[name]) for name in ("x.npy", "y.npy"))
    except InputError as error:
        raise InputError(f"data {path}: {error}; save it again with numpy.savez(path, x=x, y=y)") from None
    except (OSError, BadZipFile, EOFError, ValueError, RuntimeError, NotImplementedError, zlib.error) as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"data {path}: cannot be read ({first_line}); check the path and the file") from None
    return _split(str(path), x, y)


def _read(archive: ZipFile, member: ZipInfo) -> Array:
    with archive.open(member) as file:
        shape, fortran_order, dtype = _header(file)
        if dtype.kind not in "fiu":
            raise InputError(f"{member.filename}: expected floats or whole numbers, got {dtype}")
        size = dtype.itemsize * int(np.prod([int(length) for length in shape], dtype=object))
        content = file.read(size + 1)  # at most what the archive says the member has, which was checked above
        if len(content) != size:
            raise InputError(f"{member.filename}: expected {size} bytes for shape {shape}, got another number")
    array: Array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran_order else "C")
    return np.ascontiguousarray(array, dtype=dtype.newbyteorder("="))


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = npy.read_magic(file)
    if version not in HEADER_READERS:
        raise InputError(f"expected array format 1.0 or 2.0, got {version}")
    return HEADER_READERS[version](file)


def _split(name: str, x: Array, y: Array) -> Dataset:
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y) or len(x) < TEST_SHARE or y.dtype.kind not in "iu":
        raise InputError(
            f"data {name}: expected x (samples, ...) and whole numbers y (samples,), at least {TEST_SHARE} samples, "
            f"got x {x.dtype} {x.shape} and y {y.dtype} {y.shape}; reshape them"
        )
    order = generator(Purpose.TEST_SPLIT, 0).permutation(len(x))
    test, train = order[::TEST_SHARE], np.delete(order, np.s_[::TEST_SHARE])
    y = y.astype(np.int64)
    return Dataset(name, x[train], y[train], x[test], y[test], classes=max(2, int(y.max()) + 1))
