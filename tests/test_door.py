"""The door: what callers may give as sizes, layers, data and options comes in as plain values, or gets one line."""

import copy
import json
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import input_error
from networks import assert_same_bits
from runs import TINY, finish, run_to, small_training
from test_training import QUICK, blobs

import ddg_ref
from ddg_ref import Config, Dataset, DivergenceError
from ddg_ref.data import Batches, load_data, shapes
from ddg_ref.layers import (
    AvgPool,
    BatchNorm,
    Conv2d,
    Flatten,
    GlobalAvgPool,
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
from ddg_ref.models import MODELS, check_network, cnn, mlp, resnet
from ddg_ref.runs import rundir
from ddg_ref.runs.checkpoints import resume, save
from ddg_ref.runs.engines import ENGINES
from ddg_ref.runs.training import Training

WHOLE = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.intp]

# Sizes

FACTORIES = {
    "linear": lambda n: Linear(n(120), n(100)),
    "linear, glorot": lambda n: Linear(n(120), n(100), init=glorot_uniform),
    "conv": lambda n: Conv2d(n(100), n(90), n(3), stride=n(2), padding=n(1)),
    "conv, pairs": lambda n: Conv2d(n(3), n(2), (n(3), n(1)), stride=(n(1), n(2)), padding=(n(1), n(0))),
    "batch norm": lambda n: BatchNorm(n(120)),
    "max pool": lambda n: MaxPool(n(2), stride=n(1)),
    "average pool": lambda n: AvgPool((n(2), n(3))),
    "subsample": lambda n: Subsample(n(2), n(3), n(2)),
    "residual": lambda n: Residual([Conv2d(n(2), n(4), stride=n(2), padding=n(1))], Subsample(n(2), n(4), n(2))),
    "sequential": lambda n: Sequential([Linear(n(3), n(100))], first=n(5)),
    "mlp": lambda n: Sequential(mlp((n(8), n(16), n(2)), n(100), width=n(120), depth=n(3))),
    "cnn": lambda n: Sequential(cnn((n(8), n(8), n(3)), n(100), width=n(40), depth=n(3))),
    "resnet": lambda n: Sequential(resnet((n(8), n(8), n(3)), n(10), width=n(2), depth=n(8))),
    "cnn, wide": lambda n: Sequential(cnn((n(4), n(4), n(1)), n(3), width=n(100), depth=n(3))),
}


@pytest.mark.parametrize("make", FACTORIES.values(), ids=FACTORIES)
@pytest.mark.parametrize("kind", [*WHOLE, np.array], ids=lambda kind: kind.__name__)
def test_sizes_may_be_whole_numbers_of_any_type(make, kind):
    """The same layer to the last bit, and the same text, which a checkpoint stores."""
    made, plain = make(kind), make(int)
    assert repr(made) == repr(plain)
    assert made.parameter_shapes() == plain.parameter_shapes()
    assert_same_bits(made.init(np.random.default_rng(0)), plain.init(np.random.default_rng(0)))
    assert {type(length) for shape in made.parameter_shapes().values() for length in shape} <= {int}


@pytest.mark.parametrize("draw", [he_normal, glorot_uniform])
@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_weights_have_the_same_scale_for_sizes_of_any_type(draw, kind):
    plain = draw(np.random.default_rng(0), (3, 3, 30, 100), np.float64)
    small = draw(np.random.default_rng(0), tuple(map(kind, (3, 3, 30, 100))), np.float64)
    assert small.tobytes() == plain.tobytes()


class Sized:
    """A whole number of a type of one's own."""

    def __index__(self):
        return 4


def test_whatever_counts_as_a_whole_number_is_one():
    assert repr(Linear(Sized(), Sized())) == "Linear(n_in=4, n_out=4)"


def test_numbers_that_are_no_sizes_become_plain_too():
    """NumPy's float64 widens what it is combined with."""
    layer = BatchNorm(3, eps=np.float64(1e-3), momentum=np.float64(0.5))
    assert repr(layer) == repr(BatchNorm(3, eps=1e-3, momentum=0.5))
    params, stats, x = layer.init(np.random.default_rng(0)), layer.init_stats(), np.ones((2, 3), np.float32)
    y, cache = layer.forward(params, x)
    after = layer.advance(stats, cache)
    assert {array.dtype for array in (y, layer.infer(params, stats, x), *after.values())} == {np.dtype(np.float32)}
    assert repr(Conv2d(1, 1, bias=np.False_)) == repr(Conv2d(1, 1, bias=False))
    assert Residual([ReLU()], Subsample(1, 1), open=np.True_).open is True


A_SIZE, A_PADDING = "expected a whole number >= 1", "expected a whole number >= 0"
BAD_SIZES = {
    "linear, no inputs": (lambda: Linear(0, 2), f"n_in: {A_SIZE}", 0),
    "linear, no outputs": (lambda: Linear(2, np.int8(-3)), f"n_out: {A_SIZE}", -3),
    "linear, a fraction": (lambda: Linear(2.0, 2), "n_in: expected a whole number", 2.0),
    "linear, a truth value": (lambda: Linear(True, 2), "n_in: expected a whole number", True),
    "linear, NumPy's truth value": (lambda: Linear(np.True_, 2), "n_in: expected a whole number", np.True_),
    "linear, two": (lambda: Linear((2, 2), 2), "n_in: expected a whole number", "(2, 2)"),
    "linear, an array": (lambda: Linear(np.zeros((2, 2)), 2), "n_in: expected a whole number", "array([[0., 0"),
    "linear, nothing": (lambda: Linear(None, 2), "n_in: expected a whole number", None),
    "conv, no channels": (lambda: Conv2d(0, 1), f"c_in: {A_SIZE}", 0),
    "conv, a text": (lambda: Conv2d(1, "4"), "c_out: expected a whole number", "'4'"),
    "conv, no kernel": (lambda: Conv2d(1, 1, 0), f"kernel: {A_SIZE}", 0),
    "conv, half a kernel": (lambda: Conv2d(1, 1, (3, 0.5)), "kernel: expected a whole number", 0.5),
    "conv, three": (lambda: Conv2d(1, 1, (3, 3, 3)), "kernel: expected one whole number or (", "(3, 3, 3)"),
    "conv, the same": (lambda: Conv2d(1, 1, padding="same"), "padding: expected a whole number", "'same'"),
    "conv, bytes": (lambda: Conv2d(1, 1, b"ab"), "kernel: expected a whole number", "b'ab'"),
    "conv, cut off": (lambda: Conv2d(1, 1, padding=(1, -1)), f"padding: {A_PADDING}", -1),
    "conv, no stride": (lambda: Conv2d(1, 1, stride=np.uint8(0)), f"stride: {A_SIZE}", 0),
    "pool, no stride": (lambda: MaxPool(2, stride=0), f"stride: {A_SIZE}", 0),
    "pool, nothing": (lambda: AvgPool(None), "kernel: expected a whole number", None),
    "batch norm": (lambda: BatchNorm(0), f"channels: {A_SIZE}", 0),
    "subsample": (lambda: Subsample(1, 1, 0), f"stride: {A_SIZE}", 0),
    "subsample, channels": (lambda: Subsample(0, 1), f"c_in: {A_SIZE}", 0),
    "sequential": (lambda: Sequential([], first=-1), f"first: {A_PADDING}", -1),
    "mlp, a number": (lambda: mlp(64, 3), "input shape: expected that of one sample", 64),
    "mlp, a text": (lambda: mlp("64", 3), "input shape: expected that of one sample", "'64'"),
    "mlp, no pixels": (lambda: mlp((8, 0), 3), f"input shape: {A_SIZE}", 0),
    "mlp, no classes": (lambda: mlp((8,), 0), f"classes: {A_SIZE}", 0),
    "mlp, a wide one": (lambda: mlp((8,), 3, width=1.5), "width: expected a whole number", 1.5),
    "resnet, a deep one": (lambda: resnet((8, 8, 1), 3, depth="8"), "depth: expected a whole number", "'8'"),
    "shapes": (lambda: shapes(train=0), f"train: {A_SIZE}", 0),
    "shapes, a seed": (lambda: shapes(seed=-1), f"seed: {A_PADDING}", -1),
    "batches": (lambda: Batches(TINY.x_train, TINY.y_train, 2.5, 0), "batch size: expected a whole number", 2.5),
}


@pytest.mark.parametrize(("make", "expected", "got"), BAD_SIZES.values(), ids=BAD_SIZES)
def test_what_is_no_size_gets_one_line(make, expected, got):
    with input_error(expected=expected, got=f"got {got}" if isinstance(got, str) else f"got {got!r}", advice="; "):
        make()


def test_batches_of_a_small_type():
    x, y = np.zeros((300, 1), np.float32), np.arange(300)
    few, plain = Batches(x, y, np.uint8(7), 0), Batches(x, y, 7, 0)
    assert few.per_epoch == plain.per_epoch
    np.testing.assert_array_equal(few(40)[1], plain(40)[1])


OTHER_ARGUMENTS = {
    "initializer": (lambda: Linear(2, 2, init="he"), "init: expected a function", "'he'"),
    "initializer of a conv": (lambda: Conv2d(2, 2, init=None), "init: expected a function", "None"),
    "bias": (lambda: Conv2d(2, 2, bias="no"), "bias: expected True or False", "'no'"),
    "open": (lambda: Residual([ReLU()], Subsample(1, 1), open=1), "open: expected True or False", "1"),
    "shortcut": (lambda: Residual([ReLU()], None), "shortcut: expected a Subsample", "None"),
    "body": (lambda: Residual([], Subsample(1, 1), open=True), "body: expected at least one layer", "none"),
    "body of others": (lambda: Residual(["relu"], Subsample(1, 1)), "body: expected layers", "'relu' among them"),
    "eps": (lambda: BatchNorm(2, eps=0), "eps: expected a number > 0", "0"),
    "eps, a text": (lambda: BatchNorm(2, eps="1e-5"), "eps: expected a finite number", "'1e-5'"),
    "momentum": (lambda: BatchNorm(2, momentum=1.5), "momentum: expected a number in [0, 1]", "1.5"),
    "momentum, none": (lambda: BatchNorm(2, momentum=np.nan), "momentum: expected a finite number", "nan"),
    "no list": (lambda: Sequential(3), "layers: expected a list of layers", "3"),
    "a text": (lambda: Sequential("mlp"), "layers: expected a list of layers", "'mlp'"),
    "a class": (lambda: Sequential([Linear(2, 2), ReLU]), "layers: expected layers", "<class"),
    "a dictionary": (lambda: Sequential({"relu": ReLU()}), "layers: expected layers", "'relu'"),
}


@pytest.mark.parametrize(("make", "expected", "got"), OTHER_ARGUMENTS.values(), ids=OTHER_ARGUMENTS)
def test_other_arguments_of_layers_get_one_line(make, expected, got):
    with input_error(expected=expected, got=f"got {got}", advice="; "):
        make()


# Images


@pytest.mark.parametrize(
    ("refuse", "way"),
    [
        (lambda: cnn((8, 8), 3), "x[..., None]"),
        (lambda: Conv2d(1, 2).output_shape((8, 8)), "x[..., None]"),
        (lambda: GlobalAvgPool().output_shape((8, 8)), "x[..., None]"),
        (lambda: Conv2d(3, 2).output_shape((3, 32, 32)), "x.transpose(0, 2, 3, 1)"),
        (lambda: Subsample(3, 4).output_shape((3, 32, 24)), "x.transpose(0, 2, 3, 1)"),
        (lambda: cnn((3, 32, 32), 3), "x.transpose(0, 2, 3, 1)"),
        (lambda: resnet((1, 28, 28), 3), "x.transpose(0, 2, 3, 1)"),
    ],
)
def test_images_of_another_shape_are_told_how_to_have_the_right_one(refuse, way):
    with input_error(expected="expected images (height, width, ", got="got (", advice=way):
        refuse()


@pytest.mark.parametrize("input_shape", [(3, 7, 7), (1, 8, 12), (2, 8, 8), (3, 3, 3), (8, 8, 1)], ids=str)
def test_what_may_be_an_image_is_one(input_shape):
    for model in (cnn, resnet):
        check_network(model(input_shape, 3, width=2), input_shape, 3)


# Data


def own(n=60, kind=np.int64):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 3
    return (3 * np.eye(3, 5)[y] + rng.standard_normal((n, 5))).astype(np.float32), y.astype(kind)


def train(data, **options):
    """A few steps of a small network."""
    defaults = {"model": "mlp", "width": 4, "depth": 2, "split": "count", "batch_size": 12, "iterations": 3}
    return ddg_ref.train(**defaults | options, data=data)


X, Y = own()


class Frame:
    """What pandas and others have: a table whose columns are attributes, too."""

    data, target = X, Y

    def to_numpy(self):
        pytest.fail("nobody asked for it")


class Quantity(np.ndarray):
    """Numbers with a unit."""


@pytest.fixture
def path(tmp_path):
    np.savez(tmp_path / "own.npz", x=X, y=Y)
    return tmp_path / "own.npz"


def test_a_path_is_its_whole_path(path, tmp_path, monkeypatch):
    """Another file of the same name lies in the working directory."""
    (tmp_path / "elsewhere").mkdir()
    np.savez(tmp_path / "elsewhere" / "own.npz", x=X[:40] + 1, y=Y[:40])
    monkeypatch.chdir(tmp_path / "elsewhere")
    run, by_name = train(path), train(str(path))
    assert run.config.data == str(path)
    assert_same_bits(run.weights, by_name.weights)
    assert load_data(Path("own.npz")).fingerprint == load_data("./own.npz").fingerprint != load_data(path).fingerprint
    assert load_data("./own.npz").name == "./own.npz"


def test_arrays_are_split_as_a_file_is(path):
    bunch = SimpleNamespace(data=X, target=Y)
    expected = load_data(path).fingerprint
    for data in ((X, Y), [X, Y], bunch):
        assert load_data(data).fingerprint == expected
    runs = [train(data) for data in (path, (X, Y), bunch, load_data((X, Y)))]
    assert [run.config.data for run in runs] == [str(path), "custom", "custom", "custom"]
    for run in runs:
        assert_same_bits(run.weights, runs[0].weights)


def test_what_scikit_learn_loads():
    from sklearn.datasets import load_iris

    assert train(load_iris(), width=32, epochs=40, iterations=None, lr=0.005).final_test_accuracy > 0.8


NOT_DATA = {
    "nothing": (None, "NoneType; give one of them"),
    "a number": (3, "int; give one of them"),
    "samples alone": (X, "ndarray; give one of them"),
    "a dictionary": ({"x": X, "y": Y}, "dict; give one of them"),
    "three arrays": ((X, Y, X), "tuple; give one of them"),
    "a table": (Frame(), "Frame; convert it with its to_numpy()"),
    "something on a GPU": (SimpleNamespace(__cuda_array_interface__={}), "SimpleNamespace; bring it into host memory"),
}


@pytest.mark.parametrize(("data", "got"), NOT_DATA.values(), ids=NOT_DATA)
def test_what_is_no_data_gets_one_line_at_every_door(data, got, tmp_path):
    doors = [train, load_data]
    if data is not None:  # which means what the Config names
        save(run_to(small_training(), 3), tmp_path)
        doors += [lambda data: Training(Config(**QUICK), data), lambda data: resume(tmp_path, data=data)]
    for door in doors:
        with input_error(expected="data: expected a name, the path of an .npz file, arrays (x, y)", got=got, advice=""):
            door(data)


@pytest.mark.parametrize("name", ["digits", "own.npy", "folder/cifar10"])
def test_a_path_is_no_name(name):
    with input_error(expected="data: expected the path of an .npz file", got=f"got {name}", advice="give one"):
        load_data(Path(name))


def test_names_that_are_not_known():
    for name in ("iris", "own.npy", ""):
        with input_error(expected=f"unknown data {name!r}", got="", advice="choose one of digits, "):
            load_data(name)


def dataset(x=X, y=Y, **options):
    return Dataset("mine", x, y, X[:9], Y[:9], **{"classes": 3} | options)


def masked(x, hidden):
    return np.ma.MaskedArray(x, mask=np.arange(x.size).reshape(x.shape) < hidden)


def on_disk(tmp_path, x):
    np.save(tmp_path / f"{x.dtype}.npy", x)
    return np.load(tmp_path / f"{x.dtype}.npy", mmap_mode="r")


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


SAFE = {
    "matrix": lambda x, _: x.view(np.matrix) if x.ndim == 2 else x,
    "mask that hides nothing": lambda x, _: masked(x, 0),
    "on the disk": lambda x, tmp_path: on_disk(tmp_path, x),
    "read-only": lambda x, _: read_only(x),
    "other byte order": lambda x, _: x.astype(x.dtype.newbyteorder()),
    "columns first": lambda x, _: np.asfortranarray(x),
    "backwards": lambda x, _: x[::-1].copy()[::-1],
    "every other": lambda x, _: np.repeat(x, 2, axis=0)[::2],
    "wide": lambda x, _: x.astype(np.longdouble) if x.dtype.kind == "f" else x.astype(np.uint64),
}


@pytest.mark.parametrize("change", SAFE.values(), ids=SAFE)
def test_arrays_of_other_kinds_are_the_same_data(change, tmp_path):
    samples, labels = change(X, tmp_path), change(Y, tmp_path)
    for x, y in ((samples, Y), (X, labels), (samples, labels)):
        assert load_data((x, y)).astype("float32").fingerprint == load_data((X, Y)).fingerprint
        data = dataset(x, y)
        assert {type(array) for array in (data.x_train, data.y_train, data.x_test, data.y_test)} == {np.ndarray}
        assert data.x_train.dtype.isnative
        assert data.y_train.dtype == np.int64
        assert data.astype("float32").fingerprint == dataset().fingerprint
        assert_same_bits(train(data).weights, train(dataset()).weights)


def test_the_sample_that_is_no_number_is_named_as_the_caller_counts():
    x = X.copy()
    x[17, 3] = np.nan
    with input_error(expected="data custom: expected finite numbers", got="in sample 17", advice="repair"):
        load_data((x, Y))


def test_half_precision_is_data():
    assert load_data((X.astype(np.float16), Y)).x_train.dtype == np.float16
    train((X.astype(np.float16), Y))


ARRAYS_REFUSED = {
    "masked values": (masked(X, 1), "MaskedArray with values masked", "fill them"),
    "numbers with a unit": (X.view(Quantity), "Quantity", "numpy.asarray(x)"),
    "a table": (Frame(), "Frame", "to_numpy()"),
    "a sparse matrix": (SimpleNamespace(toarray=None), "SimpleNamespace", "toarray()"),
    "on a GPU": (SimpleNamespace(__cuda_array_interface__={}), "SimpleNamespace", "bring it into host memory"),
    "a list": (X.tolist(), "list", "convert it with numpy.asarray(x)"),
    "nothing": (None, "NoneType", "convert it"),
    "objects": (X.astype(object), "object (60, 5)", "convert it"),
    "complex numbers": (X.astype(complex), "complex128 (60, 5)", "convert it"),
    "pixels": (np.zeros((60, 5), np.uint8), "uint8 (60, 5)", "convert it, pixels from 0 to 255 by x.astype('float32')"),
    "texts": (X.astype(str), "<U", "convert it"),
    "truth values": (X > 0, "bool (60, 5)", "convert it"),
    "records": (np.zeros(60, [("a", "f4")]).view(np.recarray), "recarray", "convert it"),
}


@pytest.mark.parametrize(("x", "got", "advice"), ARRAYS_REFUSED.values(), ids=ARRAYS_REFUSED)
def test_arrays_that_are_no_samples_get_one_line(x, got, advice):
    for make in (lambda: dataset(x), lambda: load_data((x, Y))):
        with input_error(expected="expected x ", got=f"got {got}", advice=advice):
            make()


LABELS_REFUSED = {
    "fractions": (Y + 0.0, "float64 (60,)", "y.astype(int)"),
    "truth values": (Y > 0, "bool (60,)", "y.astype(int)"),
    "names": (np.array(["cat", "dog", "cow"])[Y], "<U3 (60,)", "numpy.unique(y, return_inverse=True)[1]"),
    "one-hot": (np.eye(3, dtype=int)[Y], "int64 (60, 3)", "; "),
    "masked": (masked(Y, 3), "MaskedArray with values masked", "fill them"),
    "a list": (Y.tolist(), "list", "convert it"),
}


@pytest.mark.parametrize(("y", "got", "advice"), LABELS_REFUSED.values(), ids=LABELS_REFUSED)
def test_what_are_no_labels_gets_one_line(y, got, advice):
    with input_error(expected="expected y as whole numbers of shape (60,)", got=f"got {got}", advice=advice):
        dataset(y=y)
    with input_error(expected="expected y as whole numbers", got=got.partition(" with")[0], advice="; "):
        load_data((X, y))


@pytest.mark.parametrize("kind", WHOLE, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_labels_of_any_type_are_the_same_labels(kind, model):
    x = X[:, :4].reshape(-1, 2, 2, 1)
    plain, small = (train((x, Y.astype(dtype)), model=model, width=100) for dtype in (np.int64, kind))
    assert_same_bits(small.weights, plain.weights)
    classes = Dataset("mine", x, Y.astype(kind), x, Y, kind(3)).classes
    assert (classes, type(classes)) == (3, int)


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_as_many_classes_as_the_labels_type_can_name(kind):
    most = int(np.iinfo(kind).max)
    x, y = np.zeros((2 * most + 2, 1)), np.arange(2 * most + 2) % (most + 1)
    assert load_data((x, y.astype(kind))).classes == most + 1


@pytest.mark.parametrize("large", [60, 2**31, 2**62, 2**64 - 1])
def test_a_label_does_not_decide_what_is_allocated(large, tmp_path):
    y = Y.astype(np.uint64)
    y[7] = large
    np.savez(tmp_path / "own.npz", x=X, y=y)
    for data in ((X, y), tmp_path / "own.npz", SimpleNamespace(data=X, target=y)):
        with input_error(expected="below the number of samples, 60", got=f"got {large}", advice="numpy.unique("):
            load_data(data)
    with input_error(expected="expected labels 0 to 2", got=f"got 0 to {large}", advice="numpy.unique("):
        dataset(y=y)


def test_a_label_for_every_sample():
    data = load_data((X, np.arange(60)))
    assert data.classes == 60


def test_the_number_of_classes_does_not_decide_what_is_allocated():
    for classes in (1001, 10**9, 2**70):
        with input_error(expected="expected at most 1000 classes", got=f"got {classes}", advice="numpy.unique"):
            dataset(classes=classes)
    assert dataset(classes=np.int16(1000)).classes == 1000
    many = Dataset("many", np.zeros((1001, 1)), np.zeros(1001, int), np.zeros((4, 1)), np.zeros(4, int), 1005)
    assert many.classes == 1005
    with input_error(expected="expected at most 1005 classes", got="got 1006", advice="numpy.unique"):
        replace(many, classes=1006)


@pytest.mark.parametrize("classes", [2.0, "3", None, True])
def test_classes_are_a_whole_number(classes):
    with input_error(expected="data mine, classes: expected a whole number", got=repr(classes), advice="give one"):
        dataset(classes=classes)


def test_negative_labels():
    for y in (Y - 1, (Y - 9).astype(np.int8)):
        with input_error(expected="expected labels 0 to ", got="got -", advice="numpy.unique(y, return_inverse=True)"):
            load_data((X, y))


def test_a_name_is_a_text():
    with input_error(expected="data: expected a name", got="got 5", advice="give a text"):
        replace(TINY, name=5)


@given(st.integers(-1, 1), st.booleans())
def test_numbers_that_are_too_large_for_the_type_of_the_run(step, negative):
    """The largest float32, and its neighbours among float64."""
    largest = float(np.finfo(np.float32).max)
    x = X.astype(np.float64)
    x[5, 2] = (-1 if negative else 1) * (largest if step == 0 else 1e39 if step > 0 else 0.99 * largest)
    data = dataset(x)
    assert data.astype("float64").largest == abs(x[5, 2])
    if step <= 0:
        assert data.astype("float32").largest <= largest
        return
    with input_error(expected="expected numbers that float32 holds", got="got 1e+39", advice="scale them"):
        data.astype("float32")


@pytest.mark.parametrize("engine", ["reference", "threads"])
def test_divergence_names_inputs_that_are_large(engine):
    pixels = load_data((X * 1e20, Y))
    with pytest.raises(DivergenceError, match=r"at iteration \d+: scale the inputs, which reach \d.*e\+20, to about 1"):
        train(pixels, engine=engine)
    with pytest.raises(DivergenceError, match=r"iteration \d+: lower lr, or train in float64$"):
        train((X, Y), engine=engine, lr=1e18)
    negative = dataset(np.minimum(X, 0) * 1e20)
    with pytest.raises(DivergenceError, match="scale the inputs"):
        train(negative, engine=engine)


# Layers as a model


def test_a_model_may_be_layers_in_any_order_of_wrapping():
    layers = [Flatten(), Linear(20, 4), Tanh(), Linear(4, 3)]
    options = {"data": TINY, "batch_size": 5, "iterations": 3, "split": "count"}
    expected = ddg_ref.train(model=layers, **options).weights
    for model in (tuple(layers), iter(layers), Sequential(layers), OrderedDict.fromkeys(layers)):
        run = ddg_ref.train(model=model, **options)
        assert run.config.model == "custom"
        assert_same_bits(run.weights, expected)
    flat = {"data": blobs(), "batch_size": 5, "iterations": 3, "modules": 1}
    assert_same_bits(
        ddg_ref.train(model=Linear(4, 3), **flat).weights, ddg_ref.train(model=[Linear(4, 3)], **flat).weights
    )


@pytest.mark.parametrize("model", [None, 3, b"mlp", [3], ["mlp"], [Linear], {"a": ReLU()}, [[Linear(4, 3)]]], ids=repr)
def test_what_is_no_model_gets_one_line_at_every_door(model, tmp_path):
    doors = [lambda layers: ddg_ref.train(data=TINY, model=layers)]
    if model is not None:  # which means what the Config names
        save(run_to(small_training(), 3), tmp_path)
        doors += [
            lambda layers: Training(Config(**QUICK), TINY, layers),
            lambda layers: resume(tmp_path, data=TINY, layers=layers),
            lambda layers: check_network(layers, (4,), 3),
        ]
    for door in doors:
        with input_error(expected="expected ", got="got ", advice="; "):
            door(model)


def test_layers_are_given_again_in_any_wrapping(tmp_path):
    layers = [Flatten(), Linear(20, 4), Tanh(), Linear(4, 3)]

    def training():
        return Training(Config(batch_size=5, epochs=2, split="count"), (X16, Y16), iter(layers))

    whole = finish(training())
    save(run_to(training(), 5), tmp_path)
    for model in (iter(layers), Sequential(layers)):
        again = finish(resume(tmp_path, data=SimpleNamespace(data=X16, target=Y16), layers=model))
        assert (again.config.data, again.config.model) == ("custom", "custom")
        assert_same_bits(again.pipeline.params, whole.pipeline.params)


X16, Y16 = np.random.default_rng(0).standard_normal((25, 5, 4, 1)), np.arange(25) % 3


# Options


def test_a_config_and_what_contradicts_it():
    config = Config(**QUICK | {"iterations": 3, "modules": 1})
    with input_error(expected="model: expected mlp", got="got cnn", advice="change the Config"):
        ddg_ref.train(config, model="cnn")
    with input_error(expected="data: expected digits", got="got shapes", advice="change the Config"):
        ddg_ref.train(config, data="shapes")
    with input_error(expected="data: expected digits", got="got other/own.npz", advice="change the Config"):
        ddg_ref.train(config, data=Path("other/own.npz"))
    plain = ddg_ref.train(config)
    assert_same_bits(ddg_ref.train(config, model="mlp", data="digits").weights, plain.weights)


def test_the_record_names_what_was_run(tmp_path):
    layers = [Flatten(), Linear(20, 3)]
    named = Config(**QUICK | {"iterations": 3, "batch_size": 5})
    bare = replace(named, width=None, depth=None)
    runs = {
        ("tiny", "mlp"): ddg_ref.train(named, data=TINY),
        ("custom", "mlp"): ddg_ref.train(named, data=(X, Y)),
        ("tiny", "custom"): ddg_ref.train(bare, data=TINY, model=layers),
        ("digits", "mlp"): ddg_ref.train(named),
    }
    for i, (names, run) in enumerate(runs.items()):
        assert (run.config.data, run.config.model) == names
        record = json.loads((rundir.save(run, tmp_path / str(i)) / "run.json").read_text())
        assert (record["config"]["data"], record["config"]["model"]) == names
    assert (named.data, bare.model) == ("digits", "mlp")


def test_what_is_not_given_is_the_default():
    options = {name: value for name, value in QUICK.items() if name not in ("model", "depth")} | {"iterations": 2}
    run = ddg_ref.train(**options)
    assert (run.config.data, run.config.model) == ("digits", "cnn")


@pytest.mark.parametrize("config", ["digits", {"model": "mlp"}, 3], ids=repr)
def test_what_is_no_config_gets_one_line(config):
    for door in (ddg_ref.train, Training, lambda config: ddg_ref.train(config, model="mlp")):
        with input_error(expected="config: expected a Config", got="got ", advice="give its options by their names"):
            door(config)


def test_options_without_effect_are_refused():
    with input_error(expected="checkpoint_every: train writes no checkpoints", got="", advice="leave it out"):
        ddg_ref.train(**QUICK, checkpoint_every=1)
    with input_error(expected="checkpoint_every: train writes no checkpoints", got="", advice="leave it out"):
        ddg_ref.train(Config(**QUICK, checkpoint_every=1))
    with input_error(expected="on_epoch: expected a function of a Record", got="got 3", advice="give one"):
        ddg_ref.train(**QUICK, on_epoch=3)


def test_only_an_engine_that_watches_has_a_stall_timeout():
    assert {name for name, engine in ENGINES.items() if engine.watches} == {"threads", "mpi"}
    for engine in ("threads", "mpi"):
        assert Config(engine=engine, stall_timeout=5.0).stall_timeout == 5
    with input_error(expected="stall_timeout: engine reference", got="", advice="leave it out"):
        Config(engine="reference", stall_timeout=5.0)


def test_a_run_with_a_stall_timeout_goes_on_under_any_engine(tmp_path):
    started = small_training(engine="threads", stall_timeout=60.0)
    save(run_to(started, 3), tmp_path)
    again = resume(tmp_path, engine="reference", data=TINY)
    assert again.config.stall_timeout is None
    assert resume(tmp_path, engine="threads", data=TINY).config.stall_timeout == 60
    assert_same_bits(finish(again).pipeline.params, finish(small_training()).pipeline.params)


def training_cut_at(cuts):
    return Training(Config(data="tiny", model="mlp", depth=4, modules=3, batch_size=5), TINY, cuts=cuts)


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda cuts: map(np.uint8, cuts)])
def test_cuts_become_plain_numbers(kind, tmp_path):
    training = training_cut_at(kind([2, 5]))
    assert training.cuts == [2, 5]
    save(run_to(training, 3), tmp_path)
    assert resume(tmp_path, data=TINY).cuts == [2, 5]


@pytest.mark.parametrize(
    ("cuts", "expected", "got"),
    [
        ([2], "cuts: expected 2 for 3 modules", "[2]"),
        ([1, 2, 3], "cuts: expected 2 for 3 modules", "[1, 2, 3]"),
        ("2,5", "cuts: expected a list of layer numbers", "'2,5'"),
        (2, "cuts: expected a list of layer numbers", "2"),
        ([2, 2.5], "cuts: expected a whole number", "2.5"),
        ([2, 2], "cuts: expected increasing layer numbers", "[2, 2]"),
    ],
    ids=str,
)
def test_cuts_that_do_not_fit(cuts, expected, got):
    with input_error(expected=expected, got=f"got {got}", advice="; "):
        training_cut_at(cuts)


class Hostile:
    """An argument whose text is long and has many lines."""

    text: ClassVar[str] = "many\nlines " * 1000

    def __repr__(self):
        return self.text


@pytest.mark.parametrize("value", [Hostile(), [Hostile()] * 9, "x" * 10**6, np.zeros((9, 9))], ids=["a", "b", "c", "d"])
def test_messages_are_short_and_of_one_line(value):
    for make in (
        lambda: Linear(value, 2),
        lambda: Conv2d(1, 1, value),
        lambda: Conv2d(1, 1, bias=value),
        lambda: Sequential(value),
        lambda: mlp(value, 3),
        lambda: load_data((value, value)),
        lambda: load_data({1: value}),
        lambda: replace(TINY, classes=value),
        lambda: ddg_ref.train(value),
        lambda: ddg_ref.train(data=TINY, model=value),
        lambda: ddg_ref.train(data=TINY, model="mlp", on_epoch=value, width=2, batch_size=5),
    ):
        with pytest.raises(ddg_ref.InputError) as caught:
            make()
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300


def test_a_data_set_can_be_copied():
    assert copy.deepcopy(TINY).fingerprint == TINY.fingerprint
    assert set(MODELS) == {"mlp", "cnn", "resnet"}


@pytest.mark.parametrize(
    ("y", "advice"),
    [
        (np.array(["cat", "dog", "cow"])[Y], "numpy.unique(y, return_inverse=True)[1]"),
        (np.array(["cat", "dog", "cow"], object)[Y], "numpy.unique(y, return_inverse=True)[1]"),
        (np.array(["cat", "dog", "cow"])[Y].astype(np.dtypes.StringDType()), "numpy.unique(y, return_inverse=True)[1]"),
        (Y.astype(float), "y.astype(int)"),
        (Y == 0, "y.astype(int)"),
    ],
    ids=["texts", "objects", "new texts", "floats", "truth values"],
)
def test_labels_of_another_kind_get_the_way_to_convert_them(y, advice):
    for data in ((X, y), SimpleNamespace(data=X, target=y)):
        with input_error(expected="expected y as whole numbers", got=f"got {y.dtype} {y.shape}", advice=advice):
            load_data(data)


def test_a_config_takes_paths_and_complains_in_one_line():
    assert Config(data=Path("own.npz")).data == "own.npz"
    assert Config(data="cifar10", data_dir=Path("/data")).data_dir == "/data"
    for bad in (np.zeros((2, 2)), "x" * 10**6, [[1], [2]]):
        for name in ("lr", "split", "milestones", "modules"):
            with pytest.raises(ddg_ref.InputError) as caught:
                Config(**{"schedule": "multi-step", "milestones": "3"} | {name: bad})
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 300
