"""What a figure depends on besides the configuration: versions, processor, BLAS."""

from platform import machine, platform, python_version
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from ddg_ref.tools.cores import usable_cores

VERSION = "0.1.0"


def kernels() -> str:
    """The processor for which BLAS computes: another one rounds otherwise."""
    found = (f"{pool['internal_api']} {pool.get('architecture', '')}" for pool in threadpool_info())
    return ", ".join(sorted(set(found)))


def environment() -> dict[str, Any]:
    """What a figure depends on besides the configuration."""
    built: Any = np.show_config(mode="dicts")
    blas = built["Build Dependencies"]["blas"]  # NumPy's, whatever others have loaded theirs
    return {
        "ddg_ref": VERSION,
        "python": python_version(),
        "numpy": np.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "kernels": kernels(),
        "platform": platform(),
        "machine": machine(),
        "cores": usable_cores(),
    }
