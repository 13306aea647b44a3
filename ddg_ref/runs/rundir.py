"""The run directory: what a run leaves on disk for people and other programs, and what may be removed for it.


A directory is never taken for ours by its name. What a command is to write is looked for before it begins: what is
there already and is ours, by name and by content, it may replace if it was told to; whatever else has one of these
names is in the way, and nothing at all is changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from tempfile import mkdtemp

import numpy as np

from ddg_ref.errors import InputError, WriteError, reason
from ddg_ref.runs import plots
from ddg_ref.runs.run import Run
from ddg_ref.tools.environment import environment
from ddg_ref.tools.files import (
    is_ours,
    make_folder,
    read_json,
    try_room,
    write_figure,
    write_json,
    write_tensors,
)
from ddg_ref.tools.tensor_files import expect_installed

RESULT = "run.json"
WEIGHTS = "weights.safetensors"
LOSS, TIMELINE, TRACE = "loss.png", "timeline.png", "trace.json"
CHECKPOINTS = "checkpoints"
CHECKPOINT_DIGITS = 12
LARGEST_SUMS = 1024
CHECKPOINT_FILES = TENSORS, STATE, SUMS = "tensors.safetensors", "state.json", "SHA256SUMS"


@dataclass(frozen=True)
class Place:
    """A directory that a command is about to write into.

    `files` are the names that it writes there, the one first that says that all is there, `checkpoints` tells whether
    it may write checkpoints too, `room` how many bytes it cannot do without.
    """

    directory: Path
    files: Sequence[str] = (RESULT, WEIGHTS, LOSS, TIMELINE, TRACE)
    checkpoints: bool = True
    room: int = 0

    def held(self) -> list[Path]:
        """What is there of all that, and ours. Raises InputError if something else is in the way."""
        try:
            if is_there(self.directory) and not self.directory.is_dir():
                raise in_the_way(self.directory)
            found = [path for path in (self.directory / name for name in self.files) if is_there(path)]
            folder = self.directory / CHECKPOINTS
            if self.checkpoints and is_there(folder):
                if not is_folder(folder):
                    raise in_the_way(folder)
                found += sorted(folder.iterdir())
            for path in found:
                if not (is_our_checkpoint(path) if path.parent == folder else is_ours(path)):
                    raise in_the_way(path)
        except OSError as error:
            raise InputError(
                f"out: {error.filename or self.directory} cannot be looked at ({reason(error)}); choose another "
                "directory"
            ) from None
        return found

    def prepare(self) -> None:
        """Make the directory, and try whether there is room. Raises InputError if not, or if weights, which need room,
        cannot be written here at all.
        """
        if self.room:
            expect_installed()
        make(self.directory)
        try:
            try_room(self.directory, self.room)
        except WriteError as error:
            raise InputError(f"out: {error}") from None


def make(directory: Path) -> Path:
    """`directory`, which is made if it is not there. Raises InputError if that cannot be done."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out: cannot create {directory} ({reason(error)}); choose another directory") from None
    return directory


def is_there(path: Path) -> bool:
    """Whether there is anything of that name, be it a link that leads nowhere. Raises OSError if that is not known."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def is_folder(path: Path) -> bool:
    """Whether it is a folder itself and no link to one."""
    return S_ISDIR(path.lstat().st_mode)


def in_the_way(path: Path) -> InputError:
    return InputError(f"out: {path} is in the way: ddg_ref did not write it; move it away or choose another directory")


def is_our_checkpoint(path: Path) -> bool:
    """Whether `path` is a checkpoint, finished or not: a folder of that name, in which there is nothing else.

    All its files must be known by their content; one that lost it, and is empty, is nobody's. In an unfinished one they
    may have the names of files that were being written.
    """
    name = path.name.removeprefix(".").removesuffix(".tmp")
    if not (len(name) == CHECKPOINT_DIGITS and name.isdecimal() and is_folder(path)):
        return False
    return all(
        (is_ours(entry) if entry.name != SUMS else are_our_sums(entry))
        and (entry.name in CHECKPOINT_FILES or path.name.startswith("."))
        for entry in path.iterdir()
    )


def are_our_sums(path: Path) -> bool:
    """Whether each line of the file names one of our files, after a sum or what was one."""
    if not S_ISREG(path.lstat().st_mode) or path.stat().st_size > LARGEST_SUMS:
        return False
    lines = path.read_bytes().splitlines()
    return all(line.endswith((f"  {TENSORS}".encode(), f"  {STATE}".encode())) for line in lines)


def remove(path: Path) -> None:
    """Remove a file, or a checkpoint: its files, and then the empty folder. Raises OSError."""
    if is_folder(path):
        for entry in sorted(path.iterdir(), key=lambda entry: entry.name == STATE):  # what is left is known by it
            entry.unlink()
        path.rmdir()
    else:
        path.unlink()


def claim_all(places: Sequence[Place], *, overwrite: bool = False) -> None:
    """Make the places ready for a command about to write into them.

    Raises InputError, and has removed nothing, if one of them cannot be written, has no room, or holds something: what
    is ours only unless `overwrite` is said, what is not ours in any case.
    """
    held = survey(places, overwrite=overwrite)
    for place in places:
        place.prepare()
    if overwrite:
        for path in held:  # what stands for a finished run goes before what it stands for
            try:
                remove(path)
            except OSError as error:
                raise InputError(f"out: {path} cannot be removed ({reason(error)}); choose another directory") from None


def survey(places: Sequence[Place], *, overwrite: bool = False) -> list[Path]:
    """What the places hold that is ours and would be replaced. Raises InputError as `claim_all` and changes nothing."""
    found = [(place.directory, place.held()) for place in places]
    if not overwrite:
        for directory, held in found:
            refuse_to_lose(directory, held)
    return [path for _, held in found for path in held]


def refuse_to_lose(directory: Path, held: Sequence[Path]) -> None:
    """Raise InputError if what is held in `directory` are results or checkpoints."""
    found = {path.name: path for path in held}
    if RESULT in found:
        raise InputError(f"out: {directory} holds a run already; choose another directory or say --overwrite")
    if any(path.parent.name == CHECKPOINTS and name.isdecimal() for name, path in found.items()):
        raise InputError(f"out: {directory} holds an unfinished run; go on with --resume, or say --overwrite")
    files = [name for name, path in found.items() if path.parent == directory]
    if files:
        raise InputError(f"out: {directory} holds {files[0]} already; choose another directory or say --overwrite")


def claim(directory: Path, *, overwrite: bool = False, room: int = 0) -> Path:
    """`claim_all` for the directory of one run about to start."""
    claim_all([Place(directory, room=room)], overwrite=overwrite)
    return directory


def reopen(directory: Path) -> Path:
    """The directory of a run to go on with. Raises InputError if the run is finished, or there is none."""
    try:
        is_directory, finished = directory.is_dir(), is_there(directory / RESULT)
    except OSError as error:
        raise InputError(f"resume: {directory} cannot be looked at ({reason(error)}); check the path") from None
    if not is_directory:
        raise InputError(f"resume: expected a run directory, got {directory}, which is none; check the path")
    if finished:
        raise InputError(f"resume: the run in {directory} is finished; its results are in {directory / RESULT}")
    place = Place(directory, checkpoints=False)
    place.held()
    place.prepare()
    return directory


def save(run: Run, directory: str | Path) -> Path:
    """Write `run` into `directory`: weights, then run.json, which so stands for a whole run, and figures.

    run.json: run (an identifier that its checkpoints have too), config, environment, history (one object per record),
    milliseconds_per_iteration, final_test_accuracy, modules (layers and parameters of each). weights.safetensors:
    parameters and running statistics by "layer.name", whatever K, engine and method; convolution weights
    (kh, kw, c_in, c_out), linear weights (in, out). Raises WriteError if something cannot be written, or would replace
    what ddg_ref did not write.
    """
    directory = Path(directory)
    make_folder(directory)
    if (directory / RESULT).exists() and not is_of(run, directory):
        raise WriteError(f"{directory} holds another run; choose another directory")
    write_tensors(directory / WEIGHTS, {name: np.ascontiguousarray(array) for name, array in run.weights.items()})
    result = {
        "run": run.id,
        "config": run.config.stored(),
        "environment": environment(),
        "history": [record._asdict() for record in run.history],
        "milliseconds_per_iteration": run.milliseconds_per_iteration,
        "final_test_accuracy": run.final_test_accuracy,
        "modules": run.modules,
    }
    write_json(directory / RESULT, result)
    if run.history:
        write_figure(directory / LOSS, plots.plot_loss(run))
    if run.spans:
        write_figure(directory / TIMELINE, plots.plot_timeline(run))
    return directory


def save_or_rescue(run: Run, directory: Path) -> Path:
    """`save`, or if that fails the same into a new folder for temporary files. Raises WriteError that says where."""
    try:
        return save(run, directory)
    except WriteError as error:
        if is_of(run, directory):  # then the weights are there, too
            raise
        raise rescue(run, error) from error


def rescue(run: Run, error: WriteError) -> WriteError:
    """`run` is written into a new folder for temporary files: an error that says so besides what went wrong before."""
    try:
        elsewhere = Path(mkdtemp(prefix="ddg_ref-"))
        save(run, elsewhere)
    except (OSError, WriteError) as again:
        return WriteError(f"{error}; {again}")
    return WriteError(f"{error}; the run has been written to {elsewhere} instead")


def is_of(run: Run, directory: Path) -> bool:
    """Whether the result in `directory` is that of this run."""
    try:
        return read_json(directory / RESULT).get("run") == run.id
    except InputError:
        return False
