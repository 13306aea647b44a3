"""Reading a trace as something that cannot be trusted: refused in one line, or exactly what the file says."""

import json
import struct
from collections.abc import Iterable
from math import isfinite
from os import PathLike
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np

from ddg_ref.arrays import Array, Params
from ddg_ref.conformance.layer_specs import build
from ddg_ref.conformance.trace import Trace, check
from ddg_ref.conformance.writing import VERSION
from ddg_ref.errors import InputError, choose, reason, shown, whole
from ddg_ref.layers import Layer, Sequential
from ddg_ref.layers.compose import as_layers
from ddg_ref.losses import LOSSES
from ddg_ref.optimizers import OPTIMIZERS, Optimizer
from ddg_ref.tools.tensor_files import SafetensorError, safe_open

LONGEST_REASON = 300
LARGEST_HEADER = 1 << 20
"""Bytes of the names, shapes and JSON of a trace."""
FLOATS, OTHERS = ("F32", "F64"), {"about": ("U8",), "batches/labels": ("I64", "I32", "U8")}
KEYS = {"version", "layers", "cuts", "loss", "optimizer", "micro_batches", "shrink"}


def read(path: str | PathLike[str], *, layers: Iterable[Layer] | None = None) -> Trace:
    """The trace in a file. `layers` are needed if the network has some of its own.

    Nothing is unpickled, and what is allocated is bounded by the file's size. Raises InputError, one line, for any file
    that is no whole trace.
    """
    try:
        return _read(Path(path), layers)
    except InputError as error:
        raise InputError(f"trace {path}: {_short(str(error))}") from None
    except (OSError, SafetensorError, ValueError, ArithmeticError, TypeError, RecursionError) as error:
        raise InputError(f"trace {path}: cannot be read ({_short(reason(error))}); write it again") from None


def _short(text: str) -> str:
    return " ".join(text.split())[:LONGEST_REASON]


def _read(path: Path, layers: Iterable[Layer] | None) -> Trace:
    status = path.lstat()
    if not S_ISREG(status.st_mode):
        raise InputError("expected a file, got something else of this name; give the file itself")
    with path.open("rb") as file:
        start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 0 < length <= min(LARGEST_HEADER, status.st_size - 8):
        raise InputError(
            f"expected a safetensors file with a header of at most {LARGEST_HEADER} bytes, got another file"
        )
    with safe_open(path, framework="numpy") as file:
        arrays = {name: _array(file, name) for name in file.keys()}  # noqa: SIM118
    about = _about(arrays.pop("about", None))
    groups: dict[str, Params] = {"initial": {}, "weights": {}, "gradients": {}, "stats": {}, "batches": {}}
    steps = arrays.pop("step_sizes", None)
    for name, array in arrays.items():
        group, _, rest = name.partition("/")
        if group not in groups:
            raise InputError(f"expected arrays in {', '.join(groups)}, got {shown(name)}; leave it out")
        groups[group][rest] = array
    if groups["batches"].keys() != {"x", "labels"}:
        raise InputError("expected batches/x and batches/labels, got others; record each batch")
    if steps is None or steps.ndim != 1 or steps.dtype.kind != "f":
        raise InputError("step_sizes: expected a row of floats, got none; record one for each iteration")
    return check(
        Trace(
            Sequential(_layers(about["layers"], layers)),
            tuple(whole("cuts", cut) for cut in _list("cuts", about["cuts"])),
            choose("loss", about["loss"], LOSSES),
            _optimizer(about["optimizer"]),
            tuple(steps.tolist()),
            groups["initial"],
            groups["batches"]["x"],
            groups["batches"]["labels"],
            groups["weights"],
            groups["gradients"],
            groups["stats"],
            None if about["micro_batches"] is None else whole("micro_batches", about["micro_batches"], 1),
            None if about["shrink"] is None else float(about["shrink"]),
        )
    )


def _about(text: Array | None) -> dict[str, Any]:
    if text is None or text.size > LARGEST_HEADER:
        raise InputError(
            f'expected an array "about" of at most {LARGEST_HEADER} bytes, got none; write it with Recorder'
        )
    about = json.loads(text.tobytes(), parse_constant=_finite, parse_float=_finite)
    if not isinstance(about, dict) or "version" not in about:
        raise InputError(f"expected an object with a version, got {shown(about)}; write it with Recorder")
    if about["version"] != VERSION or isinstance(about["version"], bool):
        raise InputError(f"expected version {VERSION}, got {shown(about['version'])}; use the release that wrote it")
    if about.keys() != KEYS:
        wrong = sorted(about.keys() ^ KEYS)[0]
        raise InputError(f"expected {', '.join(sorted(KEYS))}, got others ({wrong:.60}); write it with Recorder")
    return about


def _finite(number: str) -> float:
    if not isfinite(float(number)):
        raise InputError(f"expected finite numbers, got {number:.60}; correct it")
    return float(number)


def _list(name: str, value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{name}: expected a list, got {shown(value)}; give one")
    return value


def _layers(specs: Any, layers: Iterable[Layer] | None) -> list[Layer]:
    if layers is not None:
        return as_layers("layers", layers)
    if specs is None:
        raise InputError("its layers are its own; give them again, read(path, layers=...)")
    return build(specs)


def _optimizer(spec: Any) -> Optimizer:
    if not isinstance(spec, dict):
        raise InputError(f"optimizer: expected an object with a type, got {shown(spec)}; give one")
    options = dict(spec)
    kind = OPTIMIZERS[choose("optimizer", options.pop("type", None), OPTIMIZERS)]
    wrong = [name for name, value in options.items() if not isinstance(value, int | float)]
    if wrong:
        raise InputError(f"optimizer: {wrong[0]:.60}: expected a number, got {shown(options[wrong[0]])}; give one")
    try:
        return kind(**options)
    except TypeError as error:
        raise InputError(f"optimizer: {error}; give the options that it has") from None


def _array(file: Any, name: str) -> Array:
    dtype = file.get_slice(name).get_dtype()
    expected = OTHERS.get(name, FLOATS)
    if dtype not in expected:
        raise InputError(f"{name:.60}: expected {' or '.join(expected)}, got {dtype}; convert it")
    array: Array = file.get_tensor(name)
    return np.ascontiguousarray(array)
