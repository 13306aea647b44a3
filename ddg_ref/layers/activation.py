"""Activations: elementwise, any shape."""

from ddg_ref.arrays import Array, Fused, Params, Shape, xp_of
from ddg_ref.layers.base import Layer


@Fused
def where_positive(y: Array, dy: Array) -> Array:
    """dy where y > 0, else 0."""
    dx: Array = dy * (y > 0)
    return dx


@Fused
def through_tanh(y: Array, dy: Array) -> Array:
    """dy (1 - y^2)."""
    dx: Array = dy * (1 - y * y)
    return dx


class ReLU(Layer):
    """y = max(x, 0). The derivative at 0 is taken to be 0."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        y = xp_of(x).maximum(x, 0)
        return y, y  # y > 0 exactly where x > 0, and the next layer keeps y anyway

    # dy/dx = [x > 0]
    def backward(self, params: Params, cache: Array, dy: Array) -> tuple[Array, Params]:
        return where_positive(cache, dy), {}


class Tanh(Layer):
    """y = tanh x."""

    def output_shape(self, input_shape: Shape) -> Shape:
        return input_shape

    def forward(self, params: Params, x: Array) -> tuple[Array, Array]:
        y = xp_of(x).tanh(x)
        return y, y

    # d tanh x / dx = 1 - tanh^2 x
    def backward(self, params: Params, cache: Array, dy: Array) -> tuple[Array, Params]:
        return through_tanh(cache, dy), {}
