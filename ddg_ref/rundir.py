"""The run directory: what a run leaves on disk for people and other programs."""

from dataclasses import asdict
from json import dumps
from os import W_OK, access
from pathlib import Path
from platform import machine, platform, python_version
from shutil import rmtree
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import save_file
from threadpoolctl import threadpool_info

from ddg_ref import plots
from ddg_ref.cores import usable_cores
from ddg_ref.errors import InputError
from ddg_ref.timeline import last_iterations

if TYPE_CHECKING:
    from ddg_ref.training import Run

RESULT = "run.json"
WEIGHTS = "weights.safetensors"
CHECKPOINTS = "checkpoints"


def claim(directory: Path, *, overwrite: bool = False) -> Path:
    """Create `directory` for a run about to start. Raises InputError if it cannot be written or holds a run already."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out: cannot create {directory} ({error.strerror}); choose another directory") from None
    if not access(directory, W_OK):
        raise InputError(f"out: {directory} cannot be written; choose another directory")
    if (directory / RESULT).exists() and not overwrite:
        raise InputError(f"out: {directory} holds a run already; choose another directory or say --overwrite")
    if any((directory / CHECKPOINTS).glob("[0-9]*")) and not overwrite:
        raise InputError(f"out: {directory} holds an unfinished run; go on with --resume, or say --overwrite")
    (directory / RESULT).unlink(missing_ok=True)  # first: what is left of a run without it is no finished run
    if (directory / CHECKPOINTS).is_dir():
        rmtree(directory / CHECKPOINTS)
    return directory


def reopen(directory: Path) -> Path:
    """The directory of a run to go on with. Raises InputError if the run is finished, or there is none."""
    if not directory.is_dir():
        raise InputError(f"resume: expected a run directory, got {directory}, which is none; check the path")
    if (directory / RESULT).exists():
        raise InputError(f"resume: the run in {directory} is finished; its results are in {directory / RESULT}")
    return directory


def environment() -> dict[str, Any]:
    """What a figure depends on besides the configuration."""
    from ddg_ref import __version__

    blas: dict[str, Any] = next((info for info in threadpool_info() if info["user_api"] == "blas"), {})
    return {
        "ddg_ref": __version__,
        "python": python_version(),
        "numpy": np.__version__,
        "blas": f"{blas.get('internal_api', 'unknown')} {blas.get('version', '')}".strip(),
        "platform": platform(),
        "machine": machine(),
        "cores": usable_cores(),
    }


def save(run: "Run", directory: Path) -> Path:
    """Write `run` into `directory`: weights, figures, and last run.json, so that a run.json stands for a whole run.

    run.json: config, environment, history (one object per record), milliseconds_per_iteration, final_test_accuracy,
    modules (layers and parameters of each). weights.safetensors: parameters and running statistics by "layer.name",
    whatever K, engine and method; convolution weights (kh, kw, c_in, c_out), linear weights (in, out).
    """
    directory.mkdir(parents=True, exist_ok=True)
    save_file({name: np.ascontiguousarray(array) for name, array in run.weights.items()}, directory / WEIGHTS)
    if run.history:
        run.plot_loss().savefig(directory / "loss.png")
    if run.spans:
        plots.timeline(last_iterations(run.spans, 6), title=run.label).savefig(directory / "timeline.png")
    result = {
        "config": asdict(run.config),
        "environment": environment(),
        "history": [record._asdict() for record in run.history],
        "milliseconds_per_iteration": run.milliseconds_per_iteration,
        "final_test_accuracy": run.final_test_accuracy,
        "modules": run.modules,
    }
    unfinished = directory / f".{RESULT}.tmp"
    unfinished.write_text(dumps(result, indent=2) + "\n")
    unfinished.rename(directory / RESULT)
    return directory
