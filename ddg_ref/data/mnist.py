"""MNIST: handwritten digits of 28x28 pixels, in the authors' idx files.

Source: Y. LeCun, C. Cortes, C. J. C. Burges, The MNIST Database of Handwritten Digits,
http://yann.lecun.com/exdb/mnist/, which describes the files. They are fetched from a mirror of the originals.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np

from ddg_ref.arrays import Array
from ddg_ref.data.distribution import Archive, Distribution
from ddg_ref.errors import InputError

URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
SIDE = 28
CLASSES = 10
IMAGES, LABELS = 2051, 2049
"""What an idx file of bytes begins with, in three dimensions and in one."""
TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def mnist(
    name: str, archives: Sequence[tuple[str, int, str]], *, train: int, test: int, side: int = SIDE, url: str = URL
) -> Distribution:
    """MNIST's distribution: `archives` as (file, bytes, MD5), one idx file in each; `train` and `test` images."""
    sizes: dict[str, int] = {}
    for (images, labels), count in ((TRAIN, train), (TEST, test)):
        sizes |= {images: 16 + count * side * side, labels: 8 + count}
    described = []
    for file, size, md5 in archives:
        member = file.removesuffix(".gz")
        described.append(Archive(file, size, md5, {member: sizes[member]}))
    return Distribution(name, url, url, described, TRAIN, TEST, CLASSES, partial(decode, side=side))


def decode(files: Sequence[bytes], *, side: int) -> tuple[Array, Array]:
    """Images (N, side, side, 1) and labels (N,), bytes. Raises InputError for files that begin with anything else."""
    images, labels = files
    count = len(labels) - 8
    for file, expected in ((images, (IMAGES, count, side, side)), (labels, (LABELS, count))):
        header = tuple(np.frombuffer(file, ">u4", len(expected)).tolist())
        if header != expected:
            raise InputError(f"expected a file that begins with the numbers {expected}, got {header}")
    x = np.frombuffer(images, np.uint8, offset=16).reshape(-1, side, side, 1)  # (N, 28, 28, 1)
    return x, np.frombuffer(labels, np.uint8, offset=8)


MNIST = mnist(
    "mnist",
    [
        ("train-images-idx3-ubyte.gz", 9_912_422, "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", 28_881, "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", 1_648_877, "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", 4_542, "ec29112dd5afa0611ce80d1b7f02629c"),
    ],
    train=60_000,
    test=10_000,
)
