"""`schedule`: look at a schedule, or train with it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from ddg_ref.cli.options import Out, Overwrite, takes_config, was_given
from ddg_ref.cli.train import begin_or_go_on
from ddg_ref.errors import ScheduleError
from ddg_ref.interleaving import NAMED
from ddg_ref.methods import METHODS
from ddg_ref.runs import schedule_report
from ddg_ref.tools.console import console

schedules = typer.Typer(help="Look at a schedule, or train with it.", no_args_is_help=True, rich_markup_mode=None)

What = Annotated[
    str,
    typer.Argument(
        help=f"A file in PyTorch's CSV form, the name of a method, or one of {', '.join(NAMED)}.", metavar="FILE|NAME"
    ),
]
MaybeModules = Annotated[
    int | None,
    typer.Option(help=f"K, the number of modules or stages ({schedule_report.MODULES}, or as the file has it)."),
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
    given = {name for name in options if was_given(context, name)}
    if what in METHODS:
        options["method"] = what
    else:
        options["schedule_file"] = what
        options |= schedule_report.options_of(options, given)
    begin_or_go_on(options, given, out, None, overwrite)
