"""A published image data set: what files it consists of, and how they are read as something that cannot be trusted.

An archive is compared with its published checksum first. That is no reason to trust it (MD5 can be forged, and unpacked
files have no checksum): sizes are compared before anything is read, no more is read than the description says, and
nothing is ever unpacked to the disk or unpickled.
"""

import tarfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from gzip import BadGzipFile, GzipFile
from hashlib import file_digest
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from typing import IO

import numpy as np

from ddg_ref.arrays import Array
from ddg_ref.data.dataset import Dataset, Scaling
from ddg_ref.errors import InputError

TAR_ROOM = 1 << 20
"""Bytes that a tar archive may have besides the members that are wanted: headers, read-me files."""
MOST_MEMBERS = 100


@dataclass(frozen=True)
class Archive:
    """A file as it is offered: members in a .tar.gz, or one member in a .gz."""

    name: str
    size: int
    md5: str
    members: Mapping[str, int]
    """Path within the archive -> bytes."""


@dataclass(frozen=True)
class Distribution:
    """What a data set consists of.

    `url` is the folder that holds the archives, `page` says where the authors describe them. `train` and `test` are
    members of the archives, which `decode` makes images (N, H, W, C) of bytes and labels (N,) of.
    """

    name: str
    url: str
    page: str
    archives: Sequence[Archive]
    train: Sequence[str]
    test: Sequence[str]
    classes: int
    decode: Callable[[Sequence[bytes]], tuple[Array, Array]]

    def missing(self, archive: Archive, directory: Path) -> str | None:
        """What `directory` lacks of `archive`, which may lie there as it is or unpacked; None if it is complete.

        Raises InputError if that cannot be found out.
        """
        try:
            if is_there(directory / archive.name):
                return None
            absent = [member for member in archive.members if not is_there(_unpacked(directory, member))]
        except (OSError, ValueError) as error:
            raise self._unreadable(directory, error) from None
        return f"{archive.name}, or {absent[0]} unpacked," if absent else None

    def load(self, directory: Path) -> Dataset:
        """The data set whose files lie in `directory`. Raises InputError, one line, for whatever is not as published.

        Images become float32, normalised per channel by the mean and standard deviation of the training images.
        """
        contents: dict[str, bytes] = {}
        for archive in self.archives:
            missing = self.missing(archive, directory)
            if missing:
                raise InputError(
                    f"data {self.name}: expected {missing} in {directory}, got neither; say --download to fetch it, or "
                    "--data-dir with the directory that has it"
                )
            contents |= self._read(archive, directory)
        (train, y_train), (test, y_test) = (self._part(contents, members) for members in (self.train, self.test))
        scaling = self._scaling(train)
        x_train, x_test = normalised(train, scaling), normalised(test, scaling)
        return Dataset(self.name, x_train, y_train, x_test, y_test, self.classes, scaling)

    def _read(self, archive: Archive, directory: Path) -> dict[str, bytes]:
        """The members of `archive`, from itself or else from where it was unpacked."""
        path = directory / archive.name
        try:
            if is_there(path):
                return read_archive(path, archive)
            contents = {}
            for member, size in archive.members.items():
                path = _unpacked(directory, member)
                contents[member] = read_file(path, size)
            return contents
        except (tarfile.TarError, BadGzipFile, EOFError, ValueError, RuntimeError, zlib.error) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise InputError(
                f"data {self.name}: {path}: {reason}; it is damaged or another file: remove it and fetch it again"
            ) from None
        except OSError as error:
            raise self._unreadable(path, error) from None

    def _unreadable(self, path: Path, error: Exception) -> InputError:
        reason = getattr(error, "strerror", None) or error
        return InputError(f"data {self.name}: {path} cannot be read ({reason}); check the path and its permissions")

    def _part(self, contents: Mapping[str, bytes], members: Sequence[str]) -> tuple[Array, Array]:
        try:
            x, y = self.decode([contents[member] for member in members])
            if y.max() >= self.classes:
                raise InputError(f"expected labels 0 to {self.classes - 1}, got {y.max()}")
        except InputError as error:
            raise InputError(f"data {self.name}: {members[0]}: {error}; fetch it again from {self.page}") from None
        return x, y.astype(np.int64)

    def _scaling(self, images: Array) -> Scaling:
        """Exact mean and standard deviation per channel, from how often each of the 256 values occurs."""
        values, mean, std = np.arange(256), [], []
        for channel in range(images.shape[-1]):
            share = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., channel].size
            mean.append(float(share @ values))
            std.append(float(np.sqrt(share @ (values - mean[-1]) ** 2)))
        if min(std) == 0:
            raise InputError(f"data {self.name}: expected images that differ, got one colour; fetch them again")
        return Scaling(tuple(mean), tuple(std))


def normalised(images: Array, scaling: Scaling) -> Array:
    """(pixel - mean) / std per channel: (N, H, W, C) of bytes -> the same shape, float32."""
    x = np.empty(images.shape, np.float32)
    for channel, (mean, std) in enumerate(zip(*scaling, strict=True)):
        x[..., channel] = ((np.arange(256) - mean) / std).astype(np.float32)[images[..., channel]]
    return x


def _unpacked(directory: Path, member: str) -> Path:
    """Where `member` lies if its archive was unpacked in `directory`, or is `directory`."""
    inside = directory / member
    return inside if is_there(inside) else directory / PurePosixPath(member).name


def is_there(path: Path) -> bool:
    """Whether there is anything of that name. Raises OSError if that cannot be said, which `Path.exists` may hide."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def check_file(path: Path, size: int) -> None:
    """Raise InputError unless there is a file of that size: no pipe that never ends, and no device."""
    status = path.stat()
    if not S_ISREG(status.st_mode):
        raise InputError("expected a file, got something else of this name")
    if status.st_size != size:
        raise InputError(f"expected {size} bytes, got {status.st_size}")


def read_file(path: Path, size: int) -> bytes:
    """The `size` bytes of a file."""
    check_file(path, size)
    with path.open("rb") as file:
        return exactly(file, size)


def read_archive(path: Path, archive: Archive) -> dict[str, bytes]:
    """The members of an archive. Raises InputError if it is not as described, and errors of tarfile and zlib."""
    check_file(path, archive.size)
    with path.open("rb") as file:
        md5 = file_digest(file, "md5").hexdigest()
        if md5 != archive.md5:
            raise InputError(f"expected MD5 {archive.md5}, got {md5}")
        file.seek(0)
        with GzipFile(fileobj=file) as unzipped:
            if archive.name.endswith(".tar.gz"):
                return read_tar(unzipped, archive.members)
            ((member, size),) = archive.members.items()
            return {member: exactly(unzipped, size)}


def read_tar(file: IO[bytes] | GzipFile, members: Mapping[str, int]) -> dict[str, bytes]:
    """The named members, straight from a tar archive: names are compared, never used as paths."""
    contents: dict[str, bytes] = {}
    with tarfile.open(fileobj=AtMost(file, sum(members.values()) + TAR_ROOM), mode="r|") as tar:
        for count, member in enumerate(tar):
            if count == MOST_MEMBERS:
                raise InputError(f"expected fewer than {MOST_MEMBERS} members")
            size = members.get(member.name)
            if size is None or member.name in contents:
                continue
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse() or member.size != size:
                raise InputError(f"{member.name}: expected a file of {size} bytes, got another kind or size")
            content = tar.extractfile(member)
            assert content is not None  # as it is for files
            contents[member.name] = exactly(content, size)
            if contents.keys() == members.keys():
                return contents
    absent = next(name for name in members if name not in contents)
    raise InputError(f"expected {absent}, got an archive without it")


def exactly(file: IO[bytes] | GzipFile, size: int) -> bytes:
    """All `size` bytes that are left in `file`; no more than one more is read."""
    content = file.read(size + 1)
    if len(content) != size:
        raise InputError(f"expected {size} bytes, got {'more' if len(content) > size else len(content)}")
    return content


class AtMost(BufferedIOBase):
    """A file of which no more than `limit` bytes are read: what unpacks to more is not held in memory.

    Its end is an error: tarfile would go on to skip what a header only claims, 10 KB at a time.
    """

    def __init__(self, file: IO[bytes] | GzipFile, limit: int) -> None:
        self._file, self._limit, self._left = file, limit, limit

    def read(self, size: int | None = -1, /) -> bytes:
        most = self._left + 1
        content = self._file.read(most if size is None or size < 0 else min(size, most))
        self._left -= len(content)
        if self._left < 0:
            raise InputError(f"expected at most {self._limit} bytes, unpacked, got more")
        if not content:
            raise EOFError("it ends too early")
        return content
