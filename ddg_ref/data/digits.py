"""Real handwritten digits, offline: the 8x8 images that scikit-learn bundles."""

import numpy as np

from ddg_ref.data.dataset import Dataset
from ddg_ref.seeds import Purpose, generator

TEST_SAMPLES = 360


def digits() -> Dataset:
    """1,797 grey images 8x8x1 of the digits 0 to 9, values 0 to 1: 1,437 to train on, 360 to test.

    Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998
    (the test part, as scikit-learn ships it). The order is shuffled once with a fixed seed, since neighbours in the
    file were written by the same person.
    """
    from sklearn.datasets import load_digits  # a second to import, so only when asked for

    bunch = load_digits()
    x = (bunch.images[..., None] / 16).astype(np.float32)  # (1797, 8, 8, 1)
    order = generator(Purpose.DIGITS, 0).permutation(len(x))
    x, y = x[order], bunch.target[order].astype(np.int64)
    return Dataset("digits", x[TEST_SAMPLES:], y[TEST_SAMPLES:], x[:TEST_SAMPLES], y[:TEST_SAMPLES], 10)
