import numpy as np
import pytest
from gradcheck import check_gradient
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from strategies import dtypes, seeds

from ddg_ref.losses import LOSSES, mean_squared_error, one_hot, softmax_cross_entropy, squared_error

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
