"""What a figure depends on besides the configuration: versions, processor, BLAS."""

import sys
import sysconfig
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


def interpreter() -> str:
    """Version of Python; where it was built to do without the interpreter lock, also whether it does.

    An extension that is not made for that switches the lock on when it is imported.
    """
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        return python_version()
    locked = getattr(sys, "_is_gil_enabled", lambda: True)()
    return f"{python_version()} free-threaded, interpreter lock {'on' if locked else 'off'}"


def environment() -> dict[str, Any]:
    """What a figure depends on besides the configuration."""
    built: Any = np.show_config(mode="dicts")
    blas = built["Build Dependencies"]["blas"]  # NumPy's, whatever others have loaded theirs
    return {
        "ddg_ref": VERSION,
        "python": interpreter(),
        "numpy": np.__version__,
        "blas": f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip(),
        "kernels": kernels(),
        "platform": platform(),
        "machine": machine(),
        "cores": usable_cores(),
    }
