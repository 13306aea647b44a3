"""Layers as JSON, and back: the name of the class and what its constructor takes."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

from ddg_ref.errors import InputError, choose, shown
from ddg_ref.layers import (
    AvgPool,
    BatchNorm,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    ReLU,
    Tanh,
)

KNOWN: dict[str, type[Layer]] = {
    kind.__name__: kind for kind in (Linear, ReLU, Tanh, Conv2d, BatchNorm, Flatten, MaxPool, AvgPool, GlobalAvgPool)
}
"""The layers that a trace can describe."""
MOST_LAYERS = 1000


def _takes(kind: type[Layer]) -> list[str]:
    own = kind.__init__ is not object.__init__
    return [name for name in signature(kind).parameters if own and name != "init"]


def describe(layers: Sequence[Layer]) -> list[dict[str, Any]] | None:
    """The layers as JSON; None if one of them is no layer in KNOWN: whoever reads it must give them again."""
    if any(KNOWN.get(type(layer).__name__) is not type(layer) for layer in layers):
        return None
    return [
        {"type": type(layer).__name__} | {name: vars(layer)[name] for name in _takes(type(layer))} for layer in layers
    ]


def build(specs: Any) -> list[Layer]:
    """The layers that `describe` described. Raises InputError, one line, for anything else."""
    if not isinstance(specs, list) or len(specs) > MOST_LAYERS:
        raise InputError(f"layers: expected a list of at most {MOST_LAYERS}, got {shown(specs)}; describe each layer")
    return [_layer(spec) for spec in specs]


def _layer(spec: Any) -> Layer:
    if not isinstance(spec, dict):
        raise InputError(
            f'layers: expected {{"type": "Linear", "n_in": 4, ...}}, got {shown(spec)}; describe the layer'
        )
    kind = KNOWN[choose("layer", spec.get("type"), KNOWN)]
    options = {name: value for name, value in spec.items() if name != "type"}
    unknown = sorted(options.keys() - set(_takes(kind)))
    if unknown:
        takes = ", ".join(_takes(kind)) or "nothing"
        raise InputError(f"layers: {kind.__name__} has no {shown(unknown[0])}; it takes {takes}")
    try:
        return kind(**options)
    except TypeError as error:
        raise InputError(f"layers: {kind.__name__}: {error}; describe it as its constructor takes it") from None
