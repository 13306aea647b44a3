"""Data sets, and the batches drawn from them."""

from collections.abc import Callable
from pathlib import Path

from ddg_ref.data.batches import Batches
from ddg_ref.data.dataset import Dataset
from ddg_ref.data.digits import digits
from ddg_ref.data.shapes import shapes
from ddg_ref.errors import InputError

DATASETS: dict[str, Callable[[], Dataset]] = {"digits": digits, "shapes": shapes}
"""Data sets that need no files."""
OFFICIAL = ("cifar10", "cifar100", "mnist")
"""Data sets read from the files that their authors published: see `official.py`."""


def load_data(name: str, data_dir: str | None = None) -> Dataset:
    """The data set of that name, or the one in the .npz file at that path.

    Published files are looked for in `data_dir`, or else in the user's cache directory. Raises InputError if there is
    no such data set, if its files are not there, or if they are not as they were published.
    """
    if name in DATASETS:
        return DATASETS[name]()
    if name in OFFICIAL:
        from ddg_ref.data import official  # tar archives are slow to import

        return official.load(name, data_dir)
    if name.endswith(".npz"):
        from ddg_ref.data.npz import load_npz  # zip archives are slow to import

        return load_npz(Path(name))
    names = ", ".join([*DATASETS, *OFFICIAL])
    raise InputError(f"unknown data {name!r}: choose one of {names}, or give the path of an .npz file")


def download_data(name: str, data_dir: str | None = None) -> None:
    """Fetch the published files of a data set in OFFICIAL to where `load_data` looks, unless they are there.

    Raises InputError if they cannot be had, or are not what was published.
    """
    from ddg_ref.data import official

    official.download(name, data_dir)


__all__ = ["DATASETS", "OFFICIAL", "Batches", "Dataset", "digits", "download_data", "load_data", "shapes"]
