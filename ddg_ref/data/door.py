"""What a caller may give as data: a name, a path, arrays, or a data set."""

from collections.abc import Callable
from os import PathLike, fsdecode
from typing import Any, Protocol, TypeAlias

from ddg_ref.arrays import Array
from ddg_ref.data.dataset import Dataset, divided
from ddg_ref.data.digits import digits
from ddg_ref.data.samples import WAYS
from ddg_ref.data.shapes import shapes
from ddg_ref.errors import InputError

DATASETS: dict[str, Callable[[], Dataset]] = {"digits": digits, "shapes": shapes}
"""Data sets that need no files."""
OFFICIAL = ("cifar10", "cifar100", "mnist")
"""Data sets read from the files that their authors published: see `official.py`."""
OWN = "custom"
"""The name of a data set that was given as arrays."""


class Bunch(Protocol):
    """What scikit-learn's loaders give: samples and labels."""

    data: Any
    target: Any


Data: TypeAlias = str | PathLike[str] | Dataset | tuple[Array, Array] | Bunch
"""What may be given as data."""


def name_or_dataset(data: Any) -> str | Dataset:
    """A name, or the path of an .npz file, as a text; arrays (x, y), or a Bunch that has them, as a data set.

    Raises InputError for anything else.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str):
        return str(data)
    if isinstance(data, PathLike):
        path = fsdecode(data)
        if not path.endswith(".npz"):
            raise InputError(f"data: expected the path of an .npz file, got {path}; give one, or a name as a text")
        return path
    if isinstance(data, tuple | list) and len(data) == 2:
        return divided(OWN, *data)
    way = next((way for attribute, way in WAYS.items() if hasattr(data, attribute)), None)
    if way is None and hasattr(data, "data") and hasattr(data, "target"):
        return divided(OWN, data.data, data.target)
    raise InputError(
        f"data: expected a name, the path of an .npz file, arrays (x, y), or a ddg_ref.Dataset, got "
        f"{type(data).__name__}; {way or 'give one of them'}"
    )


def load_data(data: Data, data_dir: str | None = None) -> Dataset:
    """The data set that is given, in one of these ways: its name, the path of an .npz file, arrays (x, y), itself.

    Published files are looked for in `data_dir`, or else in the user's cache directory. Raises InputError if there is
    no such data set, if its files are not there, or if they are not as they were published.
    """
    name = name_or_dataset(data)
    if isinstance(name, Dataset):
        return name
    if name in DATASETS:
        return DATASETS[name]()
    if name in OFFICIAL:
        from ddg_ref.data.official import load  # tar archives are slow to import

        return load(name, data_dir)
    if name.endswith(".npz"):
        from ddg_ref.data.npz import load_npz  # zip archives are slow to import

        return load_npz(name)
    names = ", ".join([*DATASETS, *OFFICIAL])
    raise InputError(f"unknown data {name!r}: choose one of {names}, or give the path of an .npz file")


def download_data(name: str, data_dir: str | None = None) -> None:
    """Fetch the published files of a data set in OFFICIAL to where `load_data` looks, unless they are there.

    Raises InputError if they cannot be had, or are not what was published.
    """
    from ddg_ref.data.official import download

    download(name, data_dir)
