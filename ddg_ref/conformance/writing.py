"""Writing a trace: what a trainer calls as it goes, with plain arrays."""

import json
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ddg_ref.arrays import Array, Params
from ddg_ref.conformance.layer_specs import describe
from ddg_ref.conformance.trace import Trace, check
from ddg_ref.errors import InputError, choose, whole
from ddg_ref.layers import Conv2d, Layer, Linear, Sequential
from ddg_ref.layers.compose import as_layers
from ddg_ref.losses import LOSSES
from ddg_ref.optimizers import OPTIMIZERS, Optimizer
from ddg_ref.tools.files import write_tensors

VERSION = 1
"""Of the format."""
Layout = Literal["in_out", "out_in"]


class Recorder:
    """Collects a trace. Every array that it is given is copied, since a trainer may write into it later.

    `initial` are the weights before the first update, by name: "0.weight" is that of layer 0, as in PyTorch's
    `Sequential` with the same layers. `layout` says how a Linear's weight comes: (in, out) as here, or (out, in) as
    PyTorch has it, with convolutions (out, in, kh, kw) instead of (kh, kw, in, out). Everything else is as in `Trace`.
    Raises InputError for what no trace can hold.
    """

    def __init__(
        self,
        layers: Iterable[Layer],
        initial: Mapping[str, Any],
        *,
        cuts: Sequence[int] = (),
        loss: str = "cross-entropy",
        optimizer: Optimizer,
        step_sizes: Sequence[float],
        layout: Layout = "in_out",
        micro_batches: int | None = None,
        shrink: float | None = None,
    ) -> None:
        self._network = Sequential(as_layers("layers", layers))
        choose("layout", layout, ("in_out", "out_in"))
        choose("loss", loss, LOSSES)
        self._turned = {
            f"{i}.weight": (1, 0) if isinstance(layer, Linear) else (2, 3, 1, 0)
            for i, layer in enumerate(self._network.layers)
            if layout == "out_in" and isinstance(layer, Linear | Conv2d)
        }
        self._initial = self._own("initial", initial, self._network.parameter_shapes())
        self._options: dict[str, Any] = {
            "cuts": tuple(whole("cuts", cut) for cut in cuts),
            "loss": loss,
            "optimizer": optimizer,
            "step_sizes": tuple(float(step) for step in step_sizes),
            "micro_batches": micro_batches,
            "shrink": shrink,
        }
        self._x: list[Array] = []
        self._labels: list[Array] = []
        self._weights: dict[str, list[Array]] = {name: [] for name in self._initial}
        self._gradients: dict[str, list[Array]] = {name: [] for name in self._initial}
        self._stats: Params = {}

    def batch(self, x: Any, labels: Any) -> None:
        """The next batch: x (N, ...), labels (N,). All have as many samples; images are (N, H, W, C)."""
        self._x.append(_copy(x).astype(self._dtype))
        self._labels.append(_copy(labels).astype(np.int64))
        if self._x[-1].shape != self._x[0].shape or self._labels[-1].shape != self._labels[0].shape:
            raise InputError(
                f"batch: expected x {self._x[0].shape} as before, got {self._x[-1].shape}; leave out what is smaller"
            )

    def update(self, weights: Mapping[str, Any], gradients: Mapping[str, Any] | None = None) -> None:
        """A module has been updated: its weights now, and, if they are known, the gradients that were applied.

        Whose weights they are says for which module it is. Those of all modules at once are welcome, too: of a module
        that has not moved nothing counts.
        """
        own = {name: self._network.parameter_shapes()[name] for name in weights if name in self._initial}
        for name, array in self._own("update", weights, own).items():
            self._weights[name].append(array)
        for name, array in self._own("gradients", gradients or {}, own if gradients else {}).items():
            self._gradients[name].append(array)

    def statistics(self, stats: Mapping[str, Any]) -> None:
        """The running statistics at the end of training: "1.running_mean", "1.running_variance"."""
        self._stats = self._own("statistics", stats, self._network.stats_shapes())

    def trace(self) -> Trace:
        """What has been recorded so far. Raises InputError, one line, unless a reference can be run on it."""
        if not self._x:
            raise InputError("batch: expected at least one, got none; record each batch that goes in")
        weights = {name: self._stacked(name, arrays) for name, arrays in self._weights.items()}
        known = any(self._gradients.values())
        gradients = {name: self._stacked(name, arrays) for name, arrays in self._gradients.items()} if known else {}
        batches = np.stack(self._x), np.stack(self._labels)
        return check(
            Trace(self._network, self._options["cuts"], self._options["loss"], self._options["optimizer"],
                  self._options["step_sizes"], self._initial, *batches, weights, gradients, self._stats,
                  self._options["micro_batches"], self._options["shrink"])
        )  # fmt: skip

    def write(self, path: str | PathLike[str]) -> Trace:
        """Write the trace as a safetensors file, and return it. Raises InputError, and WriteError."""
        trace = self.trace()
        write(trace, path)
        return trace

    @property
    def _dtype(self) -> Any:
        return next(iter(self._initial.values()), np.zeros(0)).dtype

    def _stacked(self, name: str, arrays: list[Array]) -> Array:
        return np.stack(arrays) if arrays else np.empty((0, *self._initial[name].shape), self._dtype)

    def _own(self, kind: str, arrays: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Params:
        """Copies of those that the network has, laid out as its layers have them."""
        found = {}
        for name, shape in shapes.items():
            if name not in arrays:
                raise InputError(f"{kind}: expected an array {name}, got none; name arrays as the layers do")
            array = _copy(arrays[name])
            turned = array.transpose(self._turned[name]) if self._fits(name, array) else array
            if turned.shape != shape:
                raise InputError(f"{kind}: {name}: expected shape {shape}, got {turned.shape}; see `layout`")
            found[name] = np.ascontiguousarray(turned)
        return found

    def _fits(self, name: str, array: Array) -> bool:
        return name in self._turned and array.ndim == len(self._turned[name])


def _copy(array: Any) -> Array:
    copied: Array = np.asarray(array).copy()  # in two steps: other libraries' arrays know less of NumPy's
    return copied


def write(trace: Trace, path: str | PathLike[str]) -> None:
    """Write a trace as a safetensors file; the rest is JSON in the array "about", as bytes. Raises WriteError."""
    kind = next(name for name, kind in OPTIMIZERS.items() if kind is type(trace.optimizer))
    names = ("momentum", "nesterov", "weight_decay") if kind == "sgd" else ("beta1", "beta2", "eps", "weight_decay")
    about = {
        "version": VERSION,
        "layers": describe(trace.network.layers),
        "cuts": trace.cuts,
        "loss": trace.loss,
        "optimizer": {"type": kind} | {name: getattr(trace.optimizer, name) for name in names},
        "micro_batches": trace.micro_batches,
        "shrink": trace.shrink,
    }
    arrays = {"batches/x": trace.x, "batches/labels": trace.labels, "step_sizes": np.array(trace.step_sizes)}
    for group, params in (
        ("initial", trace.initial),
        ("weights", trace.weights),
        ("gradients", trace.gradients),
        ("stats", trace.stats),
    ):
        arrays |= {f"{group}/{name}": array for name, array in params.items()}
    arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    write_tensors(Path(path), {name: np.ascontiguousarray(array) for name, array in arrays.items()})
