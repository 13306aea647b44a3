"""What each layer of a network costs, measured.

Cuts decide delays and delays decide the weights that DDG reaches, so cuts must be reproducible although times are not:
the costs of a network's layers are measured once per machine and remembered.
"""

from contextlib import suppress
from hashlib import sha256
from json import dumps, loads
from pathlib import Path
from platform import machine, processor
from statistics import median
from tempfile import NamedTemporaryFile
from time import perf_counter

import numpy as np

from ddg_ref.arrays import Array, settled
from ddg_ref.computing import computing
from ddg_ref.device import Cpu, Device
from ddg_ref.errors import InputError
from ddg_ref.layers import Sequential
from ddg_ref.seeds import Purpose, generator
from ddg_ref.tools.cache import cache_directory

REPETITIONS = 7


def measure_costs(network: Sequential, x: Array, device: Device | None = None) -> list[float]:
    """Seconds that each step of the network takes forward and backward on the batch x, medians, one BLAS thread.

    On `device`, or in host memory.
    """
    device = device or Cpu()
    costs: list[float] = []
    with computing(), device.opened():
        params = device.place_all(network.init(generator(Purpose.COSTS, 0), x.dtype))
        inputs = device.place(x)
        for prefix, layer in network.steps():
            own = {name.removeprefix(prefix): array for name, array in params.items() if name.startswith(prefix)}
            seconds = []
            for _ in range(REPETITIONS):
                started = perf_counter()
                y, cache = layer.forward(own, inputs)
                go_back = layer.backward if costs else layer.gradients  # nobody wants the first input gradient
                go_back(own, cache, y)
                settled(y)
                seconds.append(perf_counter() - started)
            costs.append(median(seconds))
            inputs = y
    return costs


def remembered_costs(network: Sequential, x: Array, device: Device | None = None) -> list[float]:
    """`measure_costs`, measured by the first caller on this machine and read back by every later one.

    Kept under the user's cache directory, or under $DDG_REF_CACHE. Whoever writes first wins, so processes that start
    together agree. What cannot be read as this network's costs is measured again and replaced.
    """
    names = [f"{prefix}{layer}" for prefix, layer in network.steps()]
    device = device or Cpu()
    subject = [names, list(x.shape), str(x.dtype), machine(), processor(), np.__version__, device.name]
    key = sha256(dumps(subject).encode()).hexdigest()[:32]
    folder = cache_directory()
    path = folder / f"layer-costs-{key}.json"
    known = _read_costs(path, len(names))
    if known is not None:
        return known
    costs = measure_costs(network, x, device)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile("w", dir=folder, suffix=".tmp") as file:
            file.write(dumps({"layers": names, "seconds": costs}))
            file.flush()
            with suppress(FileExistsError):  # another process was first
                path.hardlink_to(file.name)
            if _read_costs(path, len(names)) is None:  # damaged
                path.unlink(missing_ok=True)
                with suppress(FileExistsError):
                    path.hardlink_to(file.name)
        return _read_costs(path, len(names)) or costs
    except OSError as error:
        raise InputError(
            f"cannot remember measured layer costs in {folder} ({error.strerror}): set DDG_REF_CACHE to a folder that "
            "can be written, or choose split 'count' or explicit cuts"
        ) from error


def _read_costs(path: Path, layers: int) -> list[float] | None:
    try:
        seconds = loads(path.read_text())["seconds"]
        costs = [float(cost) for cost in seconds]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return costs if len(costs) == layers and all(0 <= cost < float("inf") for cost in costs) else None
