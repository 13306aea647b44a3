"""What `benchmarks.gpu` needs where next to nothing is installed: a stand-in for a package that it can do without."""

import os
import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any


def _threadpoolctl() -> ModuleType:
    pools: Any = SimpleNamespace(
        select=lambda **_: pools, limit=lambda **_: pools, restore_original_limits=lambda: None
    )
    module: Any = ModuleType("threadpoolctl")
    module.threadpool_info, module.ThreadpoolController = list, lambda: pools
    module.OpenBLASController = SimpleNamespace(clear_controlling_thread=lambda **_: None)
    return module


def prepare() -> list[str]:
    """Put a stand-in where threadpoolctl is missing; returns the names of what is, of the packages that training or
    its files need. Without safetensors the package trains, and writes no files.
    """
    os.environ.setdefault("DDG_REF_CACHE", "runs/gpu/cache")  # or platformdirs would be asked
    missing = [name for name in ("threadpoolctl", "safetensors") if not find_spec(name)]
    if "threadpoolctl" in missing:
        sys.modules["threadpoolctl"] = _threadpoolctl()
    return missing


MISSING = prepare()
"""Without threadpoolctl the environment says how many threads BLAS has, which has to be there before NumPy loads:
`make gpu-check` sets it."""
