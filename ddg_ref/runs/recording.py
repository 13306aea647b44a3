"""A run that is made to be looked at: who is busy when, as a figure and as a trace."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddg_ref.runs import plots, rundir
from ddg_ref.runs.config import Config
from ddg_ref.runs.trace import busy_fraction, last_iterations, trace
from ddg_ref.runs.training import Training
from ddg_ref.tools.files import write_figure, write_json


def few_iterations(options: Mapping[str, Any], count: int) -> Training:
    """A run of `count` iterations that are looked at, after as many to get going."""
    return Training(Config(**options, iterations=2 * count + options["modules"], drain=False))


def record(training: Training, count: int, directory: Path) -> dict[int, float]:
    """Train, and write timeline.png and trace.json of the last `count` iterations into `directory`.

    Returns the part of that time in which each module computed. Raises WriteError.
    """
    for _ in training.epochs():
        pass
    run = training.result()
    spans = last_iterations(run.spans, count)
    write_figure(directory / rundir.TIMELINE, plots.timeline(spans, title=run.label))
    write_json(directory / rundir.TRACE, trace(spans), indent=None)
    return busy_fraction(spans)
