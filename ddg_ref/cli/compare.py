"""`compare`: several runs, epoch by epoch in turn."""

from contextlib import ExitStack
from typing import Annotated, Any

import typer
from rich.table import Table

from ddg_ref.cli.options import Out, Overwrite, takes_config
from ddg_ref.cli.output import printing, progress_of, resuming
from ddg_ref.cli.stopping import Interrupted, stop_between_iterations
from ddg_ref.errors import InputError, WorkerError, WriteError
from ddg_ref.runs import comparison, rundir
from ddg_ref.tools import locks
from ddg_ref.tools.console import console


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
