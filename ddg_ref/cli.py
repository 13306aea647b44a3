"""The command line. Options of `train` are the fields of Config."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import asdict, fields
from importlib.util import find_spec
from inspect import Parameter, Signature, signature
from pathlib import Path
from shlex import quote
from traceback import format_exc
from types import FrameType
from typing import Annotated, Any, Protocol, get_type_hints

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ddg_ref import checkpoints, comparison, locks, plots, rundir, schedule_report
from ddg_ref.config import Config
from ddg_ref.console import accept_everything, console
from ddg_ref.engines import ENGINES, Engine
from ddg_ref.errors import (
    CheckpointError,
    DivergenceError,
    InputError,
    LaunchError,
    ScheduleError,
    StallError,
    WorkerError,
    WriteError,
    choose,
    reason,
)
from ddg_ref.experiments import reproduce as experiments
from ddg_ref.experiments.jobs import Watch
from ddg_ref.files import write_figure, write_json
from ddg_ref.methods import METHODS
from ddg_ref.timeline import busy_fraction, last_iterations, trace
from ddg_ref.training import Run, Training
from ddg_ref.workers import launch

app = typer.Typer(
    help="Train networks by backpropagation and by decoupled delayed gradients (DDG).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def directory(name: str) -> Path:
    """The directory of that name. Raises BadParameter for no name at all, which is what an empty variable gives."""
    if not name:
        raise typer.BadParameter("expected the name of a directory, got an empty one; say . for this one")
    return Path(name)


INTO = "Directory to write into; it is made if it is not there."
Out = Annotated[Path, typer.Option(help=INTO, show_default=False, parser=directory)]
MaybeOut = Annotated[Path | None, typer.Option(help=INTO, parser=directory)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run that the directory holds already.")]


def takes_config(*omit: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the fields of Config as options, less those in `omit`, and pass it their values by name."""
    hints = get_type_hints(Config)
    chosen = [option for option in fields(Config) if option.name not in omit]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in signature(command).parameters.values() if p.name != "options"]

        def run(**given: Any) -> None:
            options = {option.name: given.pop(option.name) for option in chosen}
            command(options, **given)

        added = [
            Parameter(
                option.name,
                Parameter.KEYWORD_ONLY,
                default=option.default,
                annotation=Annotated[hints[option.name], typer.Option(help=option.metadata["help"])],
            )
            for option in chosen
        ]
        parameters = [*(p.replace(kind=Parameter.KEYWORD_ONLY) for p in own), *added]
        run.__name__, run.__doc__ = command.__name__, command.__doc__
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        vars(run)["__signature__"] = Signature(parameters)  # what typer reads the options from
        return run

    return decorate


@contextmanager
def progress_of(trainings: Sequence[Training]) -> Iterator[None]:
    """A live bar per training while the block runs; nothing where the output is not a terminal."""
    terminal = console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=terminal, disable=not terminal.is_terminal) as progress:
        for training in trainings:
            label = f"{training.config.method} K={training.config.modules}"
            bar = progress.add_task(label, total=training.task.iterations, state="")

            def on_batch(t: int, *, bar: Any = bar, training: Training = training) -> None:
                last = training.task.results[-1].loss if training.task.results else None
                state = f"loss {last:.4f}" if isinstance(last, float) else ""  # on a GPU it is not yet known
                progress.update(bar, completed=t + 1, state=state)

            training.task.on_batch = on_batch
        yield


def milliseconds(run: Run) -> str:
    """The time of an iteration as a table shows it."""
    return "-" if run.milliseconds_per_iteration is None else f"{run.milliseconds_per_iteration:.2f}"


@app.command()
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
    given = {name for name in options if _was_given(context, name)}
    if "schedule_file" in given:
        options |= schedule_report.options_of(options, given)
    _train(options, given, out, resume, overwrite)


def _train(options: dict[str, Any], given: set[str], out: Path | None, resume: Path | None, overwrite: bool) -> None:
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


@contextmanager
def printing() -> Iterator[None]:
    """What is printed in the block has been kept already. Raises WriteError if it cannot be printed."""
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        with suppress(OSError):
            sys.stdout.close()  # else Python tries once more when it ends
        raise WriteError(f"what has come of it cannot be printed ({reason(error)}), but has been kept") from error


def resuming(place: Path) -> str:
    """The command that goes on with the run in `place`."""
    return f"python -m ddg_ref train --resume {quote(str(place))}"


def _stored(resume: Path) -> tuple[Engine, float | None]:
    """Engine and stall timeout of the run in that directory; if they cannot be told, the engine that all processes of
    a launch share."""
    with suppress(CheckpointError, OSError):
        stored = checkpoints.stored_config(resume)
        if stored is not None:
            return ENGINES[stored.engine], stored.stall_timeout
    return ENGINES["mpi" if launch.rank() is not None and find_spec("mpi4py") else "threads"], None


class Interrupted(Exception):  # noqa: N818 - not an error
    """The user asked to stop; nothing is lost."""


class Stoppable(Protocol):
    """Work that ends after the iteration at hand once this is set."""

    stop_requested: bool


@contextmanager
def stop_between_iterations(work: Stoppable, then: str) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) ends training after the iteration at hand, the second ends it at once.

    `then` says what is left after the second one. It raises Interrupted.
    """
    asked = False

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        work.stop_requested = asked = True

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"stopped at once; {then}") from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


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


@app.command()
@takes_config("method", "modules", "schedule_file")
def compare(
    options: dict[str, Any],
    out: Out,
    runs: Annotated[str, typer.Option(help="What to compare, method:K with commas between.")] = "bp,ddg:2,ddg:4",
    overwrite: Overwrite = False,
) -> None:
    """Train the same network in several ways, epoch by epoch in turn; print one table and draw one figure.

    An option that not all of the methods have goes to those that have it.
    """
    if options["engine"] == "mpi":
        raise InputError("engine: compare changes the number of modules, got mpi, where it is fixed; choose threads")
    configs = comparison.configs_of(comparison.parse_runs(runs), options)
    trainings = comparison.trainings_of(configs)
    places = comparison.places_of(trainings, out)
    rundir.survey(places, overwrite=overwrite)  # before there are directories to own
    with ExitStack() as owned:
        for place in places:
            owned.enter_context(locks.owned("out", rundir.make(place.directory)))
        comparing = comparison.Comparison(trainings, out, overwrite=overwrite)
        with stop_between_iterations(comparing, "each of the runs goes on from its last checkpoint, if there is one"):
            with progress_of(trainings):
                comparing.train()
            report(comparing, options)


def report(comparing: comparison.Comparison, options: dict[str, Any]) -> None:
    """Keep and print what has come of a comparison. Raises what is to be said of runs that were stopped or failed."""
    problems = [str(entry.unsaved) for entry in comparing.entries if entry.unsaved]
    problems += [f"{entry.label}: {entry.failure}" for entry in comparing.entries if entry.failure]
    if comparing.stopped:
        commands = [resuming(entry.directory) for entry in comparing.stopped]
        raise Interrupted("; ".join(["stopped; each of the runs goes on by itself", *commands, *problems]))
    unsaved = any(entry.unsaved for entry in comparing.entries)
    try:
        comparing.save(options)
    except WriteError as error:
        problems, unsaved = [str(error), *problems], True
    base = comparing.baseline
    table = Table(box=None, pad_edge=False)
    for name in ("method", "K", "test acc %", "ms/iteration", f"speed-up over {base.label if base else 'bp'}"):
        table.add_column(name, justify="left" if name == "method" else "right")
    for row in comparing.rows():
        accuracy = "failed" if row["failure"] else f"{100 * row['test_accuracy']:.2f}"
        times = (row["milliseconds_per_iteration"], row["speed_up"])
        table.add_row(row["method"], str(row["modules"]), accuracy, *("-" if t is None else f"{t:.2f}" for t in times))
    with printing():
        console().print(table)
        if not unsaved:
            typer.echo(f"figure and runs written to {comparing.out}")
    failed = sum(entry.failure is not None for entry in comparing.entries)
    if unsaved:
        raise WriteError("; ".join(problems))
    if failed:
        raise WorkerError(f"{failed} of {len(comparing.entries)} runs failed: {'; '.join(problems)}")


@app.command()
@takes_config("engine", "epochs", "iterations", "checkpoint_every", "drain")
def timeline(
    options: dict[str, Any],
    out: Out,
    count: Annotated[int, typer.Option(help="Iterations to show, after as many to get going.")] = 6,
    overwrite: Overwrite = False,
) -> None:
    """Record a few iterations of the worker threads and draw who was busy when: timeline.png and trace.json."""
    if count < 1:
        raise InputError(f"count: expected a whole number >= 1, got {count}; 6 is readable")
    training = Training(Config(**options, iterations=2 * count + options["modules"], drain=False))
    with locks.owned("out", rundir.make(out)):
        rundir.claim(out, overwrite=overwrite)
        with progress_of([training]):
            for _ in training.epochs():
                pass
        run = training.result()
        spans = last_iterations(run.spans, count)
        for k, fraction in busy_fraction(spans).items():
            typer.echo(f"module {k}: busy {100 * fraction:.0f}% of the time")
        write_figure(out / rundir.TIMELINE, plots.timeline(spans, title=run.label))
        write_json(out / rundir.TRACE, trace(spans), indent=None)
    typer.echo(f"timeline.png and trace.json (open it in Perfetto or chrome://tracing) written to {out}")


@contextmanager
def watching(what: str, runs: int) -> Iterator[Watch]:
    """A live bar over the runs of an experiment, and Ctrl-C, while the block does them."""
    terminal = console(stderr=True)
    columns = (
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.completed:.1f}/{task.total} runs"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=terminal, disable=not terminal.is_terminal) as progress:
        bar = progress.add_task(what, total=runs)
        watch = Watch(lambda done: progress.update(bar, completed=done))
        with stop_between_iterations(watch, "the same command goes on with the runs that have ended"):
            yield watch


@app.command()
def reproduce(
    what: Annotated[str, typer.Argument(help=f"Experiment: {', '.join([*experiments.PLANS, experiments.ALL])}.")],
    out: Out,
    scale: Annotated[str, typer.Option(help=f"How large: {', '.join(experiments.SCALES)}.")] = "laptop",
    device: Annotated[str | None, typer.Option(help="Where all modules run: cpu, cuda:0, ... (cpu).")] = None,
    data_dir: Annotated[str | None, typer.Option(help="Directory with the published data sets (paper).")] = None,
    download: Annotated[bool, typer.Option("--download", help="Fetch them, if they are not there (paper).")] = False,
) -> None:
    """Do an experiment of the paper again: result.json, result.md, figure.png. The same command goes on with it."""
    given = {"device": device, "data_dir": data_dir, "download": download or None}
    options = {name: value for name, value in given.items() if value is not None}
    experiments.plan(what, scale, options)  # refuses what it does, before there is a directory
    with locks.owned("out", rundir.make(out)):
        written = experiments.reproduce(what, scale, out, options, watching)
    if written is None:
        words = ["reproduce", what, "--scale", scale, "--out", str(out)]
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [value])]
        raise Interrupted(f"stopped; go on with: python -m ddg_ref {' '.join(map(quote, words))}")
    typer.echo(written.read_text(encoding="utf-8"))
    typer.echo(f"written to {written}")


schedules = typer.Typer(help="Look at a schedule, or train with it.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(schedules, name="schedule")

What = Annotated[
    str, typer.Argument(help="A file in PyTorch's CSV form, or the name of a method.", metavar="FILE|NAME")
]
MaybeModules = Annotated[
    int | None, typer.Option(help=f"K, the number of modules ({schedule_report.MODULES}, or as the file has it).")
]
MaybeParts = Annotated[int | None, typer.Option(help="M, parts of a batch (as the method, or the file, has it).")]
Capacity = Annotated[int, typer.Option(help="Messages that a channel holds.")]


PER_MODULE = "one number, or one for each module, with commas between."
Forward = Annotated[str, typer.Option(help=f"Time of a forward pass of a micro-batch: {PER_MODULE}")]
Backward = Annotated[str, typer.Option(help=f"Time of its backward pass: {PER_MODULE}")]
Update = Annotated[str, typer.Option(help=f"Time of an update: {PER_MODULE}")]
Learn = Annotated[str, typer.Option(help=f"Time in which a synthesizer learns (dni): {PER_MODULE}")]


@schedules.command("show")
def show_schedule(
    what: What,
    modules: MaybeModules = None,
    micro_batches: MaybeParts = None,
    forward: Forward = "1",
    backward: Backward = "2",
    update: Update = "0",
    learn: Learn = "0",
    latency: Annotated[float, typer.Option(help="Time of a message between two workers.")] = 0.0,
    capacity: Capacity = 2,
    iterations: Annotated[int | None, typer.Option(help="How many to draw (one flush, or the warm-up).")] = None,
    out: Annotated[Path | None, typer.Option(help="Draw it (.png, .svg), or write the schedule (.csv).")] = None,
) -> None:
    """Who does what when, how fast that is, what is kept meanwhile, and whether the workers can block each other."""
    if out is not None:
        schedule_report.expect_form(out)
    subject = schedule_report.Subject.of(what, modules, micro_batches)
    times = schedule_report.times_of(subject, latency, forward=forward, backward=backward, update=update, learn=learn)
    terminal = console()
    width = terminal.width if terminal.is_terminal else schedule_report.WIDTH
    shown = schedule_report.show(subject, times, capacity, iterations, width)
    for line in shown.diagram:
        typer.echo(line)
    terminal.print(shown.table)
    typer.echo()
    for line in shown.summary:
        typer.echo(line)
    if out is not None:
        schedule_report.write(subject, shown.bars, out)
        typer.echo(f"written to {out}")


@schedules.command("check")
def check_schedule(
    what: What, modules: MaybeModules = None, micro_batches: MaybeParts = None, capacity: Capacity = 2
) -> None:
    """Whether workers that follow it can block each other: why not, or where they do, with exit status 1."""
    subject = schedule_report.Subject.of(what, modules, micro_batches)
    try:
        verdict = subject.verdict(capacity)
    except ScheduleError as error:
        typer.echo(f"{subject.name}: {error}")
        raise typer.Exit(1) from None
    for line in verdict:
        typer.echo(f"{subject.name}: {line}")


@schedules.command("run")
@takes_config("method", "schedule_file")
def run_schedule(
    options: dict[str, Any], context: typer.Context, what: What, out: Out, overwrite: Overwrite = False
) -> None:
    """Train with it, as `train` does; `train --resume` goes on with the run."""
    given = {name for name in options if _was_given(context, name)}
    if what in METHODS:
        options["method"] = what
    else:
        options["schedule_file"] = what
        options |= schedule_report.options_of(options, given)
    _train(options, given, out, None, overwrite)


def main() -> None:
    """The command `ddg`. Ends with one line, and code 2 for bad input, 1 for a failed run, 130 for a stopped one.

    As one of several MPI ranks it ends together with the others, and only rank 0 says why.
    """
    accept_everything()
    code, message = run_app()
    leave = getattr(sys.modules.get("ddg_ref.workers.mpi"), "leave", None)
    if leave is not None:
        leave(code, message)
    else:
        typer.echo(message, err=True, nl=False)
        if code and launch.rank() is not None and {"mpi", "--engine=mpi"} & set(sys.argv):
            launch.abandon(code)
    sys.exit(code)


@contextmanager
def silence() -> Iterator[None]:
    """Nothing that is printed in the block is seen."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


def run_app() -> tuple[int, str]:
    """The exit code, and what there is still to be said about it."""
    try:
        try:
            app()
        except LaunchError as error:
            if not error.outside:
                raise
            return launch.launch(error.modules), ""
    except InputError as error:
        return 2, f"ddg: {error}\n"
    except (DivergenceError, StallError, WorkerError, WriteError) as error:
        return 1, f"ddg: {error}\n"
    except MemoryError as error:
        return 1, f"ddg: not enough memory ({error or 'no more is said'}); choose a smaller model or batch size\n"
    except Interrupted as message:
        return 130, f"ddg: {message}\n"
    except SystemExit as end:
        return int(end.code or 0), ""
    except Exception:
        return 1, format_exc()
    return 0, ""
