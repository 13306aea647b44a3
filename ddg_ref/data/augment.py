"""Augmentation: images that differ a little every time they are seen."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ddg_ref.arrays import Array

MARGIN = 4


def shift_and_mirror(x: Array, rng: np.random.Generator) -> Array:
    """Each image moved by up to MARGIN pixels up or down and left or right, then, one in two, mirrored.

    x (n, H, W, C) -> the same shape and dtype, a new array. What moves in from outside is 0, the mean of normalised
    images. As in He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, CVPR 2016, section 4.2.
    """
    n, h, w, c = x.shape
    rows, columns = rng.integers(0, 2 * MARGIN, (2, n), endpoint=True)
    mirrored = rng.integers(0, 2, n).astype(bool)
    padded = np.pad(x, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN), (0, 0)))
    # Pixels of a row lie side by side, so a window is h runs of w*c numbers.
    windows = sliding_window_view(padded.reshape(n, h + 2 * MARGIN, -1), (h, w * c), axis=(1, 2))
    moved: Array = windows[np.arange(n), rows, columns * c].reshape(x.shape)
    moved[mirrored] = moved[mirrored, :, ::-1]
    return moved
