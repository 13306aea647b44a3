"""What the commands share: options made of the fields of Config, and directories."""

from collections.abc import Callable
from dataclasses import fields
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from ddg_ref.runs.config import Config


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


def was_given(context: typer.Context, name: str) -> bool:
    """Whether the option stands on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
