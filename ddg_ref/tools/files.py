"""The files that we write: whole under their names or not at all, and known again by what is in them.

Each is written beside its place, flushed to the disk, and renamed. A process that is killed meanwhile, or a disk that
is full, leaves what was there before as it was. Every file carries a mark near its beginning, and one without it, which
somebody else has written, is never replaced: a name proves nothing.
"""

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IMODE, S_ISREG
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from ddg_ref.errors import InputError, WriteError, reason
from ddg_ref.tools.tensor_files import SafetensorError, save_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNFINISHED = ".unfinished"
"""What stands in the name of a file that is being written."""

WRITTEN_BY = {"written_by": "ddg_ref"}
MARKS = re.compile(
    rb'"written_by": ?"ddg_ref"|Software\0ddg_ref\W|(Made|Written) by `python -m (ddg_ref|theory|benchmarks)\b'
)
"""In JSON and in the header of tensors; in a PNG; in a text."""
HEAD = 4096
"""Bytes within which the mark stands."""
NOT_FOR_FOLDERS = (errno.EACCES, errno.EINVAL, errno.EPERM)
"""Where a folder cannot be opened or flushed, what was renamed in it is there all the same."""
NO_RESERVATION = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


def is_ours(path: Path) -> bool:
    """Whether `path` is a file that we wrote, or one without content, that nobody would miss. A link is neither.

    Raises OSError if it cannot be read.
    """
    status = path.lstat()
    if not S_ISREG(status.st_mode):
        return False
    with path.open("rb") as file:
        return status.st_size == 0 or MARKS.search(file.read(HEAD)) is not None


def refuse_to_replace(path: Path) -> None:
    """Raise WriteError if there is a file that we did not write. Raises OSError if that cannot be told."""
    if path.exists() and not is_ours(path):
        raise WriteError(f"{path} is in the way: ddg_ref did not write it; move it away or name another place")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """For the block, an empty file beside `path` to write into; at the end of it that file takes the name `path`.

    A link is followed. What is no file of the disk, like /dev/stdout, is written into as it is. Raises WriteError, one
    line, if anything cannot be written, or if `path` is somebody else's; then it is as it was, and nothing is left
    beside it.
    """
    unfinished = None
    try:
        place = path.resolve()
        if place.exists() and not S_ISREG(place.stat().st_mode):
            yield place  # of a folder, opening it says what is wrong
            return
        refuse_to_replace(place)
        unfinished = place.with_name(f".{place.stem}.{os.getpid()}{UNFINISHED}{place.suffix}")
        unfinished.touch()
        mode = S_IMODE(unfinished.stat().st_mode)  # as the umask has it; what writes into it may make another file
        yield unfinished
        assert is_ours(unfinished), f"{path}: what is written must be known again"
        unfinished.chmod(mode)
        flush(unfinished)
        refuse_to_replace(place)  # which somebody may have made meanwhile
        unfinished.replace(place)
        unfinished = None
        with ignoring(NOT_FOR_FOLDERS):
            flush(place.parent)
    except (OSError, SafetensorError) as error:
        raise WriteError(f"{path} cannot be written ({reason(error)}); make room or name another place") from error
    finally:
        if unfinished is not None:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


def write_json(path: Path, content: Mapping[str, Any], *, kind: str | None = None, indent: int | None = 2) -> None:
    """Make `content`, who wrote it, and what kind of file it is, the content of `path`.

    The kind is the file's name, if its name is fixed. Raises WriteError, also if there is a file of another kind.
    """
    kind = kind or path.name
    if path.is_file() and path.stat().st_size:
        with suppress(InputError):
            there = read_json(path).get("kind")
            if there != kind:
                raise WriteError(
                    f"{path} is in the way: expected a {kind} or nothing, got a {there}; name another place"
                )
    with replacing(path) as unfinished:
        text = json.dumps(WRITTEN_BY | {"kind": kind} | dict(content), indent=indent)
        unfinished.write_text(text + "\n", encoding="utf-8")


class _Enough(Exception):  # noqa: N818 - not an error
    """A file could be made."""


def expect_writable(path: Path) -> None:
    """Raise WriteError, one line, if no file can be made at `path` now. What is there stays, and nothing else does."""
    with suppress(_Enough), replacing(path) as unfinished:
        if path.is_dir() or unfinished != path.resolve():
            unfinished.write_bytes(b"\n")
        raise _Enough


def make_folder(path: Path) -> None:
    """Make the folder and those above it, unless it is there. Raises WriteError, one line."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WriteError(f"{path} cannot be made ({reason(error)}); name another place") from error


def write_text(path: Path, text: str) -> None:
    """Make `text`, which says near its beginning what command made it, the content of `path`. Raises WriteError."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_new(path: Path, text: str) -> None:
    """Make `text`, which has no place for our mark, the content of `path`. Raises WriteError, also if it is there."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise WriteError(f"{path} cannot be written ({reason(error)}); make room or name another place") from error


def write_tensors(path: Path, arrays: dict[str, npt.NDArray[Any]]) -> None:
    """Make C-contiguous `arrays` by name the content of `path`, a safetensors file. Raises WriteError."""
    with replacing(path) as unfinished:
        save_file(arrays, unfinished, WRITTEN_BY)


def write_figure(path: Path, figure: "Figure") -> None:
    """Make the drawing the content of `path`, an SVG if it is called so, else a PNG. Raises WriteError."""
    with replacing(path) as unfinished:
        if path.suffix == ".svg":
            figure.savefig(unfinished, format="svg", metadata={"Title": "Made by `python -m ddg_ref`", "Date": None})
        else:
            figure.savefig(unfinished, format="png", metadata={"Software": "ddg_ref (Matplotlib)"})


def read_json(path: Path) -> dict[str, Any]:
    """The content of a file that `write_json` wrote. Raises InputError, one line, if it is no such file."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({reason(error)}); check its permissions") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected a whole JSON file ({reason(error)}); move it away") from None
    if not isinstance(content, dict) or content.get("written_by") != WRITTEN_BY["written_by"]:
        raise InputError(f"{path}: expected a file that ddg_ref wrote, got another; move it away")
    return content


def try_room(directory: Path, size: int) -> None:
    """Take room for `size` bytes in `directory`, and give it back. Raises WriteError if that cannot be done."""
    try:
        with TemporaryFile(dir=directory) as file:
            if hasattr(os, "posix_fallocate"):
                with ignoring(NO_RESERVATION):
                    os.posix_fallocate(file.fileno(), 0, max(1, size))
            file.write(b"\0")
            file.flush()
    except OSError as error:
        raise WriteError(
            f"{directory} has no room for {size} bytes ({reason(error)}); make room or name another place"
        ) from error


@contextmanager
def ignoring(numbers: tuple[int, ...]) -> Iterator[None]:
    """System errors of these numbers do not matter in the block."""
    try:
        yield
    except OSError as error:
        if error.errno not in numbers:
            raise


def flush(path: Path) -> None:
    """Return once the file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
