from itertools import product

import numpy as np
import pytest
from gradcheck import check_gradient
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes
from messages import input_error
from scipy.special import log_softmax, softmax
from strategies import dtypes, seeds

from ddg_ref.losses import LOSSES, mean_squared_error, one_hot, softmax_cross_entropy, squared_error
from ddg_ref.task import Task

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def draw(seed, n, classes, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return (2 * rng.standard_normal((n, classes))).astype(dtype), rng.integers(0, classes, n), rng


@every_loss
@given(st.integers(1, 6), st.integers(2, 5), dtypes, seeds)
def test_gradient_shape_and_dtype(loss, n, classes, dtype, seed):
    y, labels, rng = draw(seed, n, classes, dtype)
    y.flags.writeable = labels.flags.writeable = False
    value, dy = loss(y, labels)
    assert (np.shape(value), value.dtype, dy.shape, dy.dtype) == ((), dtype, y.shape, dtype)
    check_gradient(lambda moved: loss(moved, labels)[0], dy, y, rng, "y")


def test_gradient_of_the_mean_squared_error_by_a_real_target():
    y, _, rng = draw(0, 4, 3)
    target = rng.standard_normal(y.shape)
    value, dy = mean_squared_error(y, target)
    assert value == pytest.approx(np.mean((y - target) ** 2), rel=1e-14)
    check_gradient(lambda moved: mean_squared_error(moved, target)[0], dy, y, rng, "y")


@given(st.integers(1, 6), st.integers(2, 5), seeds)
def test_cross_entropy_against_scipy(n, classes, seed):
    y, labels, _ = draw(seed, n, classes)
    value, dy = softmax_cross_entropy(y, labels)
    rows = np.arange(n)
    assert value == pytest.approx(-log_softmax(y, axis=1)[rows, labels].mean(), rel=1e-12, abs=1e-15)
    expected = softmax(y, axis=1)
    expected[rows, labels] -= 1
    np.testing.assert_allclose(dy, expected / n, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e3, 1e30])
def test_cross_entropy_of_huge_outputs(dtype, size):
    y = np.array([[size, 0, -size], [size, 0, -size]], dtype)
    value, dy = softmax_cross_entropy(y, np.array([0, 2]))
    assert value == pytest.approx(size, rel=1e-6)  # the mean of 0 and 2 size
    np.testing.assert_array_equal(dy, [[0, 0, 0], [0.5, 0, -0.5]])


def test_cross_entropy_does_not_change_when_all_outputs_are_shifted():
    y, labels, _ = draw(0, 5, 4)
    (value, dy), (shifted_value, shifted_dy) = softmax_cross_entropy(y, labels), softmax_cross_entropy(y + 64, labels)
    assert shifted_value == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(shifted_dy, dy, rtol=0, atol=1e-13)
    np.testing.assert_allclose(dy.sum(axis=1), 0, atol=1e-15)


def test_squared_error_is_taken_against_one_hot_labels():
    y, labels, _ = draw(0, 5, 4)
    target = np.eye(4)[labels]
    np.testing.assert_array_equal(one_hot(labels, y), target)
    value, dy = squared_error(y, labels)
    assert value == pytest.approx(((y - target) ** 2).mean(), rel=1e-14)
    np.testing.assert_allclose(dy, 2 * (y - target) / y.size, rtol=1e-14)


@every_loss
def test_the_loss_of_a_batch_is_the_mean_over_its_samples(loss):
    y, labels, _ = draw(0, 6, 3)
    single = [loss(y[i : i + 1], labels[i : i + 1]) for i in range(6)]
    value, dy = loss(y, labels)
    assert value == pytest.approx(np.mean([one for one, _ in single]), rel=1e-12)
    np.testing.assert_allclose(dy, np.concatenate([one for _, one in single]) / 6, rtol=1e-12, atol=1e-15)


# What cannot be a batch's outputs and labels

OUTPUTS, LABELS = np.zeros((4, 3)), np.array([0, 2, 1, 0])
BAD_LABELS = [
    (LABELS[:, None], "(4, 1)", "flatten"),
    (LABELS[None], "(1, 4)", "flatten"),
    (LABELS[:3], "(3,)", "flatten"),
    (LABELS[:1], "(1,)", "flatten"),
    (np.array(1), "()", "flatten"),
    (np.eye(3)[LABELS], "float64 (4, 3)", "flatten"),
    (LABELS.astype(float), "float64 (4,)", "convert"),
    (LABELS == 0, "bool (4,)", "convert"),
]


@pytest.mark.parametrize("function", [*LOSSES.values(), lambda y, labels: one_hot(labels, y)], ids=[*LOSSES, "one hot"])
class TestLabels:
    @pytest.mark.parametrize(("labels", "got", "advice"), BAD_LABELS, ids=lambda value: str(value)[:20])
    def test_not_one_whole_number_per_sample(self, function, labels, got, advice):
        with input_error(expected="labels: expected whole numbers of shape (4,)", got=got, advice=advice):
            function(OUTPUTS, labels)

    @pytest.mark.parametrize("dtype", ["i1", "u1", "i4", "i8", "u8"])
    def test_out_of_range(self, function, dtype):
        for label, place in product((-1, -3, -4, 3, 100), range(4)):
            if label < 0 and dtype[0] == "u":
                continue
            labels = LABELS.astype(dtype)
            labels[place] = label
            with input_error(expected="labels: expected 0 to 2", got=f"got {label}", advice="renumber"):
                function(OUTPUTS, labels)

    @pytest.mark.parametrize("dtype", ["i1", "u1", "i8", "u8", ">i4"])
    def test_of_any_kind(self, function, dtype):
        for found, expected in zip(function(OUTPUTS, LABELS.astype(dtype)), function(OUTPUTS, LABELS), strict=True):
            np.testing.assert_array_equal(found, expected)

    @pytest.mark.parametrize(
        "y", [np.zeros(4), np.zeros((4, 3, 1)), np.zeros((0, 3)), np.zeros((4, 0)), np.zeros((4, 3), int)], ids=np.shape
    )
    def test_of_what_are_no_outputs(self, function, y):
        expected = "outputs: expected a non-empty array (samples, classes) of floats"
        with input_error(expected=expected, got=f"{y.dtype} {y.shape}", advice="end"):
            function(y, LABELS[: len(y)])


@pytest.mark.parametrize("kind", [lambda x: x.view(np.matrix), np.ma.array, list], ids=["matrix", "masked", "list"])
@pytest.mark.parametrize("place", [0, 1], ids=["outputs", "labels or target"])
def test_what_computes_in_another_way_than_arrays_is_refused(kind, place):
    """A matrix times itself is no square, and what is masked would be left out or not, as it happens."""
    for loss, right in ((softmax_cross_entropy, LABELS), (squared_error, LABELS), (mean_squared_error, OUTPUTS)):
        given = [OUTPUTS, right]
        given[place] = kind(given[place])
        with input_error(expected="expected an array", got=type(given[place]).__name__, advice="numpy.asarray"):
            loss(*given)


def test_whole_numbers_are_no_outputs():
    with input_error(expected="outputs: expected floats", got="uint8", advice="convert"):
        mean_squared_error(OUTPUTS.astype(np.uint8), OUTPUTS.astype(np.uint8))


@given(array_shapes(min_dims=0, min_side=0, max_side=3), array_shapes(min_dims=0, min_side=0, max_side=3))
@example((4,), (4, 1))
@example((4, 1), (4,))
@example((4, 3), (1, 3))
@example((0, 2), (0, 2))
@example((4, 1), (4, 1))
def test_a_target_of_another_shape(shape, other):
    if shape == other and 0 not in shape:
        assert mean_squared_error(np.ones(shape), np.zeros(other))[0] == 1
        return
    with input_error(expected="target: expected", got=f"{shape} and {other}", advice="reshape"):
        mean_squared_error(np.ones(shape), np.ones(other))


def test_real_targets_have_no_class_to_be_right_about():
    """What a task counts as right never exceeds the samples, whatever the loss is given for labels."""
    y, target = np.zeros((5, 1)), np.zeros((5, 1))
    task = Task(lambda t: (y, target), mean_squared_error, lambda t: 0.1, 1)
    task.error_gradient(0, y)
    assert task.results[0].correct == 0
