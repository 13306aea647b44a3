"""`identify`: which rule the trainer followed that left a trace."""

from pathlib import Path
from typing import Annotated

import typer

from ddg_ref.cli.options import MaybeOut
from ddg_ref.conformance import identify as conform
from ddg_ref.conformance import read
from ddg_ref.conformance.report import lines, write
from ddg_ref.errors import choose
from ddg_ref.methods import METHODS
from ddg_ref.runs import rundir
from ddg_ref.tools import locks


def identify(
    trace: Annotated[Path, typer.Argument(help="A trace, as ddg_ref.conformance.Recorder writes it.")],
    out: MaybeOut = None,
    expect: Annotated[
        str | None, typer.Option(help="The method that it should be: exit status 1 if it is another.")
    ] = None,
    faults: Annotated[int, typer.Option(help="How many faults at once to look for.", min=0, max=2)] = 2,
) -> None:
    """Say which method a trainer followed, or what it does wrong, by what it left: identify.json, .md, .png."""
    if expect is not None:
        choose("method", expect, METHODS)
    verdict = conform(read(trace), faults=faults)
    if out is not None:
        with locks.owned("out", rundir.make(out)):
            write(verdict, trace.name, out)
    for line in lines(verdict):
        typer.echo(line)
    if expect is not None and expect not in verdict.methods:
        raise typer.Exit(1)
