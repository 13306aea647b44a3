"""Writing a checkpoint: beside the others, whole, and none of them lost before it is."""

import json
from pathlib import Path
from shlex import quote
from tempfile import mkdtemp
from typing import Any

import numpy as np

from ddg_ref.arrays import Params, to_host
from ddg_ref.errors import CheckpointError, WriteError, reason
from ddg_ref.runs.checkpoints.reading import list_checkpoints, run_of
from ddg_ref.runs.checkpoints.state import KEPT, LARGEST_STATE, SUMMED, VERSION, sha256_of
from ddg_ref.runs.checkpoints.tensors import DURATIONS, groups, guesser, place, unrecorded
from ddg_ref.runs.rundir import CHECKPOINT_DIGITS, CHECKPOINTS, STATE, SUMS, TENSORS, is_our_checkpoint, remove
from ddg_ref.runs.training import Training
from ddg_ref.tools.files import flush, write_json, write_tensors


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
    if [result.iteration for result in training.task.results] != list(unrecorded(training)):
        return False
    for module in training.pipeline.modules:
        now, synthesizer = place(training, module), guesser(training, module)
        unapplied = {number // module.method.micro_batches for number in now.unapplied}
        if module.optimizer_state.step != now.steps or module.gradients.keys() != unapplied:
            return False
        if synthesizer is not None and synthesizer.optimizer_state.step != now.lessons:
            return False
    return all(list(group.get()) == list(group.shapes) for group in groups(training) if not group.figures)


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
    sums = [f"{sha256_of(temporary / name)}  {name}\n" for name in SUMMED]
    (temporary / SUMS).write_text("".join(sums))
    for path in (temporary / SUMS, temporary):
        flush(path)
    temporary.rename(final)
    for path in (folder, folder.parent):
        flush(path)


def _unfinished(checkpoint: Path) -> Path:
    """The name of a checkpoint that is not yet whole, or no longer."""
    return checkpoint.with_name(f".{checkpoint.name}.tmp")


def tensors_of(training: Training) -> Params:
    """All arrays of a run by name, C-contiguous."""
    tensors: Params = {DURATIONS: np.array(training.durations, dtype=np.float64)}
    for group in groups(training):
        tensors |= group.full(group.get())
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
