"""A real little network on which the paper's assumptions hold exactly: every weight enters as tanh(v).

Layer k maps h to tanh(W_k [h; 1]) with W_k = tanh(V_k)/sqrt(inputs + 1), entry by entry; the loss is half the
squared distance to a target in [-1, 1]. Weights, activations and loss are bounded, so gradients and Hessian
are bounded on all of R^d. The modules of DDG are the layers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise
from operator import add
from typing import TypeAlias

import numpy as np

from theory.magnitudes import Magnitude
from theory.problems import Array, Problem

Cache: TypeAlias = tuple[Array, Array]


@dataclass(frozen=True)
class SquashedLayer:
    """h -> tanh(W [h; 1]) with W = scale tanh(V), V of shape (outputs, inputs + 1), flattened row by row in
    w_k."""

    inputs: int
    outputs: int

    @property
    def size(self) -> int:
        """Number of weights."""
        return self.outputs * (self.inputs + 1)

    @property
    def scale(self) -> float:
        """1/sqrt(fan-in): the size of a weight that has saturated."""
        return float((self.inputs + 1) ** -0.5)

    def _squash(self, w: Array) -> Array:
        return np.asarray(np.tanh(w.reshape(*w.shape[:-1], self.outputs, self.inputs + 1)))

    def forward(self, w: Array, h: Array) -> tuple[Array, Cache]:
        """w (..., size), h (..., inputs) -> output (..., outputs), and what backward needs."""
        squashed = self._squash(w)
        h1 = np.concatenate([h, np.ones((*h.shape[:-1], 1))], axis=-1)
        out = np.tanh(self.scale * (squashed * h1[..., None, :]).sum(axis=-1))
        return out, (h1, out)

    def backward(self, w: Array, cache: Cache, dout: Array) -> tuple[Array, Array]:
        """w as in forward, dout (..., outputs) -> dh (..., inputs), dw (..., size).

        With u = tanh(V), z = scale u h1, out = tanh(z): dz = (1 - out^2) dout, du = scale dz h1^T, dv = (1 -
        u^2) du, dh1 = scale u^T dz.
        """
        h1, out = cache
        squashed = self._squash(w)
        dz = self.scale * (1 - out * out) * dout
        dw = (1 - squashed * squashed) * dz[..., :, None] * h1[..., None, :]
        dh = (squashed * dz[..., :, None]).sum(axis=-2)[..., :-1]
        return dh, dw.reshape(*dw.shape[:-2], self.size)


@dataclass
class SquashedNetwork(Problem):
    """f_i(w) = ||h_K(x_i; w) - y_i||^2 / 2 for K layers of `widths`, each a module.

    L, M: theory.magnitudes carries bounds on every unit, its gradient and its Hessian forward through the
       formula of f_i, using |tanh| <= 1, sech^2 <= 1, |tanh''| <= 4/(3 sqrt 3). With b_i >= |grad f_i| and
       B_i >= |grad^2 f_i| entry by entry on all of R^d, M = max_i ||b_i||^2 and L = lambda_max((1/n) sum_i
       B_i).
    variance: (1/n) sum_i ||grad f_i - grad f||^2 <= (1/n) sum_i ||grad f_i||^2 <= (1/n) sum_i ||b_i||^2.
    f_star: f >= 0.

    Shapes: inputs (n, widths[0]), targets (n, widths[-1]) in [-1, 1]. All float64.
    """

    widths: tuple[int, ...]
    inputs: Array
    targets: Array
    name: str = field(init=False, default="network")
    n: int = field(init=False)
    blocks: tuple[slice, ...] = field(init=False)
    L: float = field(init=False)
    M: float | None = field(init=False)
    variance: float = field(init=False)
    f_star: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        if np.abs(self.targets).max() > 1:
            raise ValueError(f"targets: expected values in [-1, 1], got {np.abs(self.targets).max():g}; rescale them")
        self.n = len(self.inputs)
        self.layers = [SquashedLayer(a, b) for a, b in pairwise(self.widths)]
        edges = np.cumsum([0, *(layer.size for layer in self.layers)])
        self.blocks = tuple(slice(int(a), int(b)) for a, b in pairwise(edges))
        losses = [self.magnitude(x, y) for x, y in zip(self.inputs, self.targets, strict=True)]
        squares = [float(loss.first @ loss.first) for loss in losses]
        self.M = float(np.max(squares))
        self.variance = sum(squares) / self.n
        self.L = float(np.linalg.eigvalsh(sum(loss.second for loss in losses) / self.n)[-1])

    def magnitude(self, x: Array, y: Array) -> Magnitude:
        """Bounds on the loss of one sample over all weights."""
        d = self.d
        h = [Magnitude.constant(value, d) for value in x]
        for layer, block in zip(self.layers, self.blocks, strict=True):
            h1 = [u.scaled(layer.scale) for u in [*h, Magnitude.constant(1.0, d)]]
            weight = np.arange(block.start, block.stop).reshape(layer.outputs, len(h1))
            h = [
                reduce(add, (Magnitude.squashed_weight(a, d) * u for a, u in zip(row, h1, strict=True))).tanh()
                for row in weight
            ]
        return reduce(add, (u.half_squared_error(target) for u, target in zip(h, y, strict=True)))

    def loss(self, i: int | Array, out: Array) -> Array:
        """Loss of sample i: (...), (..., outputs) -> (...)."""
        return np.asarray(0.5 * ((out - self.targets[i]) ** 2).sum(axis=-1))

    def error_gradient(self, i: int | Array, out: Array) -> Array:
        """Gradient of that loss in the network's output, same shape as `out`."""
        return np.asarray(out - self.targets[i])

    def values(self, w: Array) -> Array:
        losses = []
        for i in range(self.n):
            h = np.broadcast_to(self.inputs[i], (*w.shape[:-1], self.widths[0]))
            for layer, block in zip(self.layers, self.blocks, strict=True):
                h, _ = layer.forward(w[..., block], h)
            losses.append(self.loss(i, h))
        return np.stack(losses, axis=-1)

    def gradient(self, i: int | Array, w: Array) -> Array:
        h = np.broadcast_to(self.inputs[i], (*w.shape[:-1], self.widths[0]))
        caches = []
        for layer, block in zip(self.layers, self.blocks, strict=True):
            h, cache = layer.forward(w[..., block], h)
            caches.append(cache)
        dh = self.error_gradient(i, h)
        grads = []
        for k in reversed(range(len(self.layers))):
            dh, dw = self.layers[k].backward(w[..., self.blocks[k]], caches[k], dh)
            grads.append(dw)
        return np.concatenate(grads[::-1], axis=-1)
