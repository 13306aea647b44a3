"""Small whole runs: made from options, stopped where one likes, compared by all that they hold."""

from typing import Any

import numpy as np

from ddg_ref import Config, Dataset
from ddg_ref.runs.checkpoints.writing import state_of, tensors_of
from ddg_ref.runs.run import Record
from ddg_ref.runs.training import Training

SAMPLES, BATCH_SIZE = 17, 5
PER_EPOCH = -(-SAMPLES // BATCH_SIZE)  # the last batch of an epoch is smaller
SMALL = {
    "model": "mlp",
    "width": 3,
    "depth": 4,
    "method": "ddg",
    "modules": 3,
    "split": "count",
    "engine": "reference",
    "batch_size": BATCH_SIZE,
    "epochs": 2,
}


def tiny_images(seed: int = 0, scale: float = 1.0) -> Dataset:
    """17 images of 5x4 pixels for training and 4 for testing, in 3 classes."""
    rng = np.random.default_rng(seed)
    x, y = scale * rng.standard_normal((SAMPLES + 4, 5, 4, 1)), np.arange(SAMPLES + 4) % 3
    return Dataset("tiny", x[:SAMPLES], y[:SAMPLES], x[SAMPLES:], y[SAMPLES:], 3)


TINY = tiny_images()


def small_training(**options: Any) -> Training:
    return Training(Config(data="tiny", **SMALL | options), TINY)


def run_to(training: Training, stop: int) -> Training:
    """Go on as far as iteration `stop` and stop there as Ctrl-C does; from the last iteration on, to the end."""

    def on_batch(t: int) -> None:
        training.task.stop_requested = t + 1 >= stop and stop < training.task.iterations

    training.task.stop_requested = training.iteration >= stop < training.task.iterations
    training.task.on_batch = on_batch
    for _ in training.epochs():
        pass
    assert training.iteration == min(max(stop, training.iteration), training.task.iterations)
    return training


def finish(training: Training) -> Training:
    return run_to(training, training.task.iterations)


def contents(training: Training) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Everything that a checkpoint of this run holds, but times and the engine."""
    arrays = tensors_of(training)
    del arrays["durations"]
    arrays["history"] = np.delete(arrays["history"], Record._fields.index("seconds"), axis=1)
    tensors = {
        name: array.dtype.str.encode() + str(array.shape).encode() + array.tobytes() for name, array in arrays.items()
    }
    state = state_of(training)
    del state["run"], state["seconds"], state["config"]["engine"]
    return tensors, state


def assert_same_run(a: Training, b: Training) -> None:
    (tensors_a, state_a), (tensors_b, state_b) = contents(a), contents(b)
    assert state_a == state_b
    assert tensors_a.keys() == tensors_b.keys()
    assert not [name for name in tensors_a if tensors_a[name] != tensors_b[name]]
