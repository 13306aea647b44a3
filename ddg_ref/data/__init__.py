"""Data sets, and the batches drawn from them."""

from ddg_ref.data.batches import Batches
from ddg_ref.data.dataset import Dataset
from ddg_ref.data.digits import digits
from ddg_ref.data.door import DATASETS, OFFICIAL, download_data, load_data
from ddg_ref.data.shapes import shapes

__all__ = ["DATASETS", "OFFICIAL", "Batches", "Dataset", "digits", "download_data", "load_data", "shapes"]
