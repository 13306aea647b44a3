"""One table of layers, and what every layer must do. A new layer is a new row."""

import weakref
from collections import deque
from dataclasses import dataclass
from inspect import isabstract
from typing import ClassVar

import numpy as np
import pytest
from gradcheck import check_layer
from hypothesis import given
from hypothesis import strategies as st
from messages import input_error
from strategies import networks, seeds, window_shapes

from ddg_ref import layers
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
    Sequential,
    Subsample,
    Tanh,
    glorot_uniform,
    he_normal,
)
from ddg_ref.methods import METHODS
from ddg_ref.modules import Module
from ddg_ref.optimizers import SGD


def normal(rng, shape):
    return rng.standard_normal(shape)


def away_from_zero(rng, shape):
    """For layers with a kink at 0."""
    return rng.uniform(0.1, 1, shape) * rng.choice([-1, 1], shape)


def all_different(rng, shape):
    """For layers with a kink where two values are equal: any two differ by at least 0.02."""
    return 0.02 * rng.permutation(int(np.prod(shape))).reshape(shape)


@dataclass(frozen=True)
class Case:
    """A layer, and the shape (batch included) and kind of its input."""

    layer: Layer
    shape: tuple[int, ...]
    values: object = normal

    def draw(self, dtype, seed=0):
        """Parameters, input and output gradient; none of them special, biases included."""
        rng = np.random.default_rng(seed)
        params = {name: array + 0.3 * rng.standard_normal(array.shape) for name, array in self.layer.init(rng).items()}
        params = {name: array.astype(dtype) for name, array in params.items()}
        x = self.values(rng, self.shape).astype(dtype)
        dy = rng.standard_normal((len(x), *self.layer.output_shape(self.shape[1:]))).astype(dtype)
        return params, x, dy


def _body(c_in, c_out, stride):
    return [
        Conv2d(c_in, c_out, stride=stride, padding=1, bias=False),
        BatchNorm(c_out),
        Tanh(),
        Conv2d(c_out, c_out, 1),
    ]


OPEN = Residual(_body(2, 3, 2), Subsample(2, 3, 2), open=True)

CASES = {
    "linear": Case(Linear(5, 3), (4, 5)),
    "linear, 1 to 1": Case(Linear(1, 1), (1, 1)),
    "linear, glorot": Case(Linear(6, 4, init=glorot_uniform), (7, 6)),
    "conv": Case(Conv2d(2, 3), (2, 5, 6, 2)),
    "conv, padded": Case(Conv2d(2, 3, padding=1), (2, 4, 5, 2)),
    "conv, no bias": Case(Conv2d(2, 3, padding=1, bias=False), (2, 4, 4, 2)),
    "conv 1x1": Case(Conv2d(3, 2, 1), (2, 3, 4, 3)),
    "conv 1x1, stride 2": Case(Conv2d(3, 2, 1, stride=2), (2, 5, 4, 3)),
    "conv 1x1, padded": Case(Conv2d(2, 2, 1, padding=1), (2, 3, 3, 2)),
    "conv, stride 2": Case(Conv2d(2, 4, stride=2, padding=1), (2, 7, 7, 2)),
    "conv, stride 2, rows left over": Case(Conv2d(2, 3, stride=2, padding=1), (2, 6, 8, 2)),
    "conv, stride 3, rows left over": Case(Conv2d(1, 2, 2, stride=3), (2, 7, 6, 1)),
    "conv, stride larger than the image": Case(Conv2d(2, 2, 2, stride=9), (2, 4, 5, 2)),
    "conv 2x3": Case(Conv2d(2, 3, (2, 3), stride=(2, 1), padding=(1, 0)), (2, 4, 5, 2)),
    "conv 4x1": Case(Conv2d(2, 3, (4, 1), stride=(1, 2), padding=(0, 1)), (2, 4, 3, 2)),
    "conv, padding as large as the kernel": Case(Conv2d(2, 3, 3, padding=3), (2, 3, 4, 2)),
    "conv, padding beyond the kernel": Case(Conv2d(2, 2, 2, stride=(2, 3), padding=(5, 4)), (2, 3, 2, 2)),
    "conv, kernel as large as the image": Case(Conv2d(2, 3, (3, 4)), (2, 3, 4, 2)),
    "conv, kernel larger than the image": Case(Conv2d(2, 2, 5, padding=2), (2, 2, 1, 2)),
    "conv, 1 channel": Case(Conv2d(1, 1, 3), (3, 4, 5, 1)),
    "conv, 1 pixel": Case(Conv2d(2, 3, 1), (1, 1, 1, 2)),
    "conv, megabytes of windows": Case(Conv2d(3, 2, padding=1), (40, 24, 24, 3)),
    "batch norm, vectors": Case(BatchNorm(3), (6, 3)),
    "batch norm, images": Case(BatchNorm(2, eps=1e-3, momentum=0.5), (3, 4, 5, 2)),
    "batch norm, sequences": Case(BatchNorm(2), (3, 4, 2)),
    "relu": Case(ReLU(), (3, 4), away_from_zero),
    "relu, images": Case(ReLU(), (2, 3, 4, 2), away_from_zero),
    "tanh": Case(Tanh(), (2, 3, 4, 2)),
    "max pool": Case(MaxPool(2), (2, 4, 6, 2), all_different),
    "max pool, rows left over": Case(MaxPool(2), (2, 5, 7, 2), all_different),
    "max pool, overlapping": Case(MaxPool(3, stride=2), (2, 7, 6, 2), all_different),
    "max pool 2x3, stride 1": Case(MaxPool((2, 3), stride=1), (2, 4, 5, 1), all_different),
    "max pool, gaps": Case(MaxPool(1, stride=2), (2, 4, 5, 2), all_different),
    "average pool": Case(AvgPool(2), (2, 4, 6, 2)),
    "average pool, rows left over": Case(AvgPool((2, 3)), (2, 5, 7, 2)),
    "average pool, overlapping": Case(AvgPool(3, stride=(1, 2)), (2, 5, 7, 2)),
    "average pool, 1 pixel": Case(AvgPool(1), (2, 1, 1, 2)),
    "global average pool": Case(GlobalAvgPool(), (3, 4, 5, 2)),
    "flatten": Case(Flatten(), (3, 2, 4, 2)),
    "flatten vectors": Case(Flatten(), (3, 4)),
    "subsample": Case(Subsample(2, 3, 2), (2, 5, 4, 2)),
    "subsample, wider": Case(Subsample(1, 4), (2, 3, 2, 1)),
    "subsample, identity": Case(Subsample(2, 2), (2, 3, 3, 2)),
    "residual": Case(Residual(_body(2, 2, 1), Subsample(2, 2)), (3, 4, 4, 2)),
    "residual, halved and wider": Case(Residual(_body(2, 3, 2), Subsample(2, 3, 2)), (3, 5, 4, 2)),
    "residual, its lower part": Case(OPEN.part(0, 2), (3, 5, 4, 2)),
    "residual, a middle part": Case(OPEN.part(1, 3), (3, 2, 3, 2, 3)),
    "residual, its upper part": Case(OPEN.part(2, 4), (3, 2, 3, 2, 3)),
    "sequential": Case(Sequential([Conv2d(1, 3), Tanh(), GlobalAvgPool(), Linear(3, 2)]), (4, 5, 5, 1)),
    "sequential, numbered from 5": Case(
        Sequential([Residual(_body(1, 2, 1), Subsample(1, 2)), AvgPool(2), Flatten(), Linear(8, 2)], first=5),
        (3, 4, 5, 1),
    ),
    "sequential of nothing": Case(Sequential([]), (2, 3)),
}
DTYPES = (np.float32, np.float64)

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)


def arrays_in(value):
    """The arrays in a cache, a dict of parameters or a layer's attributes, however nested."""
    if isinstance(value, np.ndarray):
        return [value]
    if isinstance(value, Layer):
        value = vars(value)
    if isinstance(value, dict):
        value = list(value.values())
    return [array for part in value for array in arrays_in(part)] if isinstance(value, list | tuple | deque) else []


def frozen(*values):
    """The same values, their arrays read-only."""
    for value in values:
        for array in arrays_in(value):
            array.flags.writeable = False
    return values


def snapshot(value):
    """All that a layer knows, in a form that can be compared."""
    if isinstance(value, Layer):
        return type(value), {name: snapshot(part) for name, part in vars(value).items()}
    return [snapshot(part) for part in value] if isinstance(value, list | tuple) else value


def same_bits(a, b):
    """Whether two values hold equal arrays, bit for bit, of equal names."""
    first, second = arrays_in(a), arrays_in(b)
    names_agree = not isinstance(a, dict) or list(a) == list(b)
    return (
        names_agree
        and len(first) == len(second)
        and all(
            x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
            for x, y in zip(first, second, strict=True)
        )
    )


def test_every_public_layer_has_a_row():
    public = {getattr(layers, name) for name in layers.__all__}
    kinds = {kind for kind in public if isinstance(kind, type) and issubclass(kind, Layer) and not isabstract(kind)}
    assert kinds == {type(case.layer) for case in CASES.values()}


@every_case
@every_dtype
def test_backward_is_the_transposed_jacobian(case, dtype):
    params, x, _ = case.draw(dtype)
    check_layer(case.layer, params, x, np.random.default_rng(1))


@every_case
@every_dtype
def test_shapes_and_dtypes(case, dtype):
    layer = case.layer
    params, x, dy = case.draw(dtype)
    y, cache = layer.forward(params, x)
    dx, grads = layer.backward(params, cache, dy)
    assert (y.shape, y.dtype) == ((len(x), *layer.output_shape(x.shape[1:])), dtype)
    assert (dx.shape, dx.dtype) == (x.shape, dtype)

    stats = layer.init_stats(dtype)
    fresh = layer.init(np.random.default_rng(0), dtype)
    for arrays, shapes in (
        (fresh, layer.parameter_shapes()),
        (grads, layer.parameter_shapes()),
        (stats, layer.stats_shapes()),
        (layer.advance(stats, cache), layer.stats_shapes()),
    ):
        assert {name: array.shape for name, array in arrays.items()} == shapes
        assert all(array.dtype == dtype for array in arrays.values())
    assert layer.parameter_shapes().keys().isdisjoint(layer.stats_shapes())
    inferred = layer.infer(params, stats, x)
    assert (inferred.shape, inferred.dtype) == (y.shape, dtype)


@every_case
@every_dtype
def test_initial_weights_depend_on_the_generator_alone(case, dtype):
    first, second = (case.layer.init(np.random.default_rng(3), dtype) for _ in range(2))
    assert same_bits(first, second)
    assert same_bits(
        first, {name: w.astype(dtype) for name, w in case.layer.init(np.random.default_rng(3), np.float64).items()}
    )


@every_case
@every_dtype
def test_nothing_given_is_modified(case, dtype):
    layer = case.layer
    params, x, dy = case.draw(dtype)
    stats = layer.init_stats(dtype)
    frozen(params, x, dy, stats)
    y, cache = layer.forward(params, x)
    frozen(y, cache)
    dx, grads = layer.backward(params, cache, dy)
    again = layer.backward(params, cache, dy)
    assert same_bits([dx, grads], list(again)), "a cache can be used twice"
    layer.advance(stats, cache)
    layer.infer(params, stats, x)
    params_before, x_before, dy_before = case.draw(dtype)
    assert same_bits([params, x, dy, stats], [params_before, x_before, dy_before, layer.init_stats(dtype)])


@every_case
def test_no_state_is_kept(case):
    layer = case.layer
    before = snapshot(layer)
    params, x, dy = case.draw(np.float32)
    stats = layer.init_stats()
    y, cache = layer.forward(params, x)
    layer.backward(params, cache, dy)
    layer.infer(params, layer.advance(stats, cache), x)
    assert not arrays_in(layer), "a layer owns no arrays"
    assert snapshot(layer) == before
    assert same_bits([y], [layer.forward(params, x)[0]])


@every_case
def test_gradients_are_those_of_backward(case):
    params, x, dy = case.draw(np.float32, seed=1)
    _, cache = case.layer.forward(params, x)
    assert same_bits(case.layer.gradients(params, cache, dy), case.layer.backward(params, cache, dy)[1])


@every_case
def test_two_batches_in_flight(case):
    layer = case.layer
    (params_a, a, dy_a), (params_b, b, dy_b) = case.draw(np.float32, seed=1), case.draw(np.float32, seed=2)
    _, cache_a = layer.forward(params_a, a)
    alone = layer.backward(params_a, cache_a, dy_a)

    _, cache_a = layer.forward(params_a, a)
    _, cache_b = layer.forward(params_b, b)
    together = layer.backward(params_a, cache_a, dy_a)
    layer.backward(params_b, cache_b, dy_b)
    assert same_bits(list(alone), list(together))


@every_case
@every_dtype
def test_two_halves_are_the_backward_pass(case, dtype):
    """The second half may come late, with other micro-batches in between; neither writes into what it is given."""
    layer = case.layer
    params, x, dy = case.draw(dtype, seed=1)
    _, other_x, other_dy = case.draw(dtype, seed=2)
    whole, other = (layer.backward(params, layer.forward(params, a)[1], d) for a, d in ((x, dy), (other_x, other_dy)))
    frozen(params, x, dy, other_x, other_dy)
    (y, cache), (_, other_cache) = layer.forward(params, x), layer.forward(params, other_x)
    frozen(y, cache, other_cache)
    dx, kept = layer.input_gradient(params, cache, dy)
    other_dx, other_kept = layer.input_gradient(params, other_cache, other_dy)
    frozen(dx, kept, other_kept)
    assert same_bits(layer.weight_gradients(params, other_kept), other[1])
    assert same_bits(layer.weight_gradients(params, kept), whole[1])
    assert same_bits(layer.weight_gradients(params, kept), whole[1]), "what is kept can be used twice"
    assert same_bits([dx, other_dx], [whole[0], other[0]])


@given(networks(), st.integers(2, 3), seeds)
def test_two_halves_of_whole_networks(network, n, seed):
    whole, rng = Sequential(network.layers), np.random.default_rng(seed)
    params, x = whole.init(rng, np.float32), rng.standard_normal((n, *network.input_shape)).astype(np.float32)
    if n < whole.fewest_samples(network.input_shape):
        return
    y, cache = whole.forward(params, x)
    dy = rng.standard_normal(y.shape).astype(np.float32)
    dx, kept = whole.input_gradient(params, cache, dy)
    assert same_bits([dx, whole.weight_gradients(params, kept)], list(whole.backward(params, cache, dy)))


def every_other(x):
    wide = np.full([2 * size for size in x.shape], np.nan, x.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in x.shape)]
    view[...] = x
    return view


def reversed_axes(x):
    back = tuple(slice(None, None, -1) for _ in x.shape)
    return x[back].copy()[back]


def odd_unit_strides(x):
    """Contiguous, although axes of length 1 have stride 0, as `x[..., None]` has."""
    strides = [0 if size == 1 else step for size, step in zip(x.shape, x.strides, strict=True)]
    return np.lib.stride_tricks.as_strided(x, strides=strides)


@every_case
@pytest.mark.parametrize("layout", [np.asfortranarray, every_other, reversed_axes, odd_unit_strides])
def test_the_layout_in_memory_does_not_matter(case, layout):
    params, x, dy = case.draw(np.float64)
    y, cache = case.layer.forward(params, x)
    dx, grads = case.layer.backward(params, cache, dy)
    params = {name: layout(array) for name, array in params.items()}
    y_again, cache = case.layer.forward(params, layout(x))
    dx_again, grads_again = case.layer.backward(params, cache, layout(dy))
    # BLAS may add in another order
    for one, other in zip(arrays_in([y, dx, grads]), arrays_in([y_again, dx_again, grads_again]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-11)


# Independent forwards, as plain as can be


def naive_convolution(x, w, b, stride, padding):
    """Output pixel by output pixel, and the gradients of <dy, y> likewise."""
    (kh, kw), (sh, sw), (ph, pw) = w.shape[:2], stride, padding
    padded = np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)))
    h, v = (padded.shape[1] - kh) // sh + 1, (padded.shape[2] - kw) // sw + 1
    places = [(i, j, np.s_[:, i * sh : i * sh + kh, j * sw : j * sw + kw]) for i in range(h) for j in range(v)]
    y = np.empty((len(x), h, v, w.shape[3]))
    for i, j, window in places:
        y[:, i, j] = np.einsum("nabc,abcd->nd", padded[window], w) + b

    def backward(dy):
        dpadded, dw = np.zeros_like(padded), np.zeros_like(w)
        for i, j, window in places:
            dpadded[window] += np.einsum("nd,abcd->nabc", dy[:, i, j], w)
            dw += np.einsum("nabc,nd->abcd", padded[window], dy[:, i, j])
        return dpadded[:, ph : ph + x.shape[1], pw : pw + x.shape[2]], dw, dy.sum(axis=(0, 1, 2))

    return y, backward


@given(window_shapes(padded=True), st.integers(1, 4), seeds)
def test_convolution_against_loops(shape, c_out, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape.images)
    layer = Conv2d(x.shape[3], c_out, shape.kernel, stride=shape.stride, padding=shape.padding)
    params = {"weight": rng.standard_normal((*shape.kernel, x.shape[3], c_out)), "bias": rng.standard_normal(c_out)}
    y, backward = naive_convolution(x, params["weight"], params["bias"], shape.stride, shape.padding)
    found, cache = layer.forward(params, x)
    np.testing.assert_allclose(found, y, rtol=0, atol=1e-12)
    dy = rng.standard_normal(y.shape)
    dx, grads = layer.backward(params, cache, dy)
    for one, other in zip((dx, grads["weight"], grads["bias"]), backward(dy), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-11)


def test_convolution_of_many_images_against_loops():
    case = CASES["conv, megabytes of windows"]
    params, x, dy = case.draw(np.float64)
    y, backward = naive_convolution(x, params["weight"], params["bias"], (1, 1), (1, 1))
    found, cache = case.layer.forward(params, x)
    np.testing.assert_allclose(found, y, rtol=0, atol=1e-12)
    dx, grads = case.layer.backward(params, cache, dy)
    for one, other in zip((dx, grads["weight"], grads["bias"]), backward(dy), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)


@given(window_shapes(padded=False), seeds)
def test_pools_against_windows(shape, seed):
    x = np.random.default_rng(seed).standard_normal(shape.images)
    (kh, kw), (sh, sw) = shape.kernel, shape.stride
    windows = np.lib.stride_tricks.sliding_window_view(x, (kh, kw), axis=(1, 2))[
        :, ::sh, ::sw
    ]  # (N, H', W', C, kh, kw)
    largest, mean = (pool(shape.kernel, stride=shape.stride).forward({}, x)[0] for pool in (MaxPool, AvgPool))
    np.testing.assert_array_equal(largest, windows.max(axis=(4, 5)))
    np.testing.assert_allclose(mean, windows.mean(axis=(4, 5)), rtol=0, atol=1e-14)


def test_linear_against_einsum():
    params, x, _ = CASES["linear"].draw(np.float64)
    y = np.einsum("ni,io->no", x, params["weight"]) + params["bias"]
    np.testing.assert_allclose(CASES["linear"].layer.forward(params, x)[0], y, rtol=0, atol=1e-14)


def test_relu_has_derivative_0_at_0():
    y, cache = ReLU().forward({}, np.array([[-1.0, -0.0, 0.0, 2.0]]))
    np.testing.assert_array_equal(y, [[0, 0, 0, 2]])
    np.testing.assert_array_equal(ReLU().backward({}, cache, np.ones((1, 4)))[0], [[0, 0, 0, 1]])


@pytest.mark.parametrize("layer", [MaxPool(), AvgPool()])
def test_pooling_halves_images_unless_told_otherwise(layer):
    x = np.arange(16.0).reshape(1, 4, 4, 1)
    assert layer.output_shape((5, 4, 3)) == (2, 2, 3)
    np.testing.assert_array_equal(layer.forward({}, x)[0], type(layer)(2, stride=2).forward({}, x)[0])


def test_among_equal_values_the_first_in_reading_order_gets_the_gradient():
    x = np.array([[1.0, 7, 7], [7, 7, 0], [2, 7, 7]])[None, :, :, None]
    layer = MaxPool(2, stride=1)
    y, cache = layer.forward({}, x)
    np.testing.assert_array_equal(y[0, :, :, 0], np.full((2, 2), 7))
    dx, _ = layer.backward({}, cache, np.array([[1.0, 10], [100, 1000]])[None, :, :, None])
    np.testing.assert_array_equal(dx[0, :, :, 0], [[0, 11, 0], [100, 1000, 0], [0, 0, 0]])


def test_subsample_keeps_every_second_pixel_and_adds_channels_of_zeros():
    x = np.arange(1.0, 31).reshape(1, 5, 3, 2)
    y = Subsample(2, 3, 2).forward({}, x)[0]
    np.testing.assert_array_equal(y[..., :2], x[:, [0, 2, 4]][:, :, [0, 2]])
    np.testing.assert_array_equal(y[..., 2], np.zeros((1, 3, 2)))


def test_residual_is_body_plus_shortcut():
    case = CASES["residual, halved and wider"]
    params, x, _ = case.draw(np.float64)
    body = Sequential(_body(2, 3, 2)).forward(params, x)[0]
    np.testing.assert_array_equal(case.layer.forward(params, x)[0], body + Subsample(2, 3, 2).forward({}, x)[0])


# Batch norm


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("batch norm")])
def test_batch_norm_against_its_formula(name):
    case = CASES[name]
    params, x, _ = case.draw(np.float64)
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axis=axes), x.var(axis=axes)
    expected = (x - mean) / np.sqrt(variance + case.layer.eps) * params["scale"] + params["shift"]
    np.testing.assert_allclose(case.layer.forward(params, x)[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("batch norm")])
def test_running_statistics_move_once_per_advance_and_are_what_infer_uses(name):
    layer = CASES[name].layer
    stats = layer.init_stats(np.float64)
    mean, variance = np.zeros(layer.channels), np.ones(layer.channels)
    for seed in range(3):
        params, x, _ = CASES[name].draw(np.float64, seed)
        before = {name: array.copy() for name, array in stats.items()}
        _, cache = layer.forward(params, x)
        layer.forward(params, x)  # forward alone counts nothing
        new = layer.advance(stats, cache)
        assert same_bits(stats, before)
        assert same_bits(new, layer.advance(stats, cache))
        stats = new
        axes = tuple(range(x.ndim - 1))
        mean = (1 - layer.momentum) * mean + layer.momentum * x.mean(axis=axes)
        variance = (1 - layer.momentum) * variance + layer.momentum * x.var(axis=axes, ddof=1)
        np.testing.assert_allclose(stats["running_mean"], mean, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(stats["running_variance"], variance, rtol=1e-12)
        expected = (x - mean) / np.sqrt(variance + layer.eps) * params["scale"] + params["shift"]
        np.testing.assert_allclose(layer.infer(params, stats, x), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("shape", "rows"), [((1, 2), 1), ((1, 1, 1, 2), 1), ((0, 2), 0), ((0, 4, 4, 2), 0)])
def test_no_means_over_a_single_row(shape, rows):
    """It would give a constant, and a variance of 0 to the running statistics. One can be evaluated."""
    layer, x = BatchNorm(2), np.full(shape, 3.0)
    params, stats = layer.init(np.random.default_rng(0), np.float64), layer.init_stats(np.float64)
    with input_error(expected="expected a batch of at least 2 rows", got=f"got {rows}", advice="larger batches"):
        layer.forward(params, x)
    np.testing.assert_allclose(layer.infer(params, stats, x), x, rtol=1e-5)


@pytest.mark.parametrize("shape", [(2, 2), (1, 1, 2, 2), (1, 2, 1, 2), (2, 1, 1, 2)])
def test_two_rows_are_enough(shape):
    """Mean 2, variance 1 with R = 2 below, so 2 with R - 1."""
    layer, x = BatchNorm(2, eps=1e-12, momentum=1.0), np.array([1.0, 3.0]).repeat(2).reshape(shape)
    y, cache = layer.forward(layer.init(np.random.default_rng(0), np.float64), x)
    np.testing.assert_allclose(y.ravel(), [-1, -1, 1, 1])
    stats = layer.advance(layer.init_stats(np.float64), cache)
    np.testing.assert_allclose(stats["running_mean"], [2, 2])
    np.testing.assert_allclose(stats["running_variance"], [2, 2])


@given(networks(), st.integers(1, 3), seeds)
def test_as_few_samples_as_a_network_says_and_not_fewer(network, n, seed):
    whole, shape = Sequential(network.layers), (n, *network.input_shape)
    x = np.random.default_rng(seed).standard_normal(shape)
    params = whole.init(np.random.default_rng(seed), np.float64)
    if n >= whole.fewest_samples(network.input_shape):
        whole.forward(params, x)
        return
    with input_error(expected="at least 2 rows", got="got 1", advice="larger"):
        whole.forward(params, x)


def test_as_few_samples_as_a_part_of_an_open_block_says():
    whole = Residual([Conv2d(3, 3, 1), Tanh(), BatchNorm(3), Tanh()], Subsample(3, 3), open=True)
    for pixels, fewest in (((1, 1), 2), ((1, 2), 1)):
        assert whole.fewest_samples((*pixels, 3)) == fewest
        for cut in (1, 2, 3):
            first, second = whole.part(0, cut), whole.part(cut, 4)
            between = first.output_shape((*pixels, 3))
            found = first.fewest_samples((*pixels, 3)), second.fewest_samples(between)
            assert found == ((1, fewest) if cut < 3 else (fewest, 1))


def test_the_statistics_of_a_network_reach_the_layer_they_belong_to():
    norm = BatchNorm(3, momentum=1.0)
    network = Sequential([Tanh(), Residual([norm], Subsample(3, 3)), norm])
    x = np.random.default_rng(0).standard_normal((4, 2, 2, 3))
    params = network.init(np.random.default_rng(0), np.float64)
    _, cache = network.forward(params, x)
    stats = network.advance(network.init_stats(np.float64), cache)
    assert list(stats) == ["1.0.running_mean", "1.0.running_variance", "2.running_mean", "2.running_variance"]
    h = np.tanh(x)
    np.testing.assert_allclose(stats["1.0.running_mean"], h.mean(axis=(0, 1, 2)), atol=1e-12)
    one = {name.removeprefix("1.0."): array for name, array in stats.items() if name.startswith("1.0.")}
    two = {name.removeprefix("2."): array for name, array in stats.items() if name.startswith("2.")}
    own = norm.init(np.random.default_rng(0), np.float64)
    np.testing.assert_array_equal(network.infer(params, stats, x), norm.infer(own, two, norm.infer(own, one, h) + h))


class Watched(Tanh):
    """Notes, as it goes back, how many of the outputs that were cached are still held."""

    outputs: ClassVar[list[weakref.ref[np.ndarray]]] = []
    held: ClassVar[list[int]] = []

    def forward(self, params, x):
        y, cache = super().forward(params, x)
        self.outputs.append(weakref.ref(y))
        return y, cache

    def backward(self, params, cache, dy):
        self.held.append(sum(output() is not None for output in self.outputs))
        return super().backward(params, cache, dy)


def test_a_module_frees_its_caches_layer_by_layer():
    layers = Sequential([Watched() for _ in range(4)])
    module = Module(2, 2, METHODS["ddg"], layers, {}, {}, SGD())
    module.forward(0, np.ones((2, 3)))
    module.backward(0, np.ones((2, 3)))
    assert Watched.held == [4, 3, 2, 1]


class Weighed(Linear):
    """Notes, as its parameter gradients are computed, how many of the inputs that were cached are still held."""

    inputs: ClassVar[list[weakref.ref[np.ndarray]]] = []
    held: ClassVar[list[int]] = []

    def forward(self, params, x):
        self.inputs.append(weakref.ref(x))
        return super().forward(params, x)

    def gradients(self, params, cache, dy):
        self.held.append(sum(x() is not None for x in self.inputs))
        return super().gradients(params, cache, dy)


@pytest.mark.parametrize(("k", "outputs"), [(1, [8, 7, 6, 5, 4, 3, 2, 1]), (2, [8, 7, 6, 6, 5, 5, 4, 4])])
def test_a_module_frees_what_the_halves_of_a_backward_pass_need_layer_by_layer(k, outputs):
    """The first half leaves what the second one needs: outputs that are also inputs of a layer with weights."""
    Watched.outputs.clear()
    Watched.held.clear()
    Weighed.inputs.clear()
    Weighed.held.clear()
    layers = Sequential([layer for _ in range(4) for layer in (Weighed(3, 3), Watched(), Watched())])
    params = layers.init(np.random.default_rng(0))
    module = Module(k, 2, METHODS["ddg"], layers, params, {}, SGD())
    module.forward(0, np.ones((2, 3), np.float32))
    module.input_gradient(0, np.ones((2, 3), np.float32))
    assert not module.caches
    assert not module.queue
    module.weight_gradients(0)
    assert not module.half_back
    assert Watched.held == outputs
    assert Weighed.held == [4, 3, 2, 1]


# Initial weights


@pytest.mark.parametrize("shape", [(500, 400), (3, 3, 64, 128)])
def test_scale_of_the_initial_weights(shape):
    fan_in = np.prod(shape[:-1])
    fan_out = np.prod(shape[:-2]) * shape[-1]
    he = he_normal(np.random.default_rng(0), shape, np.float64)
    assert he.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.02)
    assert abs(he.mean()) < 0.02 * he.std()
    glorot = glorot_uniform(np.random.default_rng(0), shape, np.float64)
    bound = np.sqrt(6 / (fan_in + fan_out))
    assert 0.99 * bound < np.abs(glorot).max() <= bound
    assert glorot.std() == pytest.approx(bound / np.sqrt(3), rel=0.02)


# Input that does not fit


@pytest.mark.parametrize(
    ("layer", "shape", "advice"),
    [
        (Linear(3, 2), (4,), "flatten"),
        (Linear(3, 2), (3, 3), "flatten"),
        (Conv2d(3, 2), (8, 8, 1), "reshape the data"),
        (Conv2d(3, 2), (8, 3), "reshape the data"),
        (Conv2d(1, 1, 3), (2, 5, 1), "add padding"),
        (BatchNorm(3), (5, 2), "check"),
        (BatchNorm(3), (), "check"),
        (MaxPool(3), (2, 5, 1), "drop this layer"),
        (AvgPool(2), (5,), "drop this layer"),
        (GlobalAvgPool(), (5,), "reshape the data"),
        (Subsample(2, 3), (4, 4, 3), "reshape the data"),
        (Subsample(2, 3), (4,), "reshape the data"),
        (Sequential([Flatten(), Linear(3, 2)]), (2, 2), "flatten"),
        (Residual([Conv2d(1, 1)], Subsample(1, 1)), (4, 4, 1), "same shape"),
        (Residual([Conv2d(1, 1), Conv2d(1, 1, padding=2)], Subsample(1, 1), open=True), (4, 4, 1), "same shape"),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit(layer, shape, advice):
    name = type(layer.layers[-1] if isinstance(layer, Sequential) else layer).__name__
    got = (4,) if isinstance(layer, Sequential) else (2, 2, 1) if isinstance(layer, Residual) else shape
    with input_error(expected=name, got=got, advice=advice):
        layer.output_shape(shape)


@pytest.mark.parametrize(
    ("layer", "shape", "got"),
    [
        (Linear(3, 2), (2, 4), (2, 4)),
        (Linear(3, 2), (3,), (3,)),
        (Conv2d(3, 2), (2, 8, 8, 1), (2, 8, 8, 1)),
        (Conv2d(3, 2), (8, 8, 3), (8, 8, 3)),
        (Conv2d(1, 1, 3), (2, 2, 5, 1), (2, 5, 1)),
        (BatchNorm(3), (2, 1), (2, 1)),
        (MaxPool(3), (2, 2, 5, 1), (2, 5, 1)),
        (AvgPool(2), (2, 5), (5,)),
        (GlobalAvgPool(), (2, 5), (2, 5)),
        (Subsample(2, 3), (2, 4, 4, 3), (2, 4, 4, 3)),
    ],
    ids=str,
)
def test_forward_refuses_what_does_not_fit(layer, shape, got):
    params = layer.init(np.random.default_rng(0))
    with input_error(expected=type(layer).__name__, got=got, advice="; "):
        layer.forward(params, np.zeros(shape, np.float32))


@pytest.mark.parametrize(("layer", "wanted"), [(Linear(3, 2), "(batch, 3)"), (Conv2d(3, 2), "(batch, any, any, 3)")])
def test_what_forward_refuses_it_says_what_would_fit(layer, wanted):
    with input_error(expected=f"expected input of shape {wanted}", got=(3,), advice="check the model's input shape"):
        layer.forward(layer.init(np.random.default_rng(0)), np.zeros(3, np.float32))


def test_a_shortcut_cannot_drop_channels():
    with input_error(expected="expected c_out >= c_in", got="3 -> 2", advice=""):
        Subsample(3, 2)
