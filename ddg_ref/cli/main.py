"""The program, and how it ends: an exit code, and one line about what went wrong."""

import sys
from traceback import format_exc

import typer

from ddg_ref.cli.compare import compare
from ddg_ref.cli.identify import identify
from ddg_ref.cli.reproduce import reproduce
from ddg_ref.cli.schedule import schedules
from ddg_ref.cli.stopping import Interrupted
from ddg_ref.cli.timeline import timeline
from ddg_ref.cli.train import train
from ddg_ref.errors import (
    DivergenceError,
    InputError,
    LaunchError,
    StallError,
    WorkerError,
    WriteError,
)
from ddg_ref.mpi import launch
from ddg_ref.tools.console import accept_everything

app = typer.Typer(
    help="Train networks by backpropagation and by decoupled delayed gradients (DDG).",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (train, compare, timeline, reproduce, identify):  # as the help lists them
    app.command()(command)
app.add_typer(schedules, name="schedule")


def main() -> None:
    """The command `ddg`. Ends with one line, and code 2 for bad input, 1 for a failed run, 130 for a stopped one.

    As one of several MPI ranks it ends together with the others, and only rank 0 says why. All end with the code of the
    first that failed: which of them the launcher hears of first must not matter.
    """
    accept_everything()
    code, message = run_app()
    leave = getattr(sys.modules.get("ddg_ref.mpi.engine"), "leave", None)
    if leave is not None:
        leave(code, message)
    else:
        typer.echo(message, err=True, nl=False)
        if code and launch.rank() is not None and {"mpi", "--engine=mpi"} & set(sys.argv):
            launch.abandon(code)
    sys.exit(code)


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
    except launch.LeftError as error:
        return error.code, f"ddg: {error}\n"
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
