"""The affine map: the layer to read first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ddg_ref.arrays import Array, Params, Shape, column_sums
from ddg_ref.errors import InputError, whole
from ddg_ref.layers.base import Layer
from ddg_ref.layers.init import Initializer, check_initializer, he_normal


class LinearCache(NamedTuple):
    x: Array


class Linear(Layer):
    """y = x w + b, with x (N, n_in), w (n_in, n_out), b (n_out,), y (N, n_out)."""

    def __init__(self, n_in: int, n_out: int, *, init: Initializer = he_normal) -> None:
        self.n_in, self.n_out = whole("n_in", n_in, 1), whole("n_out", n_out, 1)
        self._init = check_initializer(init)

    def parameter_shapes(self) -> dict[str, Shape]:
        return {"weight": (self.n_in, self.n_out), "bias": (self.n_out,)}

    def init(self, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> Params:
        return {
            "weight": self._init(rng, (self.n_in, self.n_out), dtype),
            "bias": np.zeros(self.n_out, dtype),
        }

    def output_shape(self, input_shape: Shape) -> Shape:
        if input_shape != (self.n_in,):
            raise InputError(f"{self}: expected samples of shape ({self.n_in},), got {input_shape}; flatten them first")
        return (self.n_out,)

    def forward(self, params: Params, x: Array) -> tuple[Array, LinearCache]:
        self.expect(x, (self.n_in,))
        y = x @ params["weight"]  # (N, n_out)
        y += params["bias"]
        return y, LinearCache(x)

    # y_nj = sum_i x_ni w_ij + b_j, so a change of the inputs moves the loss by
    # sum dy_nj (dx_ni w_ij + x_ni dw_ij + db_j): collect what multiplies dx_ni, dw_ij and db_j.
    def backward(self, params: Params, cache: LinearCache, dy: Array) -> tuple[Array, Params]:
        dx, kept = self.input_gradient(params, cache, dy)
        return dx, self.weight_gradients(params, kept)

    def gradients(self, params: Params, cache: LinearCache, dy: Array) -> Params:
        return {"weight": cache.x.T @ dy, "bias": column_sums(dy)}

    def input_gradient(self, params: Params, cache: LinearCache, dy: Array) -> tuple[Array, tuple[LinearCache, Array]]:
        return dy @ params["weight"].T, (cache, dy)  # (N, n_in)

    def weight_gradients(self, params: Params, kept: tuple[LinearCache, Array]) -> Params:
        return self.gradients(params, *kept)
