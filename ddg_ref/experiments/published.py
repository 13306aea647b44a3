"""Figures that others have published for the same experiments: other data, other machines, never mixed with ours.

Source of all: Zhuang, Wang, Liu, Lin, Fully Decoupled Neural Network Learning Using Delayed Gradients, IEEE TNNLS
33(10), 2022 (arXiv 1906.09108), tables in the README of github.com/ZHUANGHP/FDG. Most stand there twice: starred,
rerun by its authors, and without a star, presumably as the papers have them in which the methods were proposed. Their
runs: batch 128, SGD with momentum 0.9 and weight decay 5e-4, 300 epochs, step size 0.1 divided by 10 at epochs 150,
225 and 275. Of their own method they give medians of 3 runs; of how many runs those of bp and ddg are is not said.
"""

from typing import NamedTuple

SOURCE = "Zhuang et al., IEEE TNNLS 33(10), 2022, tables in the README of github.com/ZHUANGHP/FDG"
LABEL = "published, other data and other machine"
MARKS = "With a star: rerun by these authors. Without: as they quote it, presumably from the original papers."


class Published(NamedTuple):
    """One figure: what was trained how, and what came of it."""

    data: str
    network: str
    method: str
    K: int
    value: float
    rerun: bool = True
    """Measured by those who publish it, or quoted."""


TEST_ERROR = (
    Published("CIFAR-10", "ResNet-56", "bp", 1, 6.97, rerun=False),
    Published("CIFAR-10", "ResNet-56", "ddg", 2, 6.89, rerun=False),
    Published("CIFAR-10", "ResNet-56", "bp", 1, 6.19),
    Published("CIFAR-10", "ResNet-56", "ddg", 2, 6.63),
    Published("CIFAR-10", "ResNet-110", "bp", 1, 6.41, rerun=False),
    Published("CIFAR-10", "ResNet-110", "ddg", 2, 6.59, rerun=False),
    Published("CIFAR-10", "ResNet-110", "bp", 1, 5.79),
    Published("CIFAR-10", "ResNet-110", "ddg", 2, 6.26),
    Published("CIFAR-100", "ResNet-56", "bp", 1, 30.21, rerun=False),
    Published("CIFAR-100", "ResNet-56", "ddg", 2, 29.83, rerun=False),
    Published("CIFAR-100", "ResNet-56", "bp", 1, 27.68),
    Published("CIFAR-100", "ResNet-56", "ddg", 2, 28.44),
    Published("CIFAR-100", "ResNet-110", "bp", 1, 28.10, rerun=False),
    Published("CIFAR-100", "ResNet-110", "ddg", 2, 28.61, rerun=False),
    Published("CIFAR-100", "ResNet-110", "bp", 1, 25.82),
    Published("CIFAR-100", "ResNet-110", "ddg", 2, 27.16),
)
"""Test error in %, K = 2."""

TEST_ERROR_BY_K = (
    Published("CIFAR-10", "ResNet-56", "ddg", 2, 6.60),
    Published("CIFAR-10", "ResNet-56", "ddg", 3, 6.50),
    Published("CIFAR-10", "ResNet-56", "ddg", 4, 6.61),
)
"""Test error in % as K grows. That of K = 2 differs from the other table's."""

SECONDS_PER_EPOCH = (
    Published("CIFAR-10", "ResNet-56", "bp", 1, 30.2),
    Published("CIFAR-10", "ResNet-56", "ddg", 2, 30.0),
    Published("CIFAR-10", "ResNet-56", "ddg", 3, 28.9),
    Published("CIFAR-10", "ResNet-56", "ddg", 4, 27.7),
    Published("CIFAR-10", "WRN-28-10", "bp", 1, 219.1),
    Published("CIFAR-10", "WRN-28-10", "ddg", 2, 160.3),
    Published("CIFAR-10", "WRN-28-10", "ddg", 3, 139.3),
    Published("CIFAR-10", "WRN-28-10", "ddg", 4, 133.9),
)
"""Seconds per epoch on K GPUs, read off an image of their table."""


def speed_ups() -> list[Published]:
    """The times per epoch as ratios, bp over ddg."""
    bp = {row.network: row.value for row in SECONDS_PER_EPOCH if row.method == "bp"}
    return [row._replace(value=bp[row.network] / row.value) for row in SECONDS_PER_EPOCH if row.method != "bp"]
