"""A trace: what a trainer did on a tiny network, whatever it is written in."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from ddg_ref.arrays import Array, Params
from ddg_ref.errors import InputError, whole
from ddg_ref.layers import Sequential
from ddg_ref.layers.conv import Conv2d
from ddg_ref.losses import LOSSES, Loss
from ddg_ref.optimizers import Optimizer
from ddg_ref.splitting import check_cuts

LARGEST_ACTIVATIONS = 64 << 20
"""Bytes that the outputs of all layers for one batch may take: a trace is of a tiny network."""
LARGEST_RATIO = 64
"""Or so many times what the trace itself takes."""


class Version(NamedTuple):
    """The weights of a module after an update: the update's number as it was recorded, from 0 on, and the weights."""

    update: int
    params: Params


@dataclass(frozen=True)
class Trace:
    """What a trainer did, from the initial weights on.

    `weights[name]` (U, *shape) are the values of one parameter after each of the U updates of its module; parameters
    are called as in `Sequential`: "0.weight" is that of the first layer. `x` (T, N, ...) and `labels` (T, N) are the T
    batches. `step_sizes[t]` is the step size of iteration t, the last one holds from there on. `gradients`, if there
    are any, has the shapes of `weights`: what each update applied. `stats` are the running statistics at the end, or
    empty. `micro_batches` and `shrink` are what the trainer was told, None if it was told nothing.
    """

    network: Sequential
    cuts: tuple[int, ...]
    loss: str
    optimizer: Optimizer
    step_sizes: tuple[float, ...]
    initial: Params
    x: Array
    labels: Array
    weights: Params
    gradients: Params = field(default_factory=dict)
    stats: Params = field(default_factory=dict)
    micro_batches: int | None = None
    shrink: float | None = None

    @property
    def K(self) -> int:  # noqa: N802 - the paper's symbol
        """The number of modules."""
        return len(self.cuts) + 1

    @property
    def T(self) -> int:  # noqa: N802 - the paper's symbol
        """The number of batches."""
        return len(self.x)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Of all weights, and of the samples."""
        return next(iter(self.initial.values())).dtype

    @property
    def loss_function(self) -> Loss:
        """The loss of that name."""
        return LOSSES[self.loss]

    @cached_property
    def modules(self) -> list[list[str]]:
        """The names of the parameters of each module."""
        bounds = [0, *self.cuts, len(self.network.steps())]
        return [list(self.network.part(start, stop).parameter_shapes()) for start, stop in pairwise(bounds)]

    @cached_property
    def versions(self) -> list[list[Version]]:
        """The versions of each module's weights, less updates that changed no bit.

        Whether those are recorded is a habit of the recorder: an iteration without a gradient, say.
        """
        found = []
        for names in self.modules:
            own: list[Version] = []
            last = {name: self.initial[name] for name in names}
            for update in range(len(self.weights[names[0]]) if names else 0):
                params = {name: self.weights[name][update] for name in names}
                if not same_bits(params, last):
                    own.append(Version(update, params))
                    last = params
            found.append(own)
        return found


def same_bits(a: Params, b: Params) -> bool:
    """Whether all arrays of `a` have the bytes of those in `b`."""
    return all(array.tobytes() == b[name].tobytes() for name, array in a.items())


def check(trace: Trace) -> Trace:
    """The trace, once it is sure that a reference can be run on it. Raises InputError, one line."""
    if not trace.initial or not trace.network.parameter_shapes():
        raise InputError("layers: expected some that have weights, got none; describe the network")
    check_cuts(list(trace.cuts), len(trace.network.steps()))
    expected = trace.network.parameter_shapes()
    _expect_names("initial", trace.initial, expected)
    _expect_names("weights", trace.weights, expected)
    if trace.gradients:
        _expect_names("gradients", trace.gradients, expected)
    if trace.stats:
        _expect_names("stats", trace.stats, trace.network.stats_shapes())
    if trace.dtype not in (np.float32, np.float64):
        raise InputError(
            f"initial: expected float32 or float64, got {trace.dtype}; record what the trainer computed in"
        )
    for name, shape in expected.items():
        _expect_array(f"initial/{name}", trace.initial[name], shape, trace.dtype)
    for k, names in enumerate(trace.modules, 1):
        counts = {len(array) for name in names for array in (trace.weights[name],) if array.ndim}
        if len(counts) > 1:
            raise InputError(f"module {k}: expected all its parameters after each update, got {sorted(counts)} of them")
        for kind, arrays in (("weights", trace.weights), ("gradients", trace.gradients)):
            for name in names if arrays else ():
                _expect_array(f"{kind}/{name}", arrays[name], (*counts, *expected[name]), trace.dtype)
    for name, shape in trace.network.stats_shapes().items() if trace.stats else ():
        _expect_array(f"stats/{name}", trace.stats[name], shape, trace.dtype)
    _check_batches(trace)
    steps = np.asarray(trace.step_sizes, float)
    if not (len(steps) > 0 and np.isfinite(steps).all() and (steps >= 0).all()):
        raise InputError("step_sizes: expected finite numbers >= 0, at least one; give one for each iteration")
    if trace.micro_batches is not None:
        whole("micro_batches", trace.micro_batches, 1)
    if trace.shrink is not None and not 0 < trace.shrink <= 1:
        raise InputError(f"shrink: expected a number in (0, 1], got {trace.shrink}; 1 leaves the gradients as they are")
    return trace


def _check_batches(trace: Trace) -> None:
    x, labels = trace.x, trace.labels
    if x.ndim < 3 or not x.size:
        raise InputError(
            f"batches/x: expected shape (batches, samples, ...), not empty, got {x.shape}; stack the batches"
        )
    _expect_array("batches/x", x, x.shape, trace.dtype)
    if labels.shape != x.shape[:2] or labels.dtype.kind not in "iu":
        got = f"{labels.dtype} {labels.shape}"
        raise InputError(f"batches/labels: expected whole numbers of shape {x.shape[:2]}, got {got}; stack them")
    shape, values = x.shape[2:], 0
    for layer in trace.network.layers:
        if isinstance(layer, Conv2d) and any(p >= k for p, k in zip(layer.padding, layer.kernel, strict=True)):
            raise InputError(f"{layer}: expected a padding below the kernel's size, got more; make it smaller")
        shape = layer.output_shape(shape)
        values += prod(shape)
    if len(shape) != 1:
        raise InputError(f"layers: expected an output (classes,) for each sample, got {shape}; end with Linear")
    if labels.min() < 0 or labels.max() >= shape[0]:
        raise InputError(f"batches/labels: expected 0 to {shape[0] - 1}, got others; renumber the classes")
    if trace.network.fewest_samples(x.shape[2:]) > x.shape[1]:
        raise InputError(
            f"batches/x: a batch norm needs more than the {x.shape[1]} samples of a batch; use larger ones"
        )
    size = values * x.shape[1] * x.itemsize
    if size > max(LARGEST_ACTIVATIONS, LARGEST_RATIO * x.nbytes):
        raise InputError(
            f"layers: expected a tiny network, got {size} bytes of activations for a batch; make it smaller"
        )


def _expect_names(kind: str, arrays: Params, expected: object) -> None:
    wanted = set(expected)  # type: ignore[call-overload]
    if arrays.keys() != wanted:
        missing, more = sorted(wanted - arrays.keys()), sorted(arrays.keys() - wanted)
        got = f"none of {missing[0]}" if missing else f"also {more[0]:.60}"
        raise InputError(
            f"{kind}: expected the arrays {', '.join(sorted(wanted)[:6])}, got {got}; name them as the layers do"
        )


def _expect_array(name: str, array: Array, shape: tuple[int, ...], dtype: np.dtype[np.floating]) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise InputError(f"{name}: expected {dtype} {shape}, got {array.dtype} {array.shape}; record it as it is")
    if not np.isfinite(array).all():
        raise InputError(f"{name}: expected finite numbers, got NaN or infinity; end the trace before")
