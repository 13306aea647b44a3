"""Fetching a published file, once, when someone asked for it."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from ddg_ref.data.distribution import Archive, Distribution
from ddg_ref.errors import InputError

CHUNK = 1 << 16
LONGEST_REASON = 300


def fetch(distribution: Distribution, archive: Archive, directory: Path) -> None:
    """Download `archive` into `directory`, which is made if it is not there.

    The file comes under another name and gets its own once its checksum is right. Raises InputError if it cannot be
    had, if it is not what was published, or if it cannot be written.
    """
    try:
        import pooch  # slow to import, and few runs need it
    except ImportError:
        raise InputError("download: expected the package pooch, which is missing; pip install pooch tqdm") from None

    def download(url: str, path: str, _: Any) -> None:
        with ExitStack() as connection, open(path, "wb") as file:

            def close_at_the_end(response: Any, **_: Any) -> None:  # which pooch does not if anything goes wrong
                connection.callback(response.close)

            hooks = {"response": close_at_the_end}
            get = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), chunk_size=CHUNK, hooks=hooks)
            get(url, Limited(file, archive.size), None)

    url = distribution.url + archive.name
    try:
        pooch.retrieve(url, f"md5:{archive.md5}", fname=archive.name, path=directory, downloader=download)
    except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
        reason = (str(error).splitlines() or [type(error).__name__])[0][:LONGEST_REASON]
        raise InputError(
            f"download of {url}: {reason}; try again, or put it into {directory} yourself ({distribution.page})"
        ) from None


class Limited:
    """A file to write that takes no more than `limit` bytes: a server cannot fill the disk."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file, self._limit, self._left = file, limit, limit

    def write(self, content: bytes) -> None:
        self._left -= len(content)
        if self._left < 0:
            raise InputError(f"expected {self._limit} bytes, got more")
        self._file.write(content)

    def flush(self) -> None:
        self._file.flush()
