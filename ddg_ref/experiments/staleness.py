"""How far from the true gradient is what a module applies? Measured while it trains.

At iteration t module k moves its weights along a vector g that it made of batch b = t - d_k. The true gradient of that
batch is taken at w(t), the weights of the whole network at that moment, by backpropagation. The cosine between g and
module k's part of it is 1 where nothing is stale.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddg_ref.arrays import Array, Params, computing, to_host
from ddg_ref.optimizers import Optimizer, OptimizerState
from ddg_ref.training import Training

FILE = "cosines.json"


class Probe(NamedTuple):
    """The cosine of each module at one iteration; None for one that has not moved, or along a vector of zeros."""

    iteration: int
    cosines: list[float | None]


class Watched(Optimizer):
    """An optimizer that remembers the gradients it was given last."""

    def __init__(self, inner: Optimizer) -> None:
        self._inner, self.slots, self.weight_decay = inner, inner.slots, inner.weight_decay
        self.grads: Params = {}

    def step(self, w: Array, g: Array, moments: list[Array], n: int, gamma: float) -> tuple[Array, ...]:
        return self._inner.step(w, g, moments, n, gamma)

    def update(
        self, params: Params, grads: Params, state: OptimizerState, gamma: float
    ) -> tuple[Params, OptimizerState]:
        self.grads = grads
        return super().update(params, grads, state, gamma)


def cosine(a: Params, b: Params) -> float | None:
    """Between two gradients, over all their arrays; None if one of them is zero."""
    product, squares = 0.0, [0.0, 0.0]
    for name in a:
        u, v = (to_host(side[name]).astype(np.float64).ravel() for side in (a, b))
        product += float(u @ v)
        squares[0] += float(u @ u)
        squares[1] += float(v @ v)
    return product / sqrt(squares[0] * squares[1]) if all(squares) else None


def true_gradient(training: Training, params: Params, batch: int) -> Params:
    """Of the loss of that batch, at these weights, for the whole network."""
    x, labels = training.task.batch(batch)
    y, cache = training.network.forward(params, x)
    _, dy = training.task.loss(y, labels)
    return training.network.gradients(params, cache, dy)


class Probes:
    """`count` probes, spread evenly over a run on the reference engine; what is trained stays the same bits.

    `begin(t)` as batch t enters, `finish()` before the run is stored or goes on to anything else.
    """

    def __init__(self, training: Training, count: int, directory: Path) -> None:
        self._training, self._path = training, directory / FILE
        last = training.task.iterations - 2  # in the last iteration, and after it, the pipeline drains
        first = min(2 * training.config.modules, last)
        self._at = frozenset(np.linspace(first, last, count).astype(int).tolist()) if last > 0 else frozenset()
        self._watched = [Watched(module.optimizer) for module in training.pipeline.modules]
        for module, watched in zip(training.pipeline.modules, self._watched, strict=True):
            module.optimizer = watched
        self._open: tuple[int, Params] | None = None
        known = read(directory) if training.iteration else []
        self.found = [probe for probe in known if probe.iteration < training.iteration]

    def begin(self, t: int) -> None:
        """Iteration t is about to begin: the one before is over."""
        self.finish()
        if t in self._at:
            for watched in self._watched:
                watched.grads = {}
            self._open = t, self._training.pipeline.params

    def finish(self) -> None:
        """All modules have moved in the iteration that began last: compare."""
        if self._open is None:
            return
        (t, params), self._open = self._open, None
        with computing():
            found = []
            for module, watched in zip(self._training.pipeline.modules, self._watched, strict=True):
                moved = bool(watched.grads)
                true = true_gradient(self._training, params, t - module.delay) if moved else {}
                found.append(cosine(watched.grads, true) if moved else None)
        self.found.append(Probe(t, found))

    def write(self) -> None:
        """Keep what was found, beside the run."""
        self.finish()
        unfinished = self._path.with_suffix(".tmp")
        unfinished.write_text(json.dumps([probe._asdict() for probe in self.found]) + "\n")
        unfinished.rename(self._path)


def read(directory: Path) -> Sequence[Probe]:
    """The probes of the run in `directory`, in order."""
    return [Probe(**probe) for probe in json.loads((directory / FILE).read_text())]
