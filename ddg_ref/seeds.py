"""Random numbers: a stream for each purpose, so that what is drawn for one never repeats what is drawn for another."""

from enum import IntEnum, unique

import numpy as np


@unique
class Purpose(IntEnum):
    """What random numbers are drawn for, and what further numbers a stream of that purpose has."""

    WEIGHTS = 0
    """Initial weights."""
    ORDER = 1
    """The order of the samples: epoch."""
    AUGMENTATION = 2
    """Shifts and mirrorings: iteration."""
    SYNTHESIZER = 3
    """The initial weights of a synthesizer: module."""
    COSTS = 4
    """Weights with which layers are timed."""
    SHAPES = 5
    """Drawn images: 0 to train on, 1 to test."""
    DIGITS = 6
    """The order of the bundled digits."""
    TEST_SPLIT = 7
    """Which samples of a user's own data are for testing."""
    NOISE = 8
    """Disturbances as large as rounding, by which the tolerance of a trace is found."""


def generator(purpose: Purpose, seed: int, *numbers: int) -> np.random.Generator:
    """A new generator at the beginning of the stream that its arguments name; `seed` >= 0, of any size.

    `default_rng((seed, *numbers))` would not do: it takes zeros at the end for nothing, so (seed, 0) for seed. Keys of
    a SeedSequence are counted.
    """
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, *numbers)))
