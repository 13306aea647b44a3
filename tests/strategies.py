"""What Hypothesis draws: shapes and an integer seed. Numbers come from `default_rng(seed)`, so examples shrink well."""

from typing import NamedTuple

import numpy as np
from hypothesis import strategies as st

from ddg_ref.layers import (
    AvgPool,
    BatchNorm,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Subsample,
    Tanh,
)

seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.float32, np.float64])


class WindowShape(NamedTuple):
    """Images, and the windows that slide over them."""

    images: tuple[int, int, int, int]
    """(N, H, W, C)"""
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]


@st.composite
def window_shapes(draw: st.DrawFn, *, padded: bool) -> WindowShape:
    """Kernels up to 4x4 that fit the padded image, strides larger than the kernel and paddings beyond it included."""
    pairs = [
        draw(st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 5 if padded else 0))) for _ in range(2)
    ]
    (kh, sh, ph), (kw, sw, pw) = pairs
    h = max(1, kh - 2 * ph) + draw(st.integers(0, 5))
    w = max(1, kw - 2 * pw) + draw(st.integers(0, 5))
    n, c = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return WindowShape((n, h, w, c), (kh, kw), (sh, sw), (ph, pw))


class Network(NamedTuple):
    layers: list[Layer]
    input_shape: tuple[int, ...]
    classes: int


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """A small network with every kind of layer among them: images, then vectors, then one output per class."""
    h, w, c = input_shape = draw(st.tuples(st.integers(2, 6), st.integers(2, 6), st.integers(1, 3)))
    layers: list[Layer] = []
    for kind in draw(
        st.lists(st.sampled_from(["conv", "norm", "relu", "tanh", "max", "mean", "residual"]), max_size=4)
    ):
        before, wider = (h, w, c), c + draw(st.integers(0, 2))
        if kind == "conv":
            layers.append(Conv2d(c, wider, 3, stride=draw(st.integers(1, 2)), padding=1))
        elif kind == "residual":
            stride = draw(st.integers(1, 2))
            body = [Conv2d(c, wider, 3, stride=stride, padding=1, bias=False), BatchNorm(wider), ReLU()]
            layers.append(Residual(body, Subsample(c, wider, stride)))
        elif kind == "max" and min(h, w) >= 2:
            layers.append(MaxPool(2, stride=1))
        elif kind == "mean" and min(h, w) >= 2:
            layers.append(AvgPool(2))
        elif kind == "norm":
            layers.append(BatchNorm(c))
        else:
            layers.append(ReLU() if kind == "relu" else Tanh())
        h, w, c = layers[-1].output_shape(before)
    if draw(st.booleans()):
        layers.append(GlobalAvgPool())
        size = c
    else:
        layers.append(Flatten())
        size = h * w * c
    for _ in range(draw(st.integers(0, 2))):
        width = draw(st.integers(1, 5))
        layers += [Linear(size, width), Tanh()]
        size = width
    classes = draw(st.integers(2, 4))
    return Network([*layers, Linear(size, classes)], input_shape, classes)


@st.composite
def cut_points(draw: st.DrawFn, layers: int) -> list[int]:
    """Where the modules of a network begin, for any K from 1 to the number of layers."""
    return sorted(draw(st.sets(st.integers(1, layers - 1)))) if layers > 1 else []
