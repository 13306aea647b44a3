"""Decoupled delayed gradients (Huo, Gu, Yang, Huang, ICML 2018): what a notebook imports."""

from ddg_ref import layers
from ddg_ref.data import DATASETS, Dataset
from ddg_ref.errors import DivergenceError, InputError, WorkerError
from ddg_ref.methods import METHODS
from ddg_ref.models import MODELS
from ddg_ref.runs.config import Config
from ddg_ref.runs.run import Record, Run
from ddg_ref.runs.training import train
from ddg_ref.tools.environment import VERSION

__version__ = VERSION

__all__ = [
    "DATASETS",
    "METHODS",
    "MODELS",
    "Config",
    "Dataset",
    "DivergenceError",
    "InputError",
    "Record",
    "Run",
    "WorkerError",
    "layers",
    "train",
]
