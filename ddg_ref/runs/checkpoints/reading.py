"""Reading a checkpoint: whatever is not as it was written, or asks for what it should not, is refused in one line."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from hashlib import sha256
from math import isfinite, prod
from pathlib import Path
from stat import S_ISREG
from sys import maxsize
from types import NoneType, UnionType
from typing import Any, get_args, get_type_hints

import numpy as np

from ddg_ref.arrays import Array, Shape
from ddg_ref.computing import computing
from ddg_ref.data import Dataset, load_data
from ddg_ref.data.door import Data, name_or_dataset
from ddg_ref.errors import AgreementError, CheckpointError, DamagedError, InputError, LaunchError
from ddg_ref.guessers.synthesizers import boundaries, layers_for
from ddg_ref.layers import Layer, Sequential
from ddg_ref.layers.compose import as_layers
from ddg_ref.models import MODELS
from ddg_ref.runs.checkpoints.state import CHANGEABLE, LARGEST_STATE, SUMMED, VERSION, sha256_of
from ddg_ref.runs.checkpoints.tensors import DURATIONS, groups
from ddg_ref.runs.config import Config
from ddg_ref.runs.devices import make_device
from ddg_ref.runs.engines import ENGINES
from ddg_ref.runs.rundir import CHECKPOINT_FILES, CHECKPOINTS, LARGEST_SUMS, STATE, SUMS, TENSORS
from ddg_ref.runs.training import Training, make_network
from ddg_ref.splitting import check_cuts
from ddg_ref.tools.tensor_files import SafetensorError, safe_open

LONGEST_REASON = 300
HEADER_ROOM = 1 << 20
"""What a safetensors file may have besides its tensors' bytes, at least."""

DTYPES = {"float32": "F32", "float64": "F64"}


def list_checkpoints(run_directory: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(path for path in (run_directory / CHECKPOINTS).glob("[0-9]*") if path.name.isdigit())


def run_of(checkpoint: Path) -> str | None:
    """Which run wrote it, as `Training.id` has it; None if it is damaged. Raises OSError if it cannot be read."""
    with suppress(CheckpointError, FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        run = _read_state(checkpoint).get("run")
        return run if isinstance(run, str) else None
    return None


def resume(
    run_directory: Path,
    *,
    data: Data | None = None,
    layers: Iterable[Layer] | None = None,
    **changes: Any,
) -> Training:
    """The run whose newest checkpoint lies under `run_directory`, ready to go on.

    `data` and `layers` are needed again if the run was started with its own; `data` may also say where the same data
    lies now. `changes` are options in CHANGEABLE. Raises CheckpointError, one line that says what is wrong with which
    checkpoint; InputError if there is none, and as training does: what is wrong with its surroundings is no fault of
    the checkpoint.
    """
    found = list_checkpoints(run_directory)
    if not found:
        raise InputError(f"resume: no checkpoint under {run_directory / CHECKPOINTS}; train with --checkpoint-every")
    with reading(found[-1]):
        runs = {checkpoint.name: run for checkpoint in found if (run := run_of(checkpoint)) is not None}
    if len(set(runs.values())) > 1:
        raise CheckpointError(
            f"resume: expected checkpoints of one run under {run_directory / CHECKPOINTS}, got those of several: "
            f"{', '.join(runs)}; move away what is not of this run"
        )
    with naming_the_older(found):
        return load(found[-1], data=data, layers=layers, **changes)


def stored_config(run_directory: Path) -> Config | None:
    """The options of the run whose newest checkpoint lies there; None if there is none. Raises CheckpointError."""
    found = list_checkpoints(run_directory)
    if not found:
        return None
    with naming_the_older(found), reading(found[-1]):
        return _config(_read_state(found[-1]).get("config"))


@contextmanager
def naming_the_older(found: list[Path]) -> Iterator[None]:
    """For the block, if the newest of these checkpoints is damaged, the error says which one comes before it."""
    try:
        yield
    except DamagedError as error:
        older = f"; remove it to resume from {found[-2].name}" if len(found) > 1 else ""
        raise DamagedError(f"{error}{older}") from error.__cause__


@contextmanager
def reading(checkpoint: Path) -> Iterator[None]:
    """For the block, what is wrong is wrong with the checkpoint: one line that names it.

    DamagedError if its files are not as they were written; CheckpointError if they cannot be read, or ask for what this
    release refuses.
    """
    try:
        yield
    except CheckpointError as error:
        raise type(error)(f"checkpoint {checkpoint}: {_reason(error)}") from error.__cause__
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DamagedError(f"checkpoint {checkpoint}: expected {', '.join(CHECKPOINT_FILES)}: {error}") from error
    except (AgreementError, LaunchError):
        raise
    except (InputError, OSError) as error:
        raise CheckpointError(f"checkpoint {checkpoint}: cannot be read: {_reason(error)}") from error
    except (SafetensorError, ValueError, ArithmeticError, RecursionError) as error:
        raise DamagedError(f"checkpoint {checkpoint}: cannot be read: {_reason(error)}") from error


def load(
    checkpoint: Path,
    *,
    data: Data | None = None,
    layers: Iterable[Layer] | None = None,
    **changes: Any,
) -> Training:
    """The run stored in the directory `checkpoint`; see `resume`. Raises DamagedError for what is not as written."""
    unknown = sorted(changes.keys() - set(CHANGEABLE))
    if unknown:
        raise InputError(f"{unknown[0]}: expected options that may change, {', '.join(CHANGEABLE)}; leave it out")
    with reading(checkpoint):
        state = _read_state(checkpoint)
        config = _config(state.get("config"))
    config = replace(config.on_engine(changes.pop("engine", config.engine)), **changes)
    found = None if data is None else name_or_dataset(data)
    if not isinstance(found, Dataset):
        config = config if found is None else replace(config, data=found)
        try:
            found = load_data(config.data, config.data_dir)  # which never downloads
        except InputError as error:
            raise InputError(f"resume: {error}; --data and --data-dir may say where it lies now") from None
    if layers is not None:
        layers = as_layers("layers", layers)
        make_network(config, found, layers)  # what is wrong with them is no fault of the checkpoint
    with reading(checkpoint):
        if state.get("data") != found.astype(config.dtype).fingerprint:
            raise CheckpointError(f"it was written with other data than {found.name} is now; give the same data")
        cuts = _check_network(checkpoint, state, config, found, layers)
    ENGINES[config.engine].prepare(len(config.programs()), config.stall_timeout)
    for name in config.device_names():
        make_device(name)
    with reading(checkpoint):
        training = Training(config, found, layers, cuts=cuts)
        training.id = _expect("run", state.get("run"), str)
        training.seconds = _expect("seconds", state.get("seconds"), float)
        training.iteration = _expect("iteration", state.get("iteration"), int)
        if not 0 <= training.iteration <= training.task.iterations:
            raise DamagedError(f"iteration: expected 0 to {training.task.iterations}, got {training.iteration}")
        _restore_tensors(training, checkpoint / TENSORS)
    training.engine.agree(lambda: {"checkpoint": checkpoint.name, SUMS: sha256_of(checkpoint / SUMS)})
    return training


def _check_network(
    checkpoint: Path, state: dict[str, Any], config: Config, data: Dataset, layers: Iterable[Layer] | None
) -> list[int]:
    """The cuts, once it is sure that the network is the one stored, and that its weights may be allocated."""
    names = [_expect("network", name, str) for name in _expect("network", state.get("network"), list)]
    if (config.depth or 0) > len(names):  # before a network of that depth is built
        raise DamagedError(f"expected a network of depth {config.depth}, got {len(names)} layers")
    if layers is None and config.model not in MODELS:
        raise CheckpointError(f"unknown model {config.model!r:.40}: if its layers were your own, give them again")
    network = make_network(config, data, layers)
    if names != [repr(layer) for layer in network.layers]:
        raise CheckpointError("it holds another network than the configuration gives; give the same layers")
    cuts = [_expect("cuts", cut, int) for cut in _expect("cuts", state.get("cuts"), list)]
    if len(cuts) != config.modules - 1:
        raise DamagedError(f"expected {config.modules - 1} cuts, got {len(cuts)}")
    check_cuts(cuts, len(network.steps()))
    _check_size(checkpoint / TENSORS, weight_bytes(config, network, cuts, data), maxsize)
    return cuts


def _read_state(checkpoint: Path) -> dict[str, Any]:
    _check_size(checkpoint / STATE, 0, LARGEST_STATE)
    text = (checkpoint / STATE).read_bytes()
    _check_sum(checkpoint, STATE, sha256(text).hexdigest())
    state: dict[str, Any] = _expect("state", json.loads(text, parse_float=_finite, parse_constant=_finite), dict)
    version = _expect("version", state.get("version"), int)
    if version != VERSION:
        raise CheckpointError(f"expected version {VERSION}, got {version}; use the release that wrote it")
    return state


def _check_size(path: Path, least: int, most: int) -> None:
    """A file that is as large as it may be. No pipe that never ends, and no device."""
    status = path.lstat()
    if not S_ISREG(status.st_mode):
        raise DamagedError(f"{path.name}: expected a file, got something else of this name")
    if not least <= status.st_size <= most:
        raise DamagedError(f"{path.name}: expected {least} to {most} bytes, got {status.st_size}")


def _check_sum(checkpoint: Path, name: str, digest: str) -> None:
    _check_size(checkpoint / SUMS, 0, LARGEST_SUMS)
    lines = (checkpoint / SUMS).read_bytes().splitlines(keepends=True)
    place = SUMMED.index(name)
    if len(lines) != len(SUMMED) or lines[place] != f"{digest}  {name}\n".encode():
        raise DamagedError(f"{name} has been damaged or changed: {SUMS} does not match")


def _finite(number: str) -> float:
    if not isfinite(float(number)):
        raise DamagedError(f"expected finite numbers, got {number}")
    return float(number)


def _expect(name: str, value: Any, kind: type | UnionType) -> Any:
    """`value`, if it is of that kind; whole numbers pass as float, truth values not as numbers."""
    kinds = get_args(kind) or (kind,)
    if float in kinds and type(value) is int and abs(value) < 1 << 53:
        return float(value)
    if type(value) not in kinds:
        wanted = " or ".join("null" if kind is NoneType else kind.__name__ for kind in kinds)
        raise DamagedError(f"{name}: expected {wanted}, got {type(value).__name__}")
    return value


def _config(stored: Any) -> Config:
    hints = get_type_hints(Config)
    _expect("config", stored, dict)
    names = {option.name for option in fields(Config)}
    if stored.keys() != names:
        raise DamagedError(f"config: expected the options {', '.join(sorted(names))}, got others")
    text = stored["schedule_file"]
    if isinstance(text, str) and "\n" not in text:  # which would be taken for a path
        raise DamagedError("config.schedule_file: expected the text of a schedule file, got something else")
    return Config(**{name: _expect(f"config.{name}", value, hints[name]) for name, value in stored.items()})


def weight_bytes(config: Config, network: Sequential, cuts: list[int], data: Dataset) -> int:
    """What parameters and statistics take, those of synthesizers included."""
    shapes, method = [*network.parameter_shapes().values(), *network.stats_shapes().values()], config.make_method()
    for output in boundaries(method, network, cuts, data.input_shape):
        shapes += layers_for(output, data.classes, method).parameter_shapes().values()
    return sum(prod(shape) for shape in shapes) * np.dtype(config.dtype).itemsize


def _reason(error: Exception) -> str:
    """What went wrong, on one line that is not too long, whatever a file put into the message."""
    lines = str(error).splitlines() or [""]
    return lines[0][:LONGEST_REASON] or type(error).__name__


def expected_tensors(training: Training) -> dict[str, tuple[Shape, str]]:
    """Name -> (shape, dtype) of every tensor that the checkpoint of this run at its iteration has."""
    return {
        name: (shape, "float64" if group.figures else training.config.dtype)
        for group in groups(training)
        for name, shape in group.names().items()
    }


def _restore_tensors(training: Training, path: Path) -> None:
    wanted = expected_tensors(training)
    size = sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in wanted.values())
    room = max(HEADER_ROOM, 1024 * len(wanted)) + np.dtype(float).itemsize * training.iteration
    _check_size(path, size, size + room)
    _check_sum(path.parent, TENSORS, sha256_of(path))
    with safe_open(path, framework="numpy") as file:
        if set(file.keys()) != wanted.keys() | {DURATIONS}:
            raise DamagedError(f"{path.name}: expected the tensors of iteration {training.iteration}, got others")
        for name, (shape, dtype) in wanted.items():
            header = file.get_slice(name)
            if tuple(header.get_shape()) != shape or header.get_dtype() != DTYPES[dtype]:
                got = f"{header.get_dtype()} {tuple(header.get_shape())}"
                raise DamagedError(f"{name}: expected {DTYPES[dtype]} {shape}, got {got}")
        durations = file.get_slice(DURATIONS)
        if durations.get_dtype() != "F64" or len(durations.get_shape()) != 1:
            raise DamagedError("durations: expected a row of F64")
        tensors: dict[str, Array] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    training.durations.frombytes(tensors[DURATIONS].tobytes())
    with computing():
        for group in groups(training):
            arrays = group.own(tensors)
            if group.module is None:
                group.put(arrays)
                continue
            with group.module.device.opened():
                group.put(group.module.device.place_all(arrays))
