"""CIFAR-10 and CIFAR-100: photographs of 32x32 pixels, in the authors' binary version.

Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, technical report, University of Toronto,
2009. Layout of the files and checksums: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from ddg_ref.arrays import Array
from ddg_ref.data.distribution import Archive, Distribution

URL = "https://www.cs.toronto.edu/~kriz/"
PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"
SIDE, COLOURS = 32, 3


def cifar(
    name: str,
    archive: str,
    size: int,
    md5: str,
    *,
    folder: str,
    train: Mapping[str, int],
    test: Mapping[str, int],
    labels: int,
    classes: int,
    url: str = URL,
) -> Distribution:
    """A CIFAR distribution: `train` and `test` give the number of records in each file of the archive's `folder`.

    A record is as many label bytes as `labels` says, of which the last is the class, and an image.
    """
    record = labels + COLOURS * SIDE * SIDE
    members = {f"{folder}/{file}": record * count for file, count in (*train.items(), *test.items())}
    return Distribution(
        name,
        url,
        PAGE,
        [Archive(archive, size, md5, members)],
        train=[f"{folder}/{file}" for file in train],
        test=[f"{folder}/{file}" for file in test],
        classes=classes,
        decode=partial(decode, labels=labels),
    )


def decode(files: Sequence[bytes], *, labels: int) -> tuple[Array, Array]:
    """Images (N, 32, 32, 3) and the last label of each (N,), bytes; in the files an image is a plane per colour."""
    record = labels + COLOURS * SIDE * SIDE
    records = np.concatenate([np.frombuffer(file, np.uint8).reshape(-1, record) for file in files])
    planes = records[:, labels:].reshape(-1, COLOURS, SIDE, SIDE)  # (N, 3, 32, 32)
    return planes.transpose(0, 2, 3, 1), records[:, labels - 1]


CIFAR10 = cifar(
    "cifar10",
    "cifar-10-binary.tar.gz",
    170_052_171,
    "c32a1d4ab5d03f1284b67883e8d87530",
    folder="cifar-10-batches-bin",
    train={f"data_batch_{i}.bin": 10_000 for i in range(1, 6)},
    test={"test_batch.bin": 10_000},
    labels=1,
    classes=10,
)
CIFAR100 = cifar(
    "cifar100",
    "cifar-100-binary.tar.gz",
    168_513_733,
    "03b5dce01913d631647c71ecec9e9cb8",
    folder="cifar-100-binary",
    train={"train.bin": 50_000},
    test={"test.bin": 10_000},
    labels=2,  # one of 20 superclasses, then one of 100 classes
    classes=100,
)
