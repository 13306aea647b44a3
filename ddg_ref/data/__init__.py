"""Data sets, and the batches drawn from them."""

from collections.abc import Callable
from pathlib import Path

from ddg_ref.data.batches import Batches
from ddg_ref.data.dataset import Dataset
from ddg_ref.data.digits import digits
from ddg_ref.data.shapes import shapes
from ddg_ref.errors import InputError

DATASETS: dict[str, Callable[[], Dataset]] = {"digits": digits, "shapes": shapes}


def load_data(name: str) -> Dataset:
    """The data set of that name, or the one in the .npz file at that path. Raises InputError if there is neither."""
    if name in DATASETS:
        return DATASETS[name]()
    if name.endswith(".npz"):
        from ddg_ref.data.npz import load_npz  # zip archives are slow to import

        return load_npz(Path(name))
    raise InputError(f"unknown data {name!r}: choose one of {', '.join(DATASETS)}, or give the path of an .npz file")


__all__ = ["DATASETS", "Batches", "Dataset", "digits", "load_data", "shapes"]
