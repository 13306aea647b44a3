"""What has come of a run."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ddg_ref.arrays import Array, Params
from ddg_ref.computing import quiet_arithmetic
from ddg_ref.data.samples import check_inputs
from ddg_ref.errors import InputError
from ddg_ref.layers import Sequential
from ddg_ref.runs.config import Config
from ddg_ref.runs.evaluation import infer
from ddg_ref.timeline import Span


class Record(NamedTuple):
    """The state of a run at the end of an epoch, or of the run.

    Training loss and accuracy are means over the samples since the last record, each at the weights of its own
    iteration; test loss and accuracy are those of the weights of all modules at the end of `iteration`. `seconds` of
    training since the start, without evaluation.
    """

    epoch: int
    iteration: int
    train_loss: float
    train_accuracy: float
    test_loss: float
    test_accuracy: float
    seconds: float


@dataclass(frozen=True)
class Run:
    """A finished training run.

    `id` tells it from every other run; its checkpoints have it too. `weights` holds parameters and running statistics
    by name, "layer.name", the layer counted in the whole network.
    `modules` says for each module which layers and how many parameters it has. `milliseconds_per_iteration` is the
    median over iterations, without evaluation; None if fewer than two iterations of one epoch were run. A GPU's times
    are seen only where the host waits, at records and checkpoints: there each iteration counts with the mean since the
    one before.
    """

    id: str
    config: Config
    history: list[Record]
    weights: Params
    final_test_accuracy: float
    milliseconds_per_iteration: float | None
    modules: list[dict[str, Any]]
    network: Sequential = field(repr=False)
    input_shape: tuple[int, ...] = field(repr=False)
    spans: list[Span] = field(repr=False)

    def predict(self, x: Array) -> Array:
        """The most probable class of each sample: x (N, ...) -> (N,) whole numbers.

        By the outputs that `evaluate` counts, for a run on the CPU bit for bit. Raises InputError for x that a Dataset
        with samples of the training data's shape would not take, and where numbers become too large on their way.
        """
        x = check_inputs("predict", x)
        if x.shape[1:] != self.input_shape:
            raise InputError(f"predict: expected samples of shape {self.input_shape}, got x {x.shape}; reshape it")
        with quiet_arithmetic():
            x = x.astype(self.config.dtype, copy=False)
        check_inputs("predict", x)  # what was finite need not be in that precision
        params = {name: self.weights[name] for name in self.network.parameter_shapes()}
        stats = {name: self.weights[name] for name in self.network.stats_shapes()}
        outputs = np.concatenate(infer(self.network, params, stats, x))  # (N, C)
        finite = np.isfinite(outputs).all(axis=1)
        if not finite.all():
            raise InputError(
                f"predict: expected samples scaled as the training data, got numbers so large in sample "
                f"{int(np.argmin(finite))} that the network's outputs are not finite; scale x"
            )
        classes: Array = outputs.argmax(axis=1)
        return classes

    @property
    def label(self) -> str:
        """A short name for tables and legends."""
        return f"{self.config.method} K={self.config.modules}"
