"""`timeline`: who is busy when."""

from typing import Annotated, Any

import typer

from ddg_ref.cli.options import Out, Overwrite, takes_config
from ddg_ref.cli.output import progress_of
from ddg_ref.errors import InputError
from ddg_ref.runs import recording, rundir
from ddg_ref.tools import locks


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
    training = recording.few_iterations(options, count)
    with locks.owned("out", rundir.make(out)):
        rundir.claim(out, overwrite=overwrite)
        with progress_of([training]):
            busy = recording.record(training, count, out)
    for k, fraction in busy.items():
        typer.echo(f"module {k}: busy {100 * fraction:.0f}% of the time")
    typer.echo(f"timeline.png and trace.json (open it in Perfetto or chrome://tracing) written to {out}")
