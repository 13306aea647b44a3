"""Data sets, and the batches drawn from them."""

from collections.abc import Callable

from ddg_ref.data.batches import Batches
from ddg_ref.data.dataset import Dataset
from ddg_ref.data.digits import digits
from ddg_ref.data.shapes import shapes

DATASETS: dict[str, Callable[[], Dataset]] = {"digits": digits, "shapes": shapes}

__all__ = ["DATASETS", "Batches", "Dataset", "digits", "shapes"]
