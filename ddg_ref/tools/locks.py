"""A directory, or a file, has one owner at a time: the process that has locked it.

The lock is the operating system's, on a small file that names host and process. Whoever dies gives it back, so a lock
that is left on this host is taken over. Between hosts the system's lock need not hold: there the file speaks.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from platform import node
from typing import Any

from ddg_ref.errors import InputError, reason

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

LARGEST = 4096
"""Bytes of a lock's text that are read."""


def lock_of(path: Path) -> Path:
    """The file that is locked for `path`: in a directory, or beside a file."""
    return path / ".ddg_ref.lock" if path.is_dir() else path.with_name(f".{path.name}.ddg_ref.lock")


@contextmanager
def owned(name: str, path: Path) -> Iterator[None]:
    """For the block, `path`, which an option called `name` gave, belongs to this process.

    Raises InputError, one line that names the owner, if it belongs to another, or if it cannot be locked.
    """
    if fcntl is None:
        yield
        return
    lock = lock_of(path)
    try:
        descriptor = _locked(lock)
    except BlockingIOError:
        raise InputError(f"{name}: {path} is in use by {_owner(lock)}; wait for it, or choose another") from None
    except OSError as error:
        raise InputError(f"{name}: {path} cannot be written ({reason(error)}); choose another") from None
    try:
        before = _read(descriptor)
        if before.get("host", node()) != node():
            raise InputError(
                f"{name}: {path} was taken by {_text(before)}, which has not given it back; "
                f"if it no longer runs, remove {lock}"
            )
        owner = {"host": node(), "process": os.getpid(), "since": datetime.now().isoformat(" ", "seconds")}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(owner).encode(), 0)
        try:
            yield
        finally:
            with suppress(OSError):  # while it is still ours
                lock.unlink()
    finally:
        os.close(descriptor)


def _locked(lock: Path) -> int:
    """An open file that this process has locked, and that is still the one of that name. Raises OSError."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with suppress(FileNotFoundError):  # its last owner has removed it meanwhile
                if os.fstat(descriptor).st_ino == lock.lstat().st_ino:
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _read(descriptor: int) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        text = json.loads(os.pread(descriptor, LARGEST, 0))
        if isinstance(text, dict):
            return text
    return {}


def _text(owner: dict[str, Any]) -> str:
    known = {name: str(owner.get(name, "?"))[:80].split("\n")[0] for name in ("process", "host", "since")}
    return "process {process} on {host} since {since}".format(**known)


def _owner(lock: Path) -> str:
    with suppress(OSError):
        descriptor = os.open(lock, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            return _text(_read(descriptor))
        finally:
            os.close(descriptor)
    return "another process"
