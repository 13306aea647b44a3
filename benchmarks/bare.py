"""What `benchmarks.gpu` needs where next to nothing is installed: stand-ins for packages that it can do without."""

import os
import sys
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any


def _module(name: str, **contents: Any) -> dict[str, ModuleType]:
    module = ModuleType(name)
    module.__dict__.update(contents)
    return {name: module}


def _threadpoolctl() -> dict[str, ModuleType]:
    pools: Any = SimpleNamespace(
        select=lambda **_: pools, limit=lambda **_: pools, restore_original_limits=lambda: None
    )
    blas = SimpleNamespace(clear_controlling_thread=lambda **_: None)
    return _module("threadpoolctl", threadpool_info=list, ThreadpoolController=lambda: pools, OpenBLASController=blas)


def _safetensors() -> dict[str, ModuleType]:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise ImportError("expected the package safetensors, which is missing; pip install safetensors")

    return _module("safetensors", SafetensorError=ValueError, safe_open=refuse) | _module(
        "safetensors.numpy", save_file=refuse
    )


def prepare() -> list[str]:
    """Put a stand-in where threadpoolctl or safetensors is missing; returns the names of those that are."""
    os.environ.setdefault("DDG_REF_CACHE", "runs/gpu/cache")  # or platformdirs would be asked
    missing = [name for name in ("threadpoolctl", "safetensors") if not find_spec(name)]
    for name in missing:
        sys.modules |= _threadpoolctl() if name == "threadpoolctl" else _safetensors()
    return missing


MISSING = prepare()
"""What has a stand-in from now on. Without threadpoolctl the environment says how many threads BLAS has, which has to
be there before NumPy loads: `make gpu-check` sets it."""
