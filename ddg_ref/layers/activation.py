"""Activations: elementwise, any shape."""

from ddg_ref.arrays import Array, Params, Shape, xp_of
from ddg_ref.layers.base import Layer


class ReLU(Layer):
    """y = max(x, 0). The derivative at 0 is taken to be 0."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        y = xp_of(x).maximum(x, 0)
        return y, y  # y > 0 exactly where x > 0, and the next layer keeps y anyway

    # dy/dx = [x > 0]
    def backward(self, params: Params, cache: Array, dy: Array) -> tuple[Array, Params]:
        return dy * (cache > 0), {}


class Tanh(Layer):
    """y = tanh x."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        y = xp_of(x).tanh(x)
        return y, y

    # d tanh x / dx = 1 - tanh^2 x
    def backward(self, params: Params, cache: Array, dy: Array) -> tuple[Array, Params]:
        return dy * (1 - cache * cache), {}
