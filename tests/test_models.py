import numpy as np
import pytest
from hypothesis import given
from messages import input_error
from strategies import networks, seeds

from ddg_ref.layers import Linear, Residual, Sequential
from ddg_ref.losses import softmax_cross_entropy
from ddg_ref.models import MODELS, check_network, cnn, mlp, resnet

every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)


def one_step(layers, input_shape, classes, samples=2, dtype=np.float32, seed=0):
    """Forward, loss and backward: nothing may be NaN, of another shape or of another dtype."""
    network = check_network(layers, input_shape, classes)
    rng = np.random.default_rng(seed)
    params = network.init(rng, dtype)
    x = rng.standard_normal((samples, *input_shape)).astype(dtype)
    y, cache = network.forward(params, x)
    assert (y.shape, y.dtype) == ((samples, classes), dtype)
    loss, dy = softmax_cross_entropy(y, rng.integers(0, classes, samples))
    dx, grads = network.backward(params, cache, dy)
    stats = network.advance(network.init_stats(dtype), cache)
    assert dx.shape == x.shape
    assert {name: g.shape for name, g in grads.items()} == network.parameter_shapes()
    for array in (loss, dx, *grads.values(), *stats.values(), network.infer(params, stats, x)):
        assert array.dtype == dtype
        assert np.isfinite(array).all()
    return network, grads


@every_model
@pytest.mark.parametrize("input_shape", [(1, 1, 1), (1, 5, 2), (2, 3, 4), (8, 8, 1), (9, 7, 3), (32, 32, 3)], ids=str)
def test_any_images(model, input_shape):
    one_step(model(input_shape, 10), input_shape, 10)


@every_model
@pytest.mark.parametrize("classes", [2, 3, 100])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_number_of_classes(model, classes, dtype):
    one_step(model((6, 6, 2), classes), (6, 6, 2), classes, dtype=dtype)


@every_model
def test_every_weight_takes_part(model):
    _, grads = one_step(model((8, 8, 3), 4), (8, 8, 3), 4, samples=16)
    assert all(np.abs(g).max() > 0 for g in grads.values())


@pytest.mark.parametrize("input_shape", [(7,), (2, 3), (2, 3, 4), (2, 2, 2, 2)], ids=str)
def test_an_mlp_takes_samples_of_any_shape(input_shape):
    network, _ = one_step(mlp(input_shape, 3, width=5, depth=3), input_shape, 3)
    linear = [layer for layer in network.layers if isinstance(layer, Linear)]
    assert [(layer.n_in, layer.n_out) for layer in linear] == [(np.prod(input_shape), 5), (5, 5), (5, 3)]


def test_width_and_depth():
    assert [layer.n_out for layer in mlp((4,), 3, width=7, depth=1) if isinstance(layer, Linear)] == [3]
    channels = [
        shape[3]
        for shape in Sequential(cnn((8, 8, 1), 3, width=4, depth=5)).parameter_shapes().values()
        if len(shape) == 4
    ]
    assert channels == [4, 4, 8, 8, 16]
    one_step(cnn((8, 8, 1), 3, width=4, depth=1), (8, 8, 1), 3)
    one_step(resnet((8, 8, 1), 3, width=4, depth=14), (8, 8, 1), 3)


@pytest.mark.parametrize("depth", [8, 20, 56, 110])
def test_resnets_of_the_depths_of_the_paper(depth):
    network, _ = one_step(resnet((8, 8, 3), 10, depth=depth), (8, 8, 3), 10)
    weights = [name for name in network.parameter_shapes() if name.endswith("weight")]
    assert len(weights) == depth
    assert sum(isinstance(layer, Residual) for layer in network.layers) == (depth - 2) // 2


@pytest.mark.parametrize(("depth", "millions"), [(20, "0.27"), (32, "0.46"), (44, "0.66"), (56, "0.85"), (110, "1.7")])
def test_parameter_counts_of_resnets_are_those_of_the_paper(depth, millions):
    network = check_network(resnet((32, 32, 3), 10, depth=depth), (32, 32, 3), 10)
    count = sum(int(np.prod(shape)) for shape in network.parameter_shapes().values())
    digits = len(millions.split(".")[1])
    assert f"{count / 1e6:.{digits}f}" == millions  # He, Zhang, Ren, Sun, CVPR 2016, table 6


def test_no_convolution_of_a_resnet_has_a_bias_which_batch_norm_would_take_away():
    network = Sequential(resnet((8, 8, 1), 10, depth=14))
    assert [name for name in network.parameter_shapes() if "bias" in name] == [f"{len(network.layers) - 1}.bias"]


def test_a_resnet_halves_the_image_twice():
    shape, seen = (32, 32, 3), []
    for layer in resnet(shape, 10):
        shape = layer.output_shape(shape)
        seen.append(shape)
    assert list(dict.fromkeys(seen)) == [(32, 32, 16), (16, 16, 32), (8, 8, 64), (64,), (10,)]


def test_names_are_the_layers_number_and_the_parameters_name():
    network = Sequential(resnet((8, 8, 1), 10))
    names = {**network.parameter_shapes(), **network.stats_shapes()}
    assert names["0.weight"] == (3, 3, 1, 16)
    assert names["1.scale"] == names["1.running_mean"] == (16,)
    assert names["5.0.weight"] == (3, 3, 16, 32)
    assert names["5.4.running_variance"] == (32,)
    assert names["10.weight"] == (64, 10)
    assert names["10.bias"] == (10,)
    assert list(Sequential(mlp((8, 8, 1), 10, depth=2)).parameter_shapes()) == [
        "1.weight",
        "1.bias",
        "3.weight",
        "3.bias",
    ]


@given(networks(), seeds)
def test_any_network_of_fitting_layers(network, seed):
    one_step(*network, samples=3, dtype=np.float64, seed=seed)


@pytest.mark.parametrize("model", [cnn, resnet])
@pytest.mark.parametrize("input_shape", [(64,), (8, 8)])
def test_models_of_images_refuse_other_samples(model, input_shape):
    with input_error(expected="expected images (height, width, channels)", got=input_shape, advice="use model mlp"):
        model(input_shape, 10)


@every_model
@pytest.mark.parametrize("option", ["width", "depth"])
def test_sizes_must_be_positive(model, option):
    with input_error(expected=f"{option}: expected a whole number >= 1", got="got 0", advice="choose"):
        model((8, 8, 1), 10, **{option: 0})


@pytest.mark.parametrize("depth", [1, 2, 7, 9, 18])
def test_a_resnet_has_depth_6n_plus_2(depth):
    with input_error(expected="depth: expected 6n+2", got=f"got {depth}", advice="choose one"):
        resnet((8, 8, 1), 10, depth=depth)


def test_layers_that_do_not_fit():
    with input_error(expected="expected at least one layer", got="got none", advice="give a list"):
        check_network([], (3,), 2)
    with input_error(expected="expected 2 outputs", got="got (4,)", advice="end with Linear(..., 2)"):
        check_network([Linear(3, 4)], (3,), 2)
    with input_error(expected="expected samples of shape (4,)", got="got (5,)", advice="flatten"):
        check_network([Linear(3, 5), Linear(4, 2)], (3,), 2)
