"""A resumed run is the run that never stopped, bit for bit; a checkpoint is there as a whole or not at all."""

import subprocess
from dataclasses import replace
from tempfile import TemporaryDirectory
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import PER_EPOCH, SMALL, TINY, assert_same_run, finish, run_to, small_training, tiny_images

from ddg_ref import Config
from ddg_ref.checkpoints import STATE, SUMS, TENSORS, list_checkpoints, load, resume, save
from ddg_ref.engines import ENGINES
from ddg_ref.errors import CheckpointError, InputError
from ddg_ref.layers import Linear, Flatten, Tanh
from ddg_ref.methods import METHODS
from ddg_ref.training import Training

OPTIMIZERS = [
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "nesterov": True, "weight_decay": 1e-3},
    {"optimizer": "adam", "weight_decay": 1e-3},
]
MODELS = [
    {"model": "mlp", "width": 3, "depth": 4},
    {"model": "cnn", "width": 2, "depth": 3},
    {"model": "resnet", "width": 1, "depth": 8},
]
SCHEDULES = [{}, {"schedule": "harmonic", "period": 3.0, "warmup": 4}, {"schedule": "multi-step", "milestones": "1"}]


@st.composite
def options(draw):
    model = draw(st.sampled_from(MODELS))
    layers = len(small_training(**model, modules=1).network.layers)
    return {
        **SMALL,
        **model,
        **draw(st.sampled_from(OPTIMIZERS)),
        **draw(st.sampled_from(SCHEDULES)),
        "method": draw(st.sampled_from(sorted(METHODS))),
        "modules": draw(st.integers(1, min(6, layers))),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "loss": draw(st.sampled_from(["cross-entropy", "squared-error"])),
        "drain": draw(st.booleans()),
        "seed": draw(st.integers(0, 9)),
        "epochs": draw(st.integers(1, 3)),
        "iterations": draw(st.none() | st.integers(0, 2 * PER_EPOCH)),
    }


ENGINE = st.sampled_from(sorted(ENGINES))
STOPS = st.lists(st.tuples(st.integers(0, 3 * PER_EPOCH), ENGINE), min_size=1, max_size=4)


def resumed(config, stops, last_engine):
    """A run that stops at each of the iterations, is written, read and taken up by the next engine."""
    training = Training(config, TINY)
    with TemporaryDirectory() as directory:
        for iteration, engine in sorted(stops):
            training.config = replace(config, engine=engine)
            run_to(training, iteration)
            save(training, Path(directory))
            training = resume(Path(directory), engine=last_engine, data=TINY)
    return finish(training)


@given(options(), STOPS, ENGINE)
@settings(max_examples=200)
def test_a_resumed_run_is_the_run_that_never_stopped(options, stops, last_engine):
    config = Config(data="tiny", **options)
    assert_same_run(resumed(config, stops, last_engine), finish(Training(config, TINY)))


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("stop", range(2 * PER_EPOCH + 1))
@pytest.mark.parametrize(("first", "second"), [("threads", "reference"), ("reference", "threads")])
def test_every_iteration_is_one_to_stop_at(method, stop, first, second):
    """Among them iteration 0, all of the warm-up t < K-1, and the ends of the epochs."""
    config = Config(data="tiny", **SMALL | MODELS[1] | {"method": method, "modules": 4, "optimizer": "adam"})
    assert_same_run(resumed(config, [(stop, first)], second), finish(Training(config, TINY)))
