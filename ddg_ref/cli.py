"""The command line. Options of `train` are the fields of Config."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, redirect_stdout
from dataclasses import asdict, fields, replace
from inspect import Parameter, Signature, signature
from json import dumps
from pathlib import Path
from shlex import quote
from traceback import format_exc
from types import FrameType
from typing import Annotated, Any, Protocol, get_type_hints

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from ddg_ref import checkpoints, plots, rundir
from ddg_ref.config import Config, whole_numbers
from ddg_ref.engines import ENGINES
from ddg_ref.errors import DivergenceError, InputError, LaunchError, StallError, WorkerError, choose
from ddg_ref.experiments import reproduce as experiments
from ddg_ref.experiments.jobs import Watch
from ddg_ref.methods import METHOD_OPTIONS, METHODS
from ddg_ref.timeline import busy_fraction, last_iterations, write_trace
from ddg_ref.training import Run, Training
from ddg_ref.workers import launch

app = typer.Typer(
    help="Train networks by backpropagation and by decoupled delayed gradients (DDG).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Out = Annotated[Path, typer.Option(help="Directory to write into; it is made if it is not there.", show_default=False)]
MaybeOut = Annotated[Path | None, typer.Option(help="Directory to write into; it is made if it is not there.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace a run that the directory holds already.")]


def takes_config(*omit: str, apart: Sequence[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the fields of Config as options, less those in `omit`, and pass it the Config made of them.

    Those in `apart` do not go into it: the command gets what was given of them as a dictionary of that name.
    """
    hints = get_type_hints(Config)
    chosen = [option for option in fields(Config) if option.name not in omit]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [p for p in signature(command).parameters.values() if p.name not in ("config", "apart")]

        def run(**given: Any) -> None:
            options = {option.name: given.pop(option.name) for option in chosen}
            if apart:
                values = {name: options.pop(name) for name in apart}
                given["apart"] = {name: value for name, value in values.items() if value is not None}
            command(Config(**options), **given)

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
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
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
    config: Config,
    context: typer.Context,
    out: MaybeOut = None,
    resume: Annotated[
        Path | None, typer.Option(help="Go on with the run in this directory from its last checkpoint.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Train one network and write a run directory: run.json, weights.safetensors, figures."""
    if (out is None) == (resume is None):
        raise InputError("out, resume: expected one of them, a directory to begin a run in or one to go on with")
    if launch.rank() is not None and (config.engine == "mpi" or resume is not None):
        ENGINES["mpi"].once(lambda: None)  # all ranks are here, before one of them alone can fail
    if resume is None:
        assert out is not None
        training = Training(config)
        directory = training.engine.once(lambda: rundir.claim(out, overwrite=overwrite))
    else:
        directory = rundir.reopen(resume)
        training = checkpoints.resume(directory, engine=config.engine if _was_given(context, "engine") else None)
        _check_options(context, config, training.config)

    def checkpoint() -> None:
        checkpoints.save(training, directory)

    with progress_of([training]), stop_between_iterations(training.task):
        for _ in training.epochs(checkpoint):
            pass
    if training.iteration < training.task.iterations:
        training.engine.once(checkpoint)
        raise Interrupted(
            f"stopped after iteration {training.iteration} of {training.task.iterations}; go on with: "
            f"python -m ddg_ref train --resume {quote(str(directory))}"
        )
    run = training.result()
    training.engine.once(lambda: run.save(directory))
    table = Table(box=None, pad_edge=False)
    for name in ("epoch", "iteration", "train loss", "train acc %", "test loss", "test acc %", "seconds"):
        table.add_column(name, justify="right")
    for r in run.history:
        accuracies = f"{100 * r.train_accuracy:.2f}", f"{100 * r.test_accuracy:.2f}"
        row = (r.epoch, r.iteration, f"{r.train_loss:.4f}", accuracies[0], f"{r.test_loss:.4f}", accuracies[1])
        table.add_row(*map(str, row), f"{r.seconds:.1f}")
    Console().print(table)
    typer.echo(
        f"{run.label}: test accuracy {100 * run.final_test_accuracy:.2f}%, {milliseconds(run)} ms per iteration; "
        f"written to {directory}"
    )


class Interrupted(Exception):  # noqa: N818 - not an error
    """The user asked to stop; nothing is lost."""


class Stoppable(Protocol):
    """Work that ends after the iteration at hand once this is set."""

    stop_requested: bool


@contextmanager
def stop_between_iterations(work: Stoppable) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) ends training after the iteration at hand, the second ends it at once."""

    def ask(number: int, frame: FrameType | None) -> None:
        if work.stop_requested:
            raise KeyboardInterrupt
        work.stop_requested = True

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _was_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _check_options(context: typer.Context, given: Config, stored: Config) -> None:
    """A resumed run keeps its options: refuse those of the command line that differ."""
    for name, value in asdict(stored).items():
        if _was_given(context, name) and getattr(given, name) != value:
            raise InputError(
                f"{name}: the run was started with {value}, got {getattr(given, name)}; only --engine may change, "
                "leave the others out"
            )


def parse_runs(text: str) -> list[tuple[str, int]]:
    """`bp,ddg:2` -> [("bp", 1), ("ddg", 2)]."""
    runs = []
    for part in text.split(","):
        method, _, K = part.strip().partition(":")
        runs.append((method, whole_numbers("runs", K, hint="method:K like ddg:4")[0] if K else 1))
    return runs


@app.command()
@takes_config("method", "modules", apart=METHOD_OPTIONS)
def compare(
    config: Config,
    apart: dict[str, Any],
    out: Out,
    runs: Annotated[str, typer.Option(help="What to compare, method:K with commas between.")] = "bp,ddg:2,ddg:4",
    overwrite: Overwrite = False,
) -> None:
    """Train the same network in several ways, epoch by epoch in turn; print one table and draw one figure.

    An option that not all of the methods have goes to those that have it.
    """
    if config.engine == "mpi":
        raise InputError("engine: compare changes the number of modules, got mpi, where it is fixed; choose threads")
    configs = []
    for method, K in parse_runs(runs):
        options = METHODS[choose("method", method, METHODS)].options
        own = {name: value for name, value in apart.items() if name in options}
        configs.append(replace(config, method=method, modules=K, **own))
    for name in apart:
        if all(getattr(c, name) is None for c in configs):
            raise InputError(f"{name}: expected runs of a method that has this option, got {runs}; leave it out")
    directories = [out / f"{c.method}-{c.modules}" for c in configs]
    if len(set(directories)) < len(directories):
        raise InputError(f"runs: expected each method:K once, got {runs}; leave the repetitions out")
    first = Training(configs[0])
    trainings = [first, *(Training(c, first.data) for c in configs[1:])]
    for directory in (out, *directories):  # last: until all can be trained, older results stay
        rundir.claim(directory, overwrite=overwrite)
    with progress_of(trainings):
        for _ in zip(*(training.epochs() for training in trainings), strict=True):
            pass
    finished = [training.result() for training in trainings]
    baseline = next((run for run in finished if run.config.method == "bp"), finished[0])
    table = Table(box=None, pad_edge=False)
    for name in ("method", "K", "test acc %", "ms/iteration", f"speed-up over {baseline.label}"):
        table.add_column(name, justify="left" if name == "method" else "right")
    rows = []
    for run, directory in zip(finished, directories, strict=True):
        run.save(directory)
        speed_up = None
        if run.milliseconds_per_iteration and baseline.milliseconds_per_iteration:
            speed_up = baseline.milliseconds_per_iteration / run.milliseconds_per_iteration
        rows.append(
            {
                "method": run.config.method,
                "modules": run.config.modules,
                "test_accuracy": run.final_test_accuracy,
                "milliseconds_per_iteration": run.milliseconds_per_iteration,
                "speed_up": speed_up,
            }
        )
        accuracy = f"{100 * run.final_test_accuracy:.2f}"
        shown = "-" if speed_up is None else f"{speed_up:.2f}"
        table.add_row(run.config.method, str(run.config.modules), accuracy, milliseconds(run), shown)
    plots.comparison(finished).savefig(out / "compare.png")
    shared = {name: value for name, value in asdict(config).items() if name not in ("method", "modules")} | apart
    result = {"config": shared, "environment": rundir.environment(), "runs": rows}
    (out / "compare.json").write_text(dumps(result, indent=2) + "\n")
    Console().print(table)
    typer.echo(f"figure and runs written to {out}")


@app.command()
@takes_config("engine", "epochs", "iterations")
def timeline(
    config: Config,
    out: Out,
    count: Annotated[int, typer.Option(help="Iterations to show, after as many to get going.")] = 6,
    overwrite: Overwrite = False,
) -> None:
    """Record a few iterations of the worker threads and draw who was busy when: timeline.png and trace.json."""
    if count < 1:
        raise InputError(f"count: expected a whole number >= 1, got {count}; 6 is readable")
    rundir.claim(out, overwrite=overwrite)
    training = Training(replace(config, iterations=2 * count + config.modules, drain=False))
    with progress_of([training]):
        for _ in training.epochs():
            pass
    run = training.result()
    spans = last_iterations(run.spans, count)
    plots.timeline(spans, title=run.label).savefig(out / "timeline.png")
    write_trace(spans, out / "trace.json")
    for k, fraction in busy_fraction(spans).items():
        typer.echo(f"module {k}: busy {100 * fraction:.0f}% of the time")
    typer.echo(f"timeline.png and trace.json (open it in Perfetto or chrome://tracing) written to {out}")


@contextmanager
def watching(what: str, runs: int) -> Iterator[Watch]:
    """A live bar over the runs of an experiment, and Ctrl-C, while the block does them."""
    console = Console(stderr=True)
    columns = (
        TextColumn(what),
        BarColumn(),
        TextColumn("{task.completed:.1f}/{task.total} runs"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        bar = progress.add_task(what, total=runs)
        watch = Watch(lambda done: progress.update(bar, completed=done))
        with stop_between_iterations(watch):
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
    written = experiments.reproduce(what, scale, out, options, watching)
    if written is None:
        words = ["reproduce", what, "--scale", scale, "--out", str(out)]
        for name, value in options.items():
            words += [f"--{name.replace('_', '-')}", *([] if value is True else [value])]
        raise Interrupted(f"stopped; go on with: python -m ddg_ref {' '.join(map(quote, words))}")
    typer.echo(written.read_text())
    typer.echo(f"written to {written}")


def main() -> None:
    """The command `ddg`. Ends with one line, and code 2 for bad input, 1 for a failed run, 130 for a stopped one.

    As one of several MPI ranks it ends together with the others, and only rank 0 prints.
    """
    with silence() if launch.rank() else nullcontext():
        code, message = run_app()
    leave = getattr(sys.modules.get("ddg_ref.workers.mpi"), "leave", None)
    if leave is not None:
        leave(code, message)
    else:
        typer.echo(message, err=True, nl=False)
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
    except (DivergenceError, StallError, WorkerError) as error:
        return 1, f"ddg: {error}\n"
    except Interrupted as message:
        return 130, f"ddg: {message}\n"
    except SystemExit as end:
        return int(end.code or 0), ""
    except Exception:
        return 1, format_exc()
    return 0, ""
