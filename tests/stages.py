"""Training with several modules on a worker: files of PyTorch's schedules, and a network cut into that many modules."""

from pathlib import Path

import numpy as np
from networks import OPTIMIZERS, state

from ddg_ref.layers import Linear, Sequential, Tanh
from ddg_ref.losses import softmax_cross_entropy
from ddg_ref.methods import Method
from ddg_ref.modules import Pipeline
from ddg_ref.runs.devices import make_device
from ddg_ref.runs.engines import ENGINES
from ddg_ref.schedule_files import read
from ddg_ref.step_sizes import Constant
from ddg_ref.task import Task

FOLDER = Path(__file__).parent / "pytorch_schedules"
FILES = sorted(path.stem for path in FOLDER.glob("*.csv") if not path.stem.startswith("1F1B"))
"""Without 1F1B, see `test_what_is_wrong_in_the_1f1b_of_pytorch_is_named`."""
ITERATIONS = 3


def file_of(name):
    return read(FOLDER / f"{name}.csv")


def row_of(file):
    return Method("custom", "a schedule file", file, micro_batches=file.M, programs=file.programs)


def pipeline_of(row, K, places=("cpu",)):
    """A linear layer and a tanh for each module, but for the last, which is linear."""
    network = Sequential([layer for _ in range(K - 1) for layer in (Linear(5, 5), Tanh())] + [Linear(5, 3)])
    params = network.init(np.random.default_rng(0), np.float64)
    devices = [make_device(places[k % len(places)]) for k in range(K)]
    return Pipeline.cut(network, range(2, 2 * K, 2), row, OPTIMIZERS["momentum"], params, {}, devices=devices)


def task_of(samples):
    """Of one batch in three the last two micro-batches do not exist."""

    def batch(t):
        n = samples - 2 if t % 3 == 2 else samples
        rng = np.random.default_rng(t)
        return rng.standard_normal((n, 5)), rng.integers(3, size=n)

    return Task(batch, softmax_cross_entropy, Constant(0.1), ITERATIONS)


def trained(row, K, samples, engine="reference", places=("cpu",)):
    pipeline = pipeline_of(row, K, places)
    ENGINES[engine](pipeline, task_of(samples), 0, ITERATIONS)
    assert not any(module.queue or module.caches or module.half_back for module in pipeline.modules)
    assert not any(pipeline.errors)
    return state(pipeline)
