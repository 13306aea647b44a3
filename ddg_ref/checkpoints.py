"""Checkpoints: all that a run needs to go on as if it had never stopped, bit for bit.

A checkpoint is a directory of three files: `tensors.safetensors`, `state.json`, and `SHA256SUMS` over both (which
`sha256sum -c` understands). It is written beside the others under another name, flushed to the disk, and renamed: a
directory with a checkpoint's name is whole, whenever the process was killed. The last two are kept.

What is in flight at iteration t follows from the method's delays alone: module k holds the batches max(0, t-d_k) to
t-1, and above it wait the error gradients of the batches max(0, t-d_k) to t-1-d_{k+1}. A checkpoint stores their input,
the weights that their forward pass used, and the error gradients; the caches are computed anew, which gives the same
bits. So the names, shapes and dtypes of all tensors are known before the file is opened, and whatever differs is
refused. Nothing is unpickled, and nothing is allocated on a file's word.
"""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from hashlib import file_digest
from math import isfinite, prod
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from ddg_ref.arrays import Array, Params, Shape, one_blas_thread, unwatched_overflow
from ddg_ref.config import Config
from ddg_ref.data import DATASETS, Dataset
from ddg_ref.errors import CheckpointError, InputError, LaunchError, choose
from ddg_ref.layers import Layer, Sequential
from ddg_ref.modules import Module
from ddg_ref.optimizers import OptimizerState
from ddg_ref.rundir import CHECKPOINTS
from ddg_ref.task import BatchResult
from ddg_ref.training import Record, Training, make_network

VERSION = 1
KEPT = 2
TENSORS, STATE, SUMS = "tensors.safetensors", "state.json", "SHA256SUMS"
LARGEST_STATE = 64 << 20
LARGEST_SUMS = 1024
HEADER_ROOM = 1 << 20
"""What a safetensors file may have besides its tensors' bytes, at least."""

DTYPES = {"float32": "F32", "float64": "F64"}


def steps_before(batch: int, delay: int) -> int:
    """How many steps a module has made when batch `batch` goes forward: the version of the weights that it uses."""
    return max(0, batch - delay)


def in_flight(module: Module, t: int) -> range:
    """The batches between forward and backward in `module` at the beginning of iteration t."""
    return range(max(0, t - module.delay), t)


def waiting(modules: list[Module], k: int, t: int) -> range:
    """The batches whose error gradients wait above module k (from 1) at the beginning of iteration t."""
    return range(max(0, t - modules[k - 1].delay), t - modules[k].delay) if k < len(modules) else range(0)


def stashed(module: Module, t: int) -> list[int]:
    """The versions of the weights that batches in flight refer to, besides the present one."""
    versions = {steps_before(batch, module.delay) for batch in in_flight(module, t)}
    return sorted(versions - {steps_before(t, module.delay)})


# Writing


def save(training: Training, run_directory: Path) -> Path:
    """Write the state of `training`, which stands between two iterations, under `run_directory`/checkpoints.

    Returns the checkpoint's directory. Raises OSError if it cannot be written; then the older ones are as they were.
    """
    folder = run_directory / CHECKPOINTS
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"{training.iteration:012d}"
    if final.exists():
        return final
    for unfinished in folder.glob(".*.tmp"):
        shutil.rmtree(unfinished)
    temporary = folder / f".{final.name}.tmp"
    temporary.mkdir()
    save_file(tensors_of(training), temporary / TENSORS)
    (temporary / STATE).write_text(json.dumps(state_of(training), allow_nan=False))
    sums = [f"{_sha256(temporary / name)}  {name}\n" for name in (TENSORS, STATE)]
    (temporary / SUMS).write_text("".join(sums))
    for path in (temporary / TENSORS, temporary / STATE, temporary / SUMS, temporary):
        _flush(path)
    temporary.rename(final)
    _flush(folder)
    for old in list_checkpoints(run_directory)[:-KEPT]:
        shutil.rmtree(old)
    return final


def tensors_of(training: Training) -> Params:
    """All arrays of a run by name, C-contiguous."""
    tensors = {"durations": np.array(training.durations, dtype=np.float64)}
    t = training.iteration
    for module, errors in zip(training.pipeline.modules, training.pipeline.errors, strict=True):
        k = module.k
        tensors |= {f"params/{name}": array for name, array in module.params.items()}
        tensors |= {f"stats/{name}": array for name, array in module.stats.items()}
        for slot, arrays in module.optimizer_state.slots.items():
            tensors |= {f"slots/{slot}/{name}": array for name, array in arrays.items()}
        for flight in module.queue:
            tensors[f"in_flight/{k}/{flight.batch}"] = flight.x
            version = steps_before(flight.batch, module.delay)
            if version in stashed(module, t):
                tensors |= {f"stash/{k}/{version}/{name}": array for name, array in flight.params.items()}
        tensors |= {f"errors/{k}/{batch}": dy for batch, dy in errors}
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def state_of(training: Training) -> dict[str, Any]:
    """Everything else, as JSON."""
    return {
        "version": VERSION,
        "config": asdict(training.config),
        "network": [repr(layer) for layer in training.network.layers],
        "data": training.data.fingerprint,
        "cuts": training.cuts,
        "iteration": training.iteration,
        "seconds": training.seconds,
        "history": [list(record) for record in training.history],
        "results": [list(result) for result in training.task.results],
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# Reading


def list_checkpoints(run_directory: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(path for path in (run_directory / CHECKPOINTS).glob("[0-9]*") if path.name.isdigit())


def resume(
    run_directory: Path,
    *,
    engine: str | None = None,
    data: Dataset | None = None,
    layers: list[Layer] | None = None,
) -> Training:
    """The run whose newest checkpoint lies under `run_directory`, ready to go on, on another engine if one is named.

    `data` and `layers` are needed again if the run was started with its own. Raises CheckpointError, one line that says
    what is wrong with which checkpoint, and InputError if there is none.
    """
    found = list_checkpoints(run_directory)
    if not found:
        raise InputError(f"resume: no checkpoint under {run_directory / CHECKPOINTS}; train with --checkpoint-every")
    try:
        return load(found[-1], engine=engine, data=data, layers=layers)
    except CheckpointError as error:
        older = f"; remove it to resume from {found[-2].name}" if len(found) > 1 else ""
        raise CheckpointError(f"{error}{older}") from error.__cause__


def load(
    checkpoint: Path,
    *,
    engine: str | None = None,
    data: Dataset | None = None,
    layers: list[Layer] | None = None,
) -> Training:
    """The run stored in the directory `checkpoint`. Raises CheckpointError for whatever is not as it was written."""
    try:
        return _load(checkpoint, engine, data, layers)
    except CheckpointError as error:
        raise CheckpointError(f"checkpoint {checkpoint}: {error}") from error.__cause__
    except LaunchError:  # nothing is wrong with the checkpoint
        raise
    except (OSError, SafetensorError, InputError, ValueError, RecursionError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"checkpoint {checkpoint}: cannot be read: {first_line}") from error


def _load(checkpoint: Path, engine: str | None, data: Dataset | None, layers: list[Layer] | None) -> Training:
    _check_sums(checkpoint)
    state = json.loads((checkpoint / STATE).read_text(), parse_constant=_refuse_constant)
    _expect("state", state, dict)
    if state.get("version") != VERSION:
        raise CheckpointError(
            f"expected version {VERSION}, got {state.get('version')!r}; use the release that wrote it"
        )
    config = _config(state.get("config"))
    if engine is not None:
        config = replace(config, engine=engine)
    if data is None:
        data = DATASETS[choose("data", config.data, DATASETS)]()
    if state.get("data") != data.astype(config.dtype).fingerprint:
        raise CheckpointError(f"it was written with other data than {data.name} is now; give the same data")
    names = [_expect("network", name, str) for name in _expect("network", state.get("network"), list)]
    if (config.depth or 0) > len(names):  # before a network of that depth is built
        raise CheckpointError(f"expected a network of depth {config.depth}, got {len(names)} layers")
    network = make_network(config, data, layers)
    if names != [repr(layer) for layer in network.layers]:
        raise CheckpointError("it holds another network than the configuration gives; give the same layers")
    _check_size(checkpoint / TENSORS, network, config)
    cuts = [_expect("cuts", cut, int) for cut in _expect("cuts", state.get("cuts"), list)]
    if len(cuts) != config.modules - 1:
        raise CheckpointError(f"expected {config.modules - 1} cuts, got {len(cuts)}")
    training = Training(config, data, layers, cuts=cuts)
    _restore_progress(training, state)
    _restore_tensors(training, checkpoint / TENSORS)
    return training


def _check_sums(checkpoint: Path) -> None:
    """Both files are as they were written. Reads them piece by piece."""
    sums = checkpoint / SUMS
    if sums.stat().st_size > LARGEST_SUMS or (checkpoint / STATE).stat().st_size > LARGEST_STATE:
        raise CheckpointError(f"{SUMS} or {STATE} is far too large")
    expected = "".join(f"{_sha256(checkpoint / name)}  {name}\n" for name in (TENSORS, STATE))
    if sums.read_text() != expected:
        raise CheckpointError(f"{TENSORS} or {STATE} has been damaged or changed: {SUMS} does not match")


def _refuse_constant(name: str) -> None:
    raise CheckpointError(f"expected finite numbers, got {name}")


def _expect(name: str, value: Any, kind: type | UnionType) -> Any:
    """`value`, if it is of that kind; whole numbers pass as float, truth values not as numbers."""
    kinds = get_args(kind) or (kind,)
    if float in kinds and type(value) is int and abs(value) < 1 << 53:
        return float(value)
    if type(value) not in kinds:
        wanted = " or ".join("null" if kind is NoneType else kind.__name__ for kind in kinds)
        raise CheckpointError(f"{name}: expected {wanted}, got {type(value).__name__}")
    return value


def _config(stored: Any) -> Config:
    hints = get_type_hints(Config)
    _expect("config", stored, dict)
    names = {option.name for option in fields(Config)}
    if stored.keys() != names:
        raise CheckpointError(f"config: expected the options {', '.join(sorted(names))}, got others")
    return Config(**{name: _expect(f"config.{name}", value, hints[name]) for name, value in stored.items()})


def _check_size(path: Path, network: Sequential, config: Config) -> None:
    """The file is as large as the weights alone: so they may be allocated."""
    size = sum(prod(shape) for shape in (network.parameter_shapes() | network.stats_shapes()).values())
    needed, have = size * np.dtype(config.dtype).itemsize, path.stat().st_size
    if needed > have:
        raise CheckpointError(f"{path.name}: expected at least {needed} bytes of weights, got {have}")


def _restore_progress(training: Training, state: dict[str, Any]) -> None:
    iteration = _expect("iteration", state.get("iteration"), int)
    if not 0 <= iteration <= training.task.iterations:
        raise CheckpointError(f"iteration: expected 0 to {training.task.iterations}, got {iteration}")
    training.iteration = iteration
    training.seconds = _expect("seconds", state.get("seconds"), float)
    training.history = [Record(*row) for row in _rows("history", state.get("history"), Record)]
    training.task.results = [BatchResult(*row) for row in _rows("results", state.get("results"), BatchResult)]
    per_epoch = training.batches.per_epoch
    if [record.iteration for record in training.history] != [
        per_epoch * (i + 1) for i in range(iteration // per_epoch)
    ]:
        raise CheckpointError("history: expected one record per finished epoch")
    if [result.iteration for result in training.task.results] != list(
        range(iteration - iteration % per_epoch, iteration)
    ):
        raise CheckpointError("results: expected one for each batch since the last record")


def _rows(name: str, rows: Any, row_type: Any) -> Iterator[list[Any]]:
    hints = list(get_type_hints(row_type).values())
    for row in _expect(name, rows, list):
        if len(_expect(name, row, list)) != len(hints):
            raise CheckpointError(f"{name}: expected {len(hints)} entries in a row, got {len(row)}")
        yield [_finite(name, _expect(name, value, kind)) for value, kind in zip(row, hints, strict=True)]


def _finite(name: str, value: Any) -> Any:
    if isinstance(value, float) and not isfinite(value):
        raise CheckpointError(f"{name}: expected finite numbers, got {value}")
    return value


def _restore_tensors(training: Training, path: Path) -> None:
    wanted = expected_tensors(training)
    room = max(HEADER_ROOM, 1024 * len(wanted))
    most = room + sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in wanted.values())
    if path.stat().st_size > most + 8 * training.iteration:
        raise CheckpointError(f"{path.name}: expected at most {most} bytes, got {path.stat().st_size}")
    with safe_open(path, framework="numpy") as file:
        if set(file.keys()) != wanted.keys() | {"durations"}:
            raise CheckpointError(f"{path.name}: expected the tensors of iteration {training.iteration}, got others")
        for name, (shape, dtype) in wanted.items():
            header = file.get_slice(name)
            if tuple(header.get_shape()) != shape or header.get_dtype() != DTYPES[dtype]:
                got = f"{header.get_dtype()} {tuple(header.get_shape())}"
                raise CheckpointError(f"{name}: expected {DTYPES[dtype]} {shape}, got {got}")
        durations = file.get_slice("durations")
        if durations.get_dtype() != "F64" or len(durations.get_shape()) != 1:
            raise CheckpointError("durations: expected a row of F64")
        tensors: dict[str, Array] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise CheckpointError(f"{name}: expected finite numbers, got NaN or infinity")
    training.durations.extend(tensors["durations"].tolist())
    with one_blas_thread(), unwatched_overflow():
        for module in training.pipeline.modules:
            _restore_module(training, module, tensors)


def expected_tensors(training: Training) -> dict[str, tuple[Shape, str]]:
    """Name -> (shape, dtype) of every tensor that the checkpoint of this run at its iteration has."""
    t, modules, dtype = training.iteration, training.pipeline.modules, training.config.dtype
    shapes: dict[str, Shape] = {}
    sample = training.data.input_shape
    for module in modules:
        k, own = module.k, module.layers.parameter_shapes()
        shapes |= {f"params/{name}": shape for name, shape in own.items()}
        shapes |= {f"stats/{name}": shape for name, shape in module.layers.stats_shapes().items()}
        for slot in module.optimizer.slots:
            shapes |= {f"slots/{slot}/{name}": shape for name, shape in own.items()}
        for version in stashed(module, t):
            shapes |= {f"stash/{k}/{version}/{name}": shape for name, shape in own.items()}
        for batch in in_flight(module, t):
            shapes[f"in_flight/{k}/{batch}"] = (len(training.batches.indices(batch)), *sample)
        sample = module.layers.output_shape(sample)
        for batch in waiting(modules, k, t):
            shapes[f"errors/{k}/{batch}"] = (len(training.batches.indices(batch)), *sample)
    return {name: (shape, dtype) for name, shape in shapes.items()}


def _restore_module(training: Training, module: Module, tensors: dict[str, Array]) -> None:
    t, k, delay = training.iteration, module.k, module.delay
    own, steps = list(module.params), steps_before(t, module.delay)
    module.params = {name: tensors[f"params/{name}"] for name in own}
    module.stats = {name: tensors[f"stats/{name}"] for name in module.stats}
    slots = {slot: {name: tensors[f"slots/{slot}/{name}"] for name in own} for slot in module.optimizer.slots}
    module.optimizer_state = OptimizerState(steps, slots)
    versions = {steps: module.params}
    for version in stashed(module, t):
        versions[version] = {name: tensors[f"stash/{k}/{version}/{name}"] for name in own}
    for batch in in_flight(module, t):
        module.replay(batch, tensors[f"in_flight/{k}/{batch}"], versions[steps_before(batch, delay)])
    errors = training.pipeline.errors[k - 1]
    errors.extend((batch, tensors[f"errors/{k}/{batch}"]) for batch in waiting(training.pipeline.modules, k, t))
