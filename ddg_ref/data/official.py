"""The published data sets by name, and where their files lie on this machine."""

from pathlib import Path

from ddg_ref.data.cifar import CIFAR10, CIFAR100
from ddg_ref.data.dataset import Dataset
from ddg_ref.data.distribution import Distribution
from ddg_ref.data.fetch import fetch
from ddg_ref.data.mnist import MNIST
from ddg_ref.tools.cache import cache_directory

DISTRIBUTIONS: dict[str, Distribution] = {each.name: each for each in (CIFAR10, CIFAR100, MNIST)}


def directory_of(name: str, data_dir: str | None) -> Path:
    """`data_dir`, or else the data set's own directory in the user's cache."""
    return cache_directory() / name if data_dir is None else Path(data_dir)


def load(name: str, data_dir: str | None) -> Dataset:
    """The data set, from files that are there already. Raises InputError as `Distribution.load` does."""
    return DISTRIBUTIONS[name].load(directory_of(name, data_dir))


def download(name: str, data_dir: str | None) -> None:
    """Fetch what is not there; what is there is left alone, whatever it is. Raises InputError as `fetch` does."""
    distribution, directory = DISTRIBUTIONS[name], directory_of(name, data_dir)
    for archive in distribution.archives:
        if distribution.missing(archive, directory):
            fetch(distribution, archive, directory)
