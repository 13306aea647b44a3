"""What all ranks of one run must have in common, and the line that says which of them has not.

Each rank makes its own part of the run from its own command line, its own files and its own installation. Nothing in a
message shows that these differ: weights would come out wrong without a word. So they are compared before the first one.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from platform import node, python_version
from typing import Any, NamedTuple

import numpy as np

from ddg_ref.errors import AgreementError

OWN = ("data", "data_dir", "download", "device")
"""Options that say where something lies or runs, which may differ from host to host."""


class Facts(NamedTuple):
    """What one rank knows."""

    host: str
    known: Mapping[str, str]


@cache
def installation() -> dict[str, str]:
    """Versions, and a digest of the package's own source."""
    root, digest = Path(__file__).parents[1], sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(path.read_bytes())
    return {"python": python_version(), "numpy": np.__version__, "ddg_ref's source": digest.hexdigest()[:12]}


def facts(known: Mapping[str, Any]) -> Facts:
    """What this process tells the others."""
    return Facts(node(), {name: str(value) for name, value in known.items() if name not in OWN})


def check_agreement(ranks: Sequence[Facts]) -> None:
    """Raise AgreementError, the same on all ranks, unless all know the same as rank 0."""
    first = ranks[0]
    for rank, other in enumerate(ranks):
        for name in sorted(first.known.keys() | other.known.keys()):
            here, there = (each.known.get(name, "nothing") for each in (first, other))
            if here != there:
                raise AgreementError(
                    f"{name}: expected the same on all MPI ranks, got {here:.80} on rank 0 ({first.host}) and "
                    f"{there:.80} on rank {rank} ({other.host}); give all of them the same"
                )
