"""No two things are drawn from one stream, and what is drawn depends on nothing else."""

import ast
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import assert_same_bits

import ddg_ref
from ddg_ref import Config
from ddg_ref.data.augment import shift_and_mirror
from ddg_ref.layers import Flatten, Linear
from ddg_ref.runs.training import Training
from ddg_ref.seeds import Purpose, generator

LARGE = [2**31, 2**32 - 1, 2**32, 2**64, 2**127, 10**40]
purposes = st.sampled_from(Purpose)
keys = st.tuples(purposes, st.integers(0, 2**130), st.lists(st.integers(0, 2**31), max_size=2).map(tuple))


def start(purpose, seed, *numbers):
    """Enough of a stream to know it by."""
    return generator(purpose, seed, *numbers).bytes(16)


def test_no_two_streams_are_the_same():
    """Of all purposes, seeds and numbers; nor are they those that NumPy gives for the same seeds."""
    numbers = [(), *((n,) for n in range(6)), (2**32 - 1,)]
    names = list(product(Purpose, [*range(6), *LARGE], numbers))
    plain = [*range(6), *product(range(6), range(1, 6))]
    starts = [start(purpose, seed, *more) for purpose, seed, more in names]
    starts += [np.random.default_rng(seed).bytes(16) for seed in plain]
    assert len(set(starts)) == len(starts)


@given(keys, keys)
def test_streams_are_the_same_only_if_their_names_are(a, b):
    same = start(a[0], a[1], *a[2]) == start(b[0], b[1], *b[2])
    assert same == (a == b)


def test_a_stream_does_not_depend_on_what_was_drawn_before():
    first = {purpose: start(purpose, 3, 1) for purpose in Purpose}
    np.random.default_rng(3).normal(size=100)
    assert {purpose: start(purpose, 3, 1) for purpose in reversed(Purpose)} == first
    assert generator(Purpose.ORDER, 3, 1).integers(1000, size=4).tolist() == [788, 588, 725, 378]


def test_everything_is_drawn_through_this_file():
    """Each purpose in one place."""
    root, places = Path(ddg_ref.__file__).parent, []
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            text = ast.unparse(node) if isinstance(node, ast.Attribute | ast.ImportFrom | ast.Import) else ""
            if text.startswith("Purpose."):
                places.append(text.removeprefix("Purpose."))
            elif "random" in text:
                assert text in ("np.random", "np.random.Generator") or path.name == "seeds.py", (path, text)
    assert sorted(places) == sorted(Purpose.__members__)


@pytest.mark.parametrize("seed", [0, 3, 10**40])
def test_what_is_drawn_for_what(seed):
    layers = [Flatten(), Linear(64, 4), Linear(4, 10)]
    config = Config(seed=seed, method="dni", modules=2, split="2", batch_size=479, engine="reference", augment=True)
    training = Training(config, layers=layers)
    fresh = training.network.init(generator(Purpose.WEIGHTS, seed))
    assert_same_bits(training.pipeline.params, fresh)
    guessing = training.pipeline.guessers[0]
    assert_same_bits(guessing.params, guessing.layers.init(generator(Purpose.SYNTHESIZER, seed, 1)))
    for epoch in (0, 2):
        order = np.concatenate([training.batches.indices(3 * epoch + t) for t in range(3)])
        np.testing.assert_array_equal(order, generator(Purpose.ORDER, seed, epoch).permutation(1437))
    x = training.data.x_train[training.batches.indices(4)]
    moved = shift_and_mirror(x, generator(Purpose.AUGMENTATION, seed, 4))
    np.testing.assert_array_equal(training.batches.samples(4), moved)
