"""How far from the true gradient is what a module applies? Measured while it trains.

At iteration t module k moves its weights along a vector g that it made of batch b = t - d_k. The true gradient of that
batch is taken at w(t), the weights of the whole network at that moment, by backpropagation. The cosine between g and
module k's part of it is 1 where nothing is stale.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ddg_ref.arrays import Params, to_host
from ddg_ref.computing import computing
from ddg_ref.errors import InputError
from ddg_ref.modules import Module
from ddg_ref.runs.training import Training
from ddg_ref.tools.files import read_json, write_json

FILE = "cosines.json"


class Probe(NamedTuple):
    """The cosine of each module at one iteration; None for one that has not moved, or along a vector of zeros."""

    iteration: int
    cosines: list[float | None]


class Watched(Module):
    """A module as it is, that remembers the gradient it was given last."""

    def __init__(self, module: Module) -> None:
        vars(self).update(vars(module))
        self.grads: Params = {}

    def update(self, grads: Params, gamma: float) -> None:
        self.grads = grads
        super().update(grads, gamma)


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
    """Of the loss of that batch, at these weights, for the whole network: computed where module 1 is."""
    x, labels = training.task.batch(batch)
    device = training.pipeline.modules[0].device
    with device.opened():
        params = device.place_all(params)
        y, cache = training.network.forward(params, device.place(x))
        _, dy = training.task.loss(y, device.place(labels))
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
        self._watched = [Watched(module) for module in training.pipeline.modules]
        training.pipeline.modules[:] = self._watched
        self._open: tuple[int, Params] | None = None
        known = read(directory) if training.iteration else []
        self.found = [probe for probe in known if probe.iteration < training.iteration]

    def begin(self, t: int) -> None:
        """Iteration t is about to begin: the one before is over."""
        self.finish()
        if t in self._at:
            for module in self._watched:
                module.grads = {}
            self._open = t, self._training.pipeline.params

    def finish(self) -> None:
        """All modules have moved in the iteration that began last: compare."""
        if self._open is None:
            return
        (t, params), self._open = self._open, None
        with computing():
            found = []
            for module in self._watched:
                moved = bool(module.grads)
                true = true_gradient(self._training, params, t - module.delay) if moved else {}
                found.append(cosine(module.grads, true) if moved else None)
        self.found.append(Probe(t, found))

    def write(self) -> None:
        """Keep what was found, beside the run."""
        self.finish()
        write_json(self._path, {"probes": [probe._asdict() for probe in self.found]})


def read(directory: Path) -> Sequence[Probe]:
    """The probes of the run in `directory`, in order."""
    path = directory / FILE
    content = read_json(path)
    try:
        return [Probe(**probe) for probe in content["probes"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: expected probes ({error}); move its folder away to run it again") from None
