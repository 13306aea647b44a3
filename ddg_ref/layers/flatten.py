"""Images as rows."""

import numpy as np

from ddg_ref.arrays import Array, Params, Shape
from ddg_ref.layers.base import Layer


class Flatten(Layer):
    """(N, ...) -> (N, product of the rest)."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return (int(np.prod(input_shape)),)

    def forward(self, params: Params, x: Array) -> tuple[Array, Shape]:
        return x.reshape(len(x), -1), x.shape

    def backward(self, params: Params, cache: Shape, dy: Array) -> tuple[Array, Params]:
        return dy.reshape(cache), {}
