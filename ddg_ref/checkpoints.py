"""Checkpoints: all that a run needs to go on as if it had never stopped, bit for bit.

A checkpoint is a directory of three files: `tensors.safetensors`, `state.json`, and `SHA256SUMS` over both (which
`sha256sum -c` understands). It is written beside the others under another name, flushed to the disk, and renamed: a
directory with a checkpoint's name is whole, whenever the process was killed. The last two are kept.

What is in flight at iteration t follows from the method's row alone. Module k holds the batches max(0, t-d_k) to t-1;
above it wait the error gradients of the batches max(0, t-a_k) to t-1-d_{k+1}, as far as the run has them, where a_k is
how long it waits for one: the delay, and one more where a synthesizer goes before. A checkpoint stores the batches'
input, the weights that their forward pass used unless they are replayed with others, the error gradients, and what the
synthesizers know; the caches are computed anew, which gives the same bits. So the names, shapes and dtypes of all
tensors are known before the file is opened, and whatever differs is refused. Nothing is unpickled, and nothing is
allocated on a file's word.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from hashlib import file_digest, sha256
from math import isfinite, prod
from pathlib import Path
from shlex import quote
from stat import S_ISREG
from sys import maxsize
from tempfile import mkdtemp
from types import NoneType, UnionType
from typing import Any, cast, get_args, get_type_hints

import numpy as np
from safetensors import SafetensorError, safe_open

from ddg_ref.arrays import Array, Params, Shape, computing, to_host
from ddg_ref.config import Config
from ddg_ref.data import Dataset, load_data
from ddg_ref.data.door import Data, name_or_dataset
from ddg_ref.devices import Device, make_device
from ddg_ref.engines import ENGINES
from ddg_ref.errors import (
    AgreementError,
    CheckpointError,
    DamagedError,
    InputError,
    LaunchError,
    WriteError,
    reason,
)
from ddg_ref.files import flush, write_json, write_tensors
from ddg_ref.layers import Layer, Sequential
from ddg_ref.layers.compose import as_layers
from ddg_ref.models import MODELS
from ddg_ref.modules import Module
from ddg_ref.optimizers import OptimizerState
from ddg_ref.rundir import (
    CHECKPOINT_DIGITS,
    CHECKPOINT_FILES,
    CHECKPOINTS,
    LARGEST_SUMS,
    STATE,
    SUMS,
    TENSORS,
    is_our_checkpoint,
    remove,
)
from ddg_ref.splitting import check_cuts
from ddg_ref.synthesizers import Synthesizer, boundaries, layers_for
from ddg_ref.task import BatchResult
from ddg_ref.training import Record, Training, make_network

VERSION = 2
KEPT = 2
SUMMED = (TENSORS, STATE)
LARGEST_STATE = 2 << 20
LONGEST_REASON = 300
HEADER_ROOM = 1 << 20
"""What a safetensors file may have besides its tensors' bytes, at least."""

CHANGEABLE = ("engine", "device", "data_dir", "checkpoint_every", "stall_timeout")
"""Options that say where and how a run goes on; all others say which run it is."""

DTYPES = {"float32": "F32", "float64": "F64"}


def steps_before(batch: int, delay: int) -> int:
    """How many steps a module has made when batch `batch` goes forward: the version of the weights that it uses."""
    return max(0, batch - delay)


def steps_of(training: Training, module: Module) -> int:
    """How many steps `module` has made."""
    return min(steps_before(training.clock, module.delay), training.task.iterations)


def in_flight(training: Training, module: Module) -> range:
    """The batches between forward and backward in `module`."""
    t = training.clock
    return range(max(0, t - module.delay), min(t, training.task.iterations))


def waiting(training: Training, module: Module) -> range:
    """The batches whose error gradients wait above `module`."""
    if module is training.pipeline.modules[-1]:
        return range(0)
    above, t = training.pipeline.modules[module.k], training.clock
    return range(max(0, t - module.arrival), min(t - above.delay, training.task.iterations))


def guesser(training: Training, module: Module) -> Synthesizer | None:
    """The synthesizer of `module`, if it has one."""
    return cast("Synthesizer | None", training.pipeline.guessers[module.k - 1])


def unlearned(training: Training, module: Module) -> range:
    """The batches whose outputs the synthesizer of `module`, if it has one, has still to learn from."""
    t = training.clock
    return range(max(0, t - module.arrival), min(t, training.task.iterations) if guesser(training, module) else 0)


def lessons(training: Training, module: Module) -> int:
    """How many steps its synthesizer has made."""
    return min(steps_before(training.clock, module.arrival), training.task.iterations)


def stashed(training: Training, module: Module) -> list[int]:
    """The versions of the weights that batches in flight refer to, besides the present one."""
    if not module.stashes:
        return []
    versions = {steps_before(batch, module.delay) for batch in in_flight(training, module)}
    return sorted(versions - {steps_of(training, module)})


def records(training: Training) -> int:
    """How many records have been made: one at the end of each epoch, and one at the end of the run."""
    epochs, rest = divmod(training.iteration, training.batches.per_epoch)
    return epochs + 1 if rest and training.iteration == training.task.iterations else epochs


def unrecorded(training: Training) -> range:
    """The batches since the last record."""
    t = training.iteration
    return range(min(records(training) * training.batches.per_epoch, t), t)


# Writing


def save(training: Training, run_directory: Path) -> Path:
    """Write the state of `training`, which stands between two iterations, under `run_directory`/checkpoints.

    Returns the checkpoint's directory. Raises CheckpointError if training was broken off within an iteration or if
    nothing can be written; then the older checkpoints are as they were.
    """
    final = run_directory / CHECKPOINTS / f"{training.iteration:0{CHECKPOINT_DIGITS}d}"
    if not stands_between_iterations(training):
        raise CheckpointError(
            f"checkpoint {final}: the run was broken off within an iteration; resume from the last checkpoint"
        )
    try:
        if not final.exists():
            _write(training, final)
            own = [old for old in list_checkpoints(run_directory) if run_of(old) == training.id]
            for old in own[:-KEPT]:
                if is_our_checkpoint(old):
                    remove(old.rename(_unfinished(old)))
        elif run_of(final) != training.id:
            raise CheckpointError(f"checkpoint {final}: another run has written it; choose another directory")
    except (OSError, WriteError) as error:
        cause = error if isinstance(error, OSError) else error.__cause__ or error
        raise CheckpointError(f"checkpoint {final}: cannot be written: {reason(cause)}") from error
    return final


def save_or_rescue(training: Training, run_directory: Path) -> Path:
    """`save`, or if that fails the same into a new temporary folder, and CheckpointError that says where."""
    try:
        return save(training, run_directory)
    except CheckpointError as error:
        if not stands_between_iterations(training):
            raise
        try:
            elsewhere = Path(mkdtemp(prefix="ddg_ref-"))
            save(training, elsewhere)
        except (CheckpointError, OSError) as again:
            raise CheckpointError(f"{error}; {again}") from error
        raise CheckpointError(
            f"{error}; it lies elsewhere, go on with: python -m ddg_ref train --resume {quote(str(elsewhere))}"
        ) from error


def room(training: Training) -> int:
    """How many bytes at least the weights take on the disk, and the checkpoints that the run will write."""
    arrays = [*training.pipeline.params.values(), *training.pipeline.stats.values()]
    weights = sum(array.nbytes for array in arrays)
    slots = len(training.pipeline.modules[0].optimizer.slots)
    return weights if training.config.checkpoint_every is None else weights * (1 + (KEPT + 1) * (1 + slots))


def stands_between_iterations(training: Training) -> bool:
    """All modules have come as far as the run says: no error or Ctrl-C broke it off midway."""
    return [result.iteration for result in training.task.results] == list(unrecorded(training)) and all(
        module.optimizer_state.step == steps_of(training, module)
        and [flight.batch for flight in module.queue] == list(in_flight(training, module))
        and [batch for batch, _ in errors] == list(waiting(training, module))
        and _has_learned(training, module)
        for module, errors in zip(training.pipeline.modules, training.pipeline.errors, strict=True)
    )


def _has_learned(training: Training, module: Module) -> bool:
    synthesizer = guesser(training, module)
    return synthesizer is None or (
        synthesizer.optimizer_state.step == lessons(training, module)
        and [batch for batch, _ in synthesizer.outputs] == list(unlearned(training, module))
    )


def _write(training: Training, final: Path) -> None:
    folder, temporary = final.parent, _unfinished(final)
    folder.mkdir(parents=True, exist_ok=True)
    for unfinished in folder.glob(_unfinished(Path("*")).name):
        if is_our_checkpoint(unfinished):
            remove(unfinished)
    temporary.mkdir()
    state = state_of(training)
    if len(json.dumps(state, allow_nan=False)) > LARGEST_STATE // 2:  # leaves room for what is written beside it
        raise OSError(f"{STATE} would be larger than what can be read again")
    write_json(temporary / STATE, state, indent=None)  # first: by it an unfinished checkpoint is known as ours
    write_tensors(temporary / TENSORS, tensors_of(training))
    sums = [f"{_sha256(temporary / name)}  {name}\n" for name in SUMMED]
    (temporary / SUMS).write_text("".join(sums))
    for path in (temporary / SUMS, temporary):
        flush(path)
    temporary.rename(final)
    for path in (folder, folder.parent):
        flush(path)


def _unfinished(checkpoint: Path) -> Path:
    """The name of a checkpoint that is not yet whole, or no longer."""
    return checkpoint.with_name(f".{checkpoint.name}.tmp")


def _reason(error: Exception) -> str:
    """What went wrong, on one line that is not too long, whatever a file put into the message."""
    lines = str(error).splitlines() or [""]
    return lines[0][:LONGEST_REASON] or type(error).__name__


def tensors_of(training: Training) -> Params:
    """All arrays of a run by name, C-contiguous."""
    tensors = {
        "durations": np.array(training.durations, dtype=np.float64),
        "history": np.array(training.history, dtype=np.float64).reshape(-1, len(Record._fields)),
        "results": np.array([(r.loss, r.correct) for r in training.task.results], dtype=np.float64).reshape(-1, 2),
    }
    for module, errors in zip(training.pipeline.modules, training.pipeline.errors, strict=True):
        k = module.k
        tensors |= {f"params/{name}": array for name, array in module.params.items()}
        tensors |= {f"stats/{name}": array for name, array in module.stats.items()}
        for slot, arrays in module.optimizer_state.slots.items():
            tensors |= {f"slots/{slot}/{name}": array for name, array in arrays.items()}
        for flight in module.queue:
            tensors[f"in_flight/{k}/{flight.batch}"] = flight.x
            version = steps_before(flight.batch, module.delay)
            if version in stashed(training, module):
                tensors |= {f"stash/{k}/{version}/{name}": array for name, array in flight.params.items()}
        tensors |= {f"errors/{k}/{batch}": dy for batch, dy in errors}
        if (synthesizer := guesser(training, module)) is not None:
            tensors |= {f"synthesizer/{k}/params/{name}": array for name, array in synthesizer.params.items()}
            for slot, arrays in synthesizer.optimizer_state.slots.items():
                tensors |= {f"synthesizer/{k}/slots/{slot}/{name}": array for name, array in arrays.items()}
            tensors |= {f"outputs/{k}/{batch}": y for batch, y in synthesizer.outputs}
    return {name: np.ascontiguousarray(to_host(array)) for name, array in tensors.items()}


def state_of(training: Training) -> dict[str, Any]:
    """Everything else, as JSON: nothing that grows with the run, so what is large is not this run's."""
    return {
        "version": VERSION,
        "run": training.id,
        "config": training.config.stored(),
        "network": [repr(layer) for layer in training.network.layers],
        "data": training.data.fingerprint,
        "cuts": training.cuts,
        "iteration": training.iteration,
        "seconds": training.seconds,
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


# Reading


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
    ENGINES[config.engine].prepare(config.modules, config.stall_timeout)
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
    training.engine.agree(lambda: {"checkpoint": checkpoint.name, SUMS: _sha256(checkpoint / SUMS)})
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


def _restore_tensors(training: Training, path: Path) -> None:
    wanted = expected_tensors(training)
    size = sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in wanted.values())
    room = max(HEADER_ROOM, 1024 * len(wanted)) + np.dtype(float).itemsize * training.iteration
    _check_size(path, size, size + room)
    _check_sum(path.parent, TENSORS, _sha256(path))
    with safe_open(path, framework="numpy") as file:
        if set(file.keys()) != wanted.keys() | {"durations"}:
            raise DamagedError(f"{path.name}: expected the tensors of iteration {training.iteration}, got others")
        for name, (shape, dtype) in wanted.items():
            header = file.get_slice(name)
            if tuple(header.get_shape()) != shape or header.get_dtype() != DTYPES[dtype]:
                got = f"{header.get_dtype()} {tuple(header.get_shape())}"
                raise DamagedError(f"{name}: expected {DTYPES[dtype]} {shape}, got {got}")
        durations = file.get_slice("durations")
        if durations.get_dtype() != "F64" or len(durations.get_shape()) != 1:
            raise DamagedError("durations: expected a row of F64")
        tensors: dict[str, Array] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    training.durations.frombytes(tensors["durations"].tobytes())
    training.history = list(_history(training, tensors["history"]))
    training.task.results = list(_results(training, tensors["results"]))
    with computing():
        for module in training.pipeline.modules:
            with module.device.opened():
                _restore_module(training, module, _Placed(tensors, module.device))


def _history(training: Training, rows: Array) -> Iterator[Record]:
    for i, (epoch, iteration, *figures) in enumerate(rows.tolist(), 1):
        end = min(i * training.batches.per_epoch, training.iteration)
        if (epoch, iteration) != (i, end) or not all(map(isfinite, figures)):
            raise DamagedError("history: expected a record for each epoch, with finite numbers")
        yield Record(i, end, *figures)


def _results(training: Training, rows: Array) -> Iterator[BatchResult]:
    for batch, (loss, correct) in zip(unrecorded(training), rows.tolist(), strict=True):
        size = len(training.batches.indices(batch))
        if not isfinite(loss) or correct not in range(size + 1):
            raise DamagedError("results: expected a finite loss and a count of samples for each batch")
        yield BatchResult(batch, loss, int(correct), size, finished=0.0)


def expected_tensors(training: Training) -> dict[str, tuple[Shape, str]]:
    """Name -> (shape, dtype) of every tensor that the checkpoint of this run at its iteration has."""
    tables = {"history": (records(training), len(Record._fields)), "results": (len(unrecorded(training)), 2)}
    shapes: dict[str, Shape] = {}
    sample = training.data.input_shape
    for module in training.pipeline.modules:
        k, own = module.k, module.layers.parameter_shapes()
        shapes |= {f"params/{name}": shape for name, shape in own.items()}
        shapes |= {f"stats/{name}": shape for name, shape in module.layers.stats_shapes().items()}
        for slot in module.optimizer.slots:
            shapes |= {f"slots/{slot}/{name}": shape for name, shape in own.items()}
        for version in stashed(training, module):
            shapes |= {f"stash/{k}/{version}/{name}": shape for name, shape in own.items()}
        for batch in in_flight(training, module):
            shapes[f"in_flight/{k}/{batch}"] = (len(training.batches.indices(batch)), *sample)
        sample = module.layers.output_shape(sample)
        for batch in waiting(training, module):
            shapes[f"errors/{k}/{batch}"] = (len(training.batches.indices(batch)), *sample)
        for batch in unlearned(training, module):
            shapes[f"outputs/{k}/{batch}"] = (len(training.batches.indices(batch)), *sample)
        if (synthesizer := guesser(training, module)) is not None:
            for name, shape in synthesizer.layers.parameter_shapes().items():
                for kind in ("params", *(f"slots/{slot}" for slot in synthesizer.optimizer.slots)):
                    shapes[f"synthesizer/{k}/{kind}/{name}"] = shape
    return {name: (shape, "float64") for name, shape in tables.items()} | {
        name: (shape, training.config.dtype) for name, shape in shapes.items()
    }


class _Placed(dict[str, Array]):
    """Tensors that come, when they are asked for, on a device."""

    def __init__(self, tensors: dict[str, Array], device: Device) -> None:
        super().__init__(tensors)
        self._device = device

    def __getitem__(self, name: str) -> Array:
        return self._device.place(super().__getitem__(name))


def _restore_module(training: Training, module: Module, tensors: dict[str, Array]) -> None:
    k, own, steps = module.k, list(module.params), steps_of(training, module)
    module.params = {name: tensors[f"params/{name}"] for name in own}
    module.stats = {name: tensors[f"stats/{name}"] for name in module.stats}
    slots = {slot: {name: tensors[f"slots/{slot}/{name}"] for name in own} for slot in module.optimizer.slots}
    module.optimizer_state = OptimizerState(steps, slots)
    versions = {steps: module.params}
    for version in stashed(training, module):
        versions[version] = {name: tensors[f"stash/{k}/{version}/{name}"] for name in own}
    for batch in in_flight(training, module):
        module.restore(batch, tensors[f"in_flight/{k}/{batch}"], versions.get(steps_before(batch, module.delay), {}))
    errors = training.pipeline.errors[k - 1]
    errors.extend((batch, tensors[f"errors/{k}/{batch}"]) for batch in waiting(training, module))
    if (synthesizer := guesser(training, module)) is not None:
        of, names = f"synthesizer/{k}", list(synthesizer.params)
        synthesizer.params = {name: tensors[f"{of}/params/{name}"] for name in names}
        slots = {s: {name: tensors[f"{of}/slots/{s}/{name}"] for name in names} for s in synthesizer.optimizer.slots}
        synthesizer.optimizer_state = OptimizerState(lessons(training, module), slots)
        synthesizer.outputs.extend((batch, tensors[f"outputs/{k}/{batch}"]) for batch in unlearned(training, module))
