"""Augmented batches: still a function of seed and iteration alone, and nobody pays for them twice."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import input_error
from networks import IN_PROCESS
from runs import PER_EPOCH, finish, small_training
from strategies import dtypes, seeds

import ddg_ref
from ddg_ref.data import Batches, batches
from ddg_ref.data.augment import MARGIN, shift_and_mirror


def images(n=30, h=6, w=5, c=2, dtype=np.float32):
    """Images whose values are all different, and none 0."""
    return np.arange(1, n * h * w * c + 1, dtype=dtype).reshape(n, h, w, c)


def moved(image, down, right, mirror):
    """What augmentation may make of one image, pixel by pixel."""
    h, w, _ = image.shape
    result = np.zeros_like(image)
    for i in range(h):
        for j in range(w):
            if 0 <= i - down < h and 0 <= j - right < w:
                result[i, w - 1 - j if mirror else j] = image[i - down, j - right]
    return result


SHIFTS = range(-MARGIN, MARGIN + 1)


@given(st.integers(1, 8), st.integers(1, 7), st.integers(1, 7), st.integers(1, 3), dtypes, seeds)
def test_an_image_is_shifted_by_up_to_four_pixels_and_may_be_mirrored(n, h, w, c, dtype, seed):
    x = images(n, h, w, c, dtype)
    y = shift_and_mirror(x, np.random.default_rng(seed))
    assert (y.shape, y.dtype, MARGIN) == (x.shape, x.dtype, 4)
    for before, after in zip(x, y, strict=True):
        possible = (moved(before, i, j, mirror) for i in SHIFTS for j in SHIFTS for mirror in (False, True))
        assert any(np.array_equal(after, image) for image in possible)


def test_every_shift_occurs_and_half_of_the_images_are_mirrored():
    n, size = 4000, 2 * MARGIN + 1
    x = images(n, size, size, 1, np.float64)
    y = shift_and_mirror(x, np.random.default_rng(0))
    centre = x[:, MARGIN, MARGIN, 0]  # of an image this large it never leaves
    row, column = np.argwhere(y[..., 0] == centre[:, None, None])[:, 1:].T
    right_of_it = np.pad(y[..., 0], ((0, 0), (0, 0), (1, 1)))[np.arange(n), row, column + 2]
    left_of_it = np.pad(y[..., 0], ((0, 0), (0, 0), (1, 1)))[np.arange(n), row, column]
    mirrored = (left_of_it == centre + 1) | (right_of_it == centre - 1)
    assert abs(mirrored.mean() - 0.5) < 0.05
    for place in (row, column):
        counts = np.bincount(place, minlength=size)
        assert counts.min() > 0.8 * n / size
        assert counts.max() < 1.2 * n / size
    assert len(set(zip(row, column, mirrored, strict=True))) == 2 * size**2


def test_the_data_stay_as_they_are():
    x = images()
    x.flags.writeable = False
    shift_and_mirror(x, np.random.default_rng(0))[:] = 0
    np.testing.assert_array_equal(x, images())


@given(seeds, st.integers(1, 30), st.randoms(use_true_random=False))
def test_a_batch_depends_on_seed_and_iteration_alone(seed, size, random):
    y = np.arange(30)
    in_order = [Batches(images(), y, size, seed, augment=True)(t)[0].tobytes() for t in range(12)]
    iterations = list(range(12)) * 2
    random.shuffle(iterations)
    shared = Batches(images(), y, size, seed, augment=True)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda t: shared.samples(t).tobytes(), iterations))
    assert answers == [in_order[t] for t in iterations]


@given(seeds, st.integers(1, 30))
def test_labels_and_their_order_are_those_of_plain_batches(seed, size):
    y = np.arange(30)
    plain, augmented = (Batches(images(), y, size, seed, augment=augment) for augment in (False, True))
    for t in range(2 * plain.per_epoch):
        np.testing.assert_array_equal(plain(t)[1], augmented(t)[1])
        np.testing.assert_array_equal(plain.labels(t), augmented.labels(t))
        np.testing.assert_array_equal(plain.samples(t), plain(t)[0])
        own = {label: set(images()[label].ravel()) | {0} for label in augmented.labels(t)}
        assert all(set(x.ravel()) <= own[label] for x, label in zip(*augmented(t), strict=True))


def test_seeds_iterations_and_epochs_differ():
    x = images(1)
    drawn = [Batches(x, np.zeros(1, int), 1, seed, augment=True)(t)[0].tobytes() for seed in (0, 1) for t in range(40)]
    first, second = set(drawn[:40]), set(drawn[40:])
    assert min(len(first), len(second)) > 25  # of 162 ways, 40 times one
    assert drawn[:40] != drawn[40:]


@pytest.mark.parametrize("x", [np.zeros((6, 3)), np.zeros((6, 4, 4))])
def test_what_is_no_image_cannot_be_augmented(x):
    with input_error(expected="augment: expected images (height, width, channels)", got=x.shape[1:], advice="leave"):
        Batches(x, np.zeros(6, int), 2, 0, augment=True)


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_each_batch_is_augmented_once(engine, monkeypatch):
    calls = []

    def counted(x, rng):
        calls.append(len(x))
        return shift_and_mirror(x, rng)

    monkeypatch.setattr(batches, "shift_and_mirror", counted)
    finish(small_training(engine=engine, augment=True))
    assert len(calls) == 2 * PER_EPOCH


def test_training_sees_other_images_and_the_test_set_stays():
    plain, augmented = (finish(small_training(augment=augment)) for augment in (False, True))
    assert plain.data.fingerprint == augmented.data.fingerprint
    assert plain.history[0].train_loss != augmented.history[0].train_loss


def test_it_is_off_by_default():
    assert ddg_ref.Config().augment is False
    assert small_training().batches.augment is False
