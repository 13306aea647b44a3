"""What writing and reading a checkpoint have in common besides the table of tensors."""

from hashlib import file_digest
from pathlib import Path

from ddg_ref.runs.rundir import STATE, TENSORS

VERSION = 4
KEPT = 2
SUMMED = (TENSORS, STATE)
LARGEST_STATE = 2 << 20

CHANGEABLE = ("engine", "device", "data_dir", "checkpoint_every", "stall_timeout")
"""Options that say where and how a run goes on; all others say which run it is."""


def sha256_of(path: Path) -> str:
    """The digest of a file."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
