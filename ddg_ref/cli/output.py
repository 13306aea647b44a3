"""What is seen in the terminal while a command works, and at its end."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from shlex import quote
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ddg_ref.errors import WriteError, reason
from ddg_ref.runs.run import Run
from ddg_ref.runs.training import Training
from ddg_ref.tools.console import console


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


@contextmanager
def silence() -> Iterator[None]:
    """Nothing that is printed in the block is seen."""
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


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


def milliseconds(run: Run) -> str:
    """The time of an iteration as a table shows it."""
    return "-" if run.milliseconds_per_iteration is None else f"{run.milliseconds_per_iteration:.2f}"


def resuming(place: Path) -> str:
    """The command that goes on with the run in `place`."""
    return f"python -m ddg_ref train --resume {quote(str(place))}"
