"""Files that are read again: under its name a file is whole, or what was there before is there still.

Each is written beside its place, flushed to the disk, and renamed. A process that is killed meanwhile, or a disk that
is full, leaves the old file as it was.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_IMODE, S_ISREG
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.numpy import save_file

from ddg_ref.arrays import Params
from ddg_ref.errors import WriteError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNFINISHED = ".unfinished"
"""What stands in the name of a file that is being written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """For the block, an empty file beside `path` to write into; at the end of it that file takes the name `path`.

    A link is followed. What is no file of the disk, like /dev/stdout, is written into as it is. Raises WriteError, one
    line, if anything cannot be written; then `path` is as it was, and nothing is left beside it.
    """
    unfinished = None
    try:
        place = path.resolve()
        if place.exists() and not S_ISREG(place.stat().st_mode):
            yield place  # of a folder, opening it says what is wrong
            return
        unfinished = place.with_name(f".{place.stem}.{os.getpid()}{UNFINISHED}{place.suffix}")
        unfinished.touch()
        mode = S_IMODE(unfinished.stat().st_mode)  # as the umask has it; what writes into it may make another file
        yield unfinished
        unfinished.chmod(mode)
        flush(unfinished)
        unfinished.replace(place)
        unfinished = None
        flush(place.parent)
    except (OSError, SafetensorError) as error:
        raise WriteError(f"{path} cannot be written ({reason(error)}); make room or name another place") from error
    finally:
        if unfinished is not None:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


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
    """Make `text` the content of `path`, in UTF-8. Raises WriteError."""
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_tensors(path: Path, arrays: Params, metadata: Mapping[str, str] | None = None) -> None:
    """Make C-contiguous `arrays` by name the content of `path`, a safetensors file. Raises WriteError."""
    with replacing(path) as unfinished:
        save_file(arrays, unfinished, dict(metadata) if metadata else None)


def write_figure(path: Path, figure: "Figure", metadata: Mapping[str, str] | None = None) -> None:
    """Make the drawing the content of `path`, whose suffix says how it is drawn. Raises WriteError."""
    with replacing(path) as unfinished:
        figure.savefig(unfinished, format=path.suffix.removeprefix(".") or None, metadata=dict(metadata or {}))


def flush(path: Path) -> None:
    """Return once the file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reason(error: BaseException) -> str:
    """What went wrong, on one line."""
    text = getattr(error, "strerror", None) or str(error)
    return (text.splitlines() or [type(error).__name__])[0]
