"""`train`: one run, begun or gone on with."""

from contextlib import ExitStack, suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from ddg_ref.cli.options import MaybeOut, Overwrite, directory, takes_config, was_given
from ddg_ref.cli.output import milliseconds, printing, progress_of, resuming, silence
from ddg_ref.cli.stopping import Interrupted, stop_between_iterations
from ddg_ref.errors import CheckpointError, InputError, WriteError, choose
from ddg_ref.mpi import launch
from ddg_ref.runs import checkpoints, rundir, schedule_report
from ddg_ref.runs.config import Config
from ddg_ref.runs.engines import ENGINES, Engine
from ddg_ref.runs.training import Training
from ddg_ref.tools import locks
from ddg_ref.tools.console import console


@takes_config()
def train(
    options: dict[str, Any],
    context: typer.Context,
    out: MaybeOut = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with the run in this directory from its last checkpoint.", parser=directory),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Train one network and write a run directory: run.json, weights.safetensors, figures."""
    if (out is None) == (resume is None):
        raise InputError("out, resume: expected one of them, a directory to begin a run in or one to go on with")
    given = {name for name in options if was_given(context, name)}
    if "schedule_file" in given:
        options |= schedule_report.options_of(options, given)
    begin_or_go_on(options, given, out, resume, overwrite)


def begin_or_go_on(
    options: dict[str, Any], given: set[str], out: Path | None, resume: Path | None, overwrite: bool
) -> None:
    """Begin a run in `out`, or go on with the one in `resume`; `given` are the options that somebody chose."""
    engine, patience = ENGINES[choose("engine", options["engine"], ENGINES)], options["stall_timeout"]
    if resume is not None:
        stored_engine, stored_patience = _stored(resume)
        engine = engine if "engine" in given else stored_engine
        patience = patience if "stall_timeout" in given else stored_patience
    with ExitStack() as stack:
        if not engine.speaks():
            stack.enter_context(silence())
        engine.meet(patience)  # before one process alone can fail
        if out is not None:
            training = Training(Config(**options))
            if engine.speaks():
                stack.enter_context(locks.owned("out", rundir.make(out)))
            place = engine.once(lambda: rundir.claim(out, overwrite=overwrite, room=checkpoints.room(training)))
        else:
            assert resume is not None
            place = rundir.reopen(resume)
            if engine.speaks():
                stack.enter_context(locks.owned("resume", place))
                rundir.reopen(resume)  # which another process may have ended meanwhile
            stored = checkpoints.stored_config(place)
            if stored is not None:
                _check_options(options, given, stored)
            changes = {name: options[name] for name in checkpoints.CHANGEABLE if name in given}
            training = checkpoints.resume(place, data=options["data"] if "data" in given else None, **changes)
        train_into(training, place)


def _stored(resume: Path) -> tuple[Engine, float | None]:
    """Engine and stall timeout of the run in that directory; if they cannot be told, the engine that all processes of
    a launch share."""
    with suppress(CheckpointError, OSError):
        stored = checkpoints.stored_config(resume)
        if stored is not None:
            return ENGINES[stored.engine], stored.stall_timeout
    return ENGINES["mpi" if launch.rank() is not None and find_spec("mpi4py") else "threads"], None


def _check_options(options: dict[str, Any], given: set[str], stored: Config) -> None:
    """A resumed run keeps its options: refuse those of the command line that differ."""
    may_change = ("data", *checkpoints.CHANGEABLE)
    for name, value in asdict(stored).items():
        if name in given and name not in may_change and options[name] != value:
            flags = ", ".join(f"--{option.replace('_', '-')}" for option in may_change)
            raise InputError(
                f"{name}: the run was started with {value}, got {options[name]}; only {flags} may change, "
                "leave the others out"
            )


def train_into(training: Training, place: Path) -> None:
    """Train to the end, show what has come of it, and keep it in the run directory `place`.

    Raises Interrupted, once there is a checkpoint, if the user asks to stop, and WriteError if the run cannot be kept
    there, which says where it lies.
    """

    def checkpoint() -> None:
        checkpoints.save_or_rescue(training, place)

    lost = None
    with stop_between_iterations(
        training.task, f"go on from the last checkpoint, if there is one, with: {resuming(place)}"
    ):
        with progress_of([training]):
            for _ in training.epochs(checkpoint):
                pass
        if training.iteration < training.task.iterations:
            training.engine.once(checkpoint)
            raise Interrupted(
                f"stopped after iteration {training.iteration} of {training.task.iterations}; "
                f"go on with: {resuming(place)}"
            )
        run = training.result()
        try:  # before anything is printed, which may fail too
            training.engine.once(lambda: rundir.save_or_rescue(run, place))
        except WriteError as error:
            lost = error
    table = Table(box=None, pad_edge=False)
    for name in ("epoch", "iteration", "train loss", "train acc %", "test loss", "test acc %", "seconds"):
        table.add_column(name, justify="right")
    for r in run.history:
        accuracies = f"{100 * r.train_accuracy:.2f}", f"{100 * r.test_accuracy:.2f}"
        row = (r.epoch, r.iteration, f"{r.train_loss:.4f}", accuracies[0], f"{r.test_loss:.4f}", accuracies[1])
        table.add_row(*map(str, row), f"{r.seconds:.1f}")
    with printing():
        console().print(table)
        figures = f"test accuracy {100 * run.final_test_accuracy:.2f}%, {milliseconds(run)} ms per iteration"
        typer.echo(f"{run.label}: {figures}{'' if lost else f'; written to {place}'}")
    if lost is not None:
        raise lost
