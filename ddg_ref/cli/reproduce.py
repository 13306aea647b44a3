"""`reproduce`: an experiment of the paper."""

from collections.abc import Iterator
from contextlib import contextmanager
from shlex import quote
from typing import Annotated

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ddg_ref.cli.options import Out
from ddg_ref.cli.stopping import Interrupted, stop_between_iterations
from ddg_ref.experiments import reproduce as experiments
from ddg_ref.experiments.jobs import Watch
from ddg_ref.runs import rundir
from ddg_ref.tools import locks
from ddg_ref.tools.console import console


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
