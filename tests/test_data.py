from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import input_error
from strategies import seeds

from ddg_ref.data import DATASETS, Batches, Dataset, digits, shapes
from ddg_ref.data.dataset import check_samples
from ddg_ref.data.shapes import SHAPES

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


@pytest.fixture(scope="module", params=DATASETS)
def named(request):
    """The name of a data set, and the data set as it comes by default."""
    return request.param, DATASETS[request.param]()


EXPECTED = {
    "digits": {"shape": (8, 8, 1), "train": 1437, "test": 360},
    "shapes": {"shape": (32, 32, 3), "train": 4000, "test": 1000},
}


def test_sizes_and_types(named):
    name, data = named
    expected = EXPECTED[name]
    assert (data.name, data.classes, data.input_shape) == (name, 10, expected["shape"])
    assert (len(data.x_train), len(data.x_test)) == (expected["train"], expected["test"])
    assert {data.x_train.dtype, data.x_test.dtype} == {np.dtype(np.float32)}
    wide = data.astype("float64")
    assert {wide.x_train.dtype, wide.x_test.dtype} == {np.dtype(np.float64)}
    np.testing.assert_array_equal(wide.x_test, data.x_test)
    assert data.astype("float32").x_train is data.x_train


def test_the_same_every_time(named):
    name, data = named
    again = DATASETS[name]()
    for array in ARRAYS:
        assert getattr(again, array).tobytes() == getattr(data, array).tobytes()


def test_classes_are_about_equally_frequent(named):
    _, data = named
    for y in (data.y_train, data.y_test):
        counts = np.bincount(y, minlength=10)
        assert counts.min() > 0.6 * len(y) / 10
        assert counts.max() < 1.4 * len(y) / 10


def test_no_test_sample_was_trained_on(named):
    _, data = named
    seen = {x.tobytes() for x in data.x_train}
    assert not any(x.tobytes() in seen for x in data.x_test)


def test_digits_are_grey_values_from_0_to_1():
    data = digits()
    for x in (data.x_train, data.x_test):
        assert (x.min(), x.max()) == (0, 1)
        np.testing.assert_array_equal(x * 16, np.round(x * 16))


def test_digits_are_the_ones_that_are_bundled():
    from sklearn.datasets import load_digits

    data, bunch = digits(), load_digits()
    pairs = {((16 * x).astype(int).tobytes(), int(y)) for x, y in zip(data.x_train, data.y_train, strict=True)}
    pairs |= {((16 * x).astype(int).tobytes(), int(y)) for x, y in zip(data.x_test, data.y_test, strict=True)}
    assert pairs == {(image.astype(int).tobytes(), int(y)) for image, y in zip(bunch.images, bunch.target, strict=True)}


def test_shapes_of_other_sizes_and_seeds():
    small, other = shapes(train=25, test=13), shapes(train=25, test=13, seed=1)
    assert len(SHAPES) == small.classes == 10
    for data in (small, other):
        assert (len(data.x_train), len(data.x_test)) == (25, 13)
        for y in (data.y_train, data.y_test):
            counts = np.bincount(y, minlength=10)
            assert counts.max() - counts.min() <= 1
        assert -1 < data.x_train.mean() < 1
        assert np.abs(data.x_train).max() < 4
    assert not np.array_equal(small.x_train, other.x_train)
    assert not np.array_equal(small.y_train, other.y_train)


# Batches


@given(st.integers(1, 40), st.data(), seeds)
def test_every_epoch_is_a_permutation_and_its_last_batch_is_not_padded(n, data, seed):
    size = data.draw(st.integers(1, n))
    x, y = np.arange(n, dtype=np.float32)[:, None], np.arange(n)
    batches = Batches(x, y, size, seed)
    assert batches.per_epoch == -(-n // size)
    for epoch in range(3):
        parts = [batches(t) for t in range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)]
        assert [len(labels) for _, labels in parts] == [size] * (n // size) + [n % size] * (n % size > 0)
        assert sorted(np.concatenate([labels for _, labels in parts])) == list(range(n))
        for samples, labels in parts:
            np.testing.assert_array_equal(samples[:, 0], labels)


@given(st.integers(1, 20), st.data(), st.integers(1, 12))
def test_the_smallest_batch_that_comes(n, data, iterations):
    batches = Batches(np.zeros((n, 1), np.float32), np.zeros(n, int), data.draw(st.integers(1, n)), seed=0)
    assert batches.smallest(iterations) == min(len(batches.indices(t)) for t in range(iterations))


@given(st.integers(1, 20), st.integers(1, 20), seeds, st.randoms(use_true_random=False))
def test_a_batch_depends_on_seed_and_iteration_alone(n, size, seed, random):
    size = min(n, size)
    x, y = np.arange(n, dtype=np.float32)[:, None], np.arange(n)
    in_order = [Batches(x, y, size, seed).indices(t).tolist() for t in range(30)]
    iterations = list(range(30)) * 2
    random.shuffle(iterations)
    batches = Batches(x, y, size, seed)
    assert all(batches.indices(t).tolist() == in_order[t] for t in iterations)


def test_many_threads_may_ask_at_once():
    x, y = np.arange(50, dtype=np.float32)[:, None], np.arange(50)
    in_order = [Batches(x, y, 7, 0)(t)[1].tolist() for t in range(200)]
    shared = Batches(x, y, 7, 0)
    iterations = np.random.default_rng(0).permutation(np.tile(np.arange(200), 5)).tolist()
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda t: shared(t)[1].tolist(), iterations))
    assert answers == [in_order[t] for t in iterations]


def test_epochs_and_seeds_differ():
    x, y = np.zeros((50, 1), np.float32), np.arange(50)
    first, second = Batches(x, y, 50, 0), Batches(x, y, 50, 1)
    orders = {tuple(batches.indices(t)) for batches in (first, second) for t in range(3)}
    assert len(orders) == 6


def test_what_a_caller_does_to_a_batch_changes_no_other():
    x, y = np.arange(12, dtype=np.float32)[:, None], np.arange(12)
    batches = Batches(x, y, 5, 0)
    samples, labels = batches(0)
    expected = labels.copy()
    samples[:], labels[:] = -1, -1
    with pytest.raises(ValueError, match="read-only"):
        batches.indices(0)[:] = 0
    np.testing.assert_array_equal(batches(0)[1], expected)


@pytest.mark.parametrize("size", [-1, 0, 13])
def test_a_batch_is_not_empty_and_not_larger_than_the_data(size):
    with input_error(expected="batch size: expected 1 to 12", got=f"got {size}", advice="change it"):
        Batches(np.zeros((12, 1), np.float32), np.arange(12), size, 0)


# What a data set refuses

GOOD = Dataset("mine", np.zeros((6, 3), np.float32), np.arange(6) % 3, np.ones((4, 3)), np.array([0, 1, 2, 0]), 3)


def spoilt(value):
    x = np.zeros((6, 3), np.float32)
    x[4, 1] = value
    return x


@pytest.mark.parametrize(
    ("change", "expected", "got", "advice"),
    [
        ({"classes": 1}, "expected at least 2 classes", "got 1", "check the labels"),
        ({"x_train": spoilt(nan)}, "train: expected finite numbers", "sample 4", "repair"),
        ({"x_train": spoilt(-inf)}, "train: expected finite numbers", "sample 4", "repair"),
        ({"x_test": np.full((4, 3), nan)}, "test: expected finite numbers", "sample 0", "repair"),
        ({"y_train": np.array([0, 1, 2, 3, 0, 0])}, "train: expected labels 0 to 2", "0 to 3", "renumber"),
        ({"y_test": np.array([0, -1, 2, 0])}, "test: expected labels 0 to 2", "-1 to 2", "renumber"),
        ({"y_train": np.zeros(6)}, "train: expected y as whole numbers of shape (6,)", "float64 (6,)", "convert"),
        ({"y_train": np.zeros(5, int)}, "train: expected y as whole numbers of shape (6,)", "int64 (5,)", "convert"),
        ({"y_train": np.zeros((6, 1), int)}, "expected y as whole numbers of shape (6,)", "int64 (6, 1)", "convert"),
        ({"y_test": [0, 1, 2, 0]}, "test: expected y as whole numbers", "list", "convert"),
        ({"x_train": np.zeros((6, 3), np.uint8)}, "train: expected x as", "uint8 (6, 3)", "convert"),
        ({"x_train": np.zeros(6)}, "train: expected x as a non-empty array", "float64 (6,)", "convert"),
        ({"x_test": np.zeros((0, 3))}, "test: expected x as a non-empty array", "float64 (0, 3)", "convert"),
        ({"x_train": [[0.0]] * 6}, "train: expected x as", "list", "convert"),
        ({"x_test": np.zeros((4, 2))}, "samples of one shape", "(3,) and (2,)", "make them equal"),
    ],
)
def test_data_that_cannot_be_used(change, expected, got, advice):
    with input_error(expected=expected, got=got, advice=advice) as _:
        replace(GOOD, **change)


def test_the_message_begins_with_the_place():
    with input_error(expected="somewhere: expected labels 0 to 1", got="got 0 to 2", advice="renumber"):
        check_samples("somewhere", np.zeros((2, 1)), np.array([0, 2]), 2)
