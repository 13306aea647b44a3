"""The check of gradients must itself catch what it is there for."""

import numpy as np
import pytest
from gradcheck import TOLERANCE, check_layer, derivative

from ddg_ref.layers import BatchNorm, Conv2d, Linear, MaxPool, ReLU, Tanh


class ForgotBatchStatistics(BatchNorm):
    def backward(self, params, cache, dy):
        return dy * params["scale"] / np.sqrt(cache.variance + self.eps), super().backward(params, cache, dy)[1]


class SlightlyOff(Linear):
    def backward(self, params, cache, dy):
        dx, grads = super().backward(params, cache, dy)
        return dx * (1 + 1e-6), grads


class OneWrongEntry(Linear):
    def backward(self, params, cache, dy):
        dx, grads = super().backward(params, cache, dy)
        grads["weight"][0, 0] += 1e-5
        return dx, grads


class KernelNotTurned(Conv2d):
    def backward(self, params, cache, dy):
        turned = {"weight": params["weight"][::-1, ::-1]}
        return super().backward(turned, cache, dy)[0], super().backward(params, cache, dy)[1]


class BiasAveraged(Conv2d):
    def backward(self, params, cache, dy):
        dx, grads = super().backward(params, cache, dy)
        return dx, grads | {"bias": dy.mean(axis=(0, 1, 2))}


class NoBias(Linear):
    def backward(self, params, cache, dy):
        dx, grads = super().backward(params, cache, dy)
        return dx, {"weight": grads["weight"]}


class OfTheInput(Tanh):
    def backward(self, params, cache, dy):
        return dy * (1 - np.tanh(cache) ** 2), {}


class Ungated(ReLU):
    def backward(self, params, cache, dy):
        return dy, {}


class ToEveryTap(MaxPool):
    def backward(self, params, cache, dy):
        return np.repeat(np.repeat(dy, 2, 1), 2, 2), {}


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (ForgotBatchStatistics(3), (5, 3)),
        (SlightlyOff(4, 3), (5, 4)),
        (OneWrongEntry(4, 3), (5, 4)),
        (NoBias(4, 3), (5, 4)),
        (KernelNotTurned(2, 3, padding=1), (2, 4, 4, 2)),
        (BiasAveraged(2, 3, padding=1), (2, 4, 4, 2)),
        (OfTheInput(), (3, 4)),
        (Ungated(), (3, 4)),
        (ToEveryTap(2), (2, 4, 4, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_planted_mistake_is_caught(layer, shape):
    rng = np.random.default_rng(0)
    params = layer.init(rng, np.float64)
    with pytest.raises(AssertionError):
        check_layer(layer, params, rng.standard_normal(shape), rng)


def test_differences_are_far_more_exact_than_the_tolerance():
    rng = np.random.default_rng(0)
    x, v = rng.uniform(0.5, 1.5, 6), rng.uniform(-1, 1, 6)
    exact = (np.exp(x) * v).sum()
    assert abs(derivative(lambda x: np.exp(x).sum(), x, v) - exact) < 0.1 * TOLERANCE[np.dtype(np.float64)]
