"""On two ranks: what one of them has been given otherwise is refused on both, by name, before anything is trained."""

import warnings
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import pytest
from runs import SMALL, TINY, run_to, tiny_images

from ddg_ref import Config
from ddg_ref.errors import InputError
from ddg_ref.mpi import engine as mpi
from ddg_ref.mpi.agreement import installation
from ddg_ref.mpi.engine import RANK, WORLD
from ddg_ref.runs.checkpoints import resume, save
from ddg_ref.runs.training import Training

CONFIG = Config(data="tiny", **SMALL | {"engine": "mpi", "modules": 2})
DIFFERENT = {
    "seed": {"seed": 1},
    "lr": {"lr": 0.04},
    "method": {"method": "bp"},
    "split": {"split": "3"},
    "iterations": {"iterations": 3},
    "epochs": {"epochs": 3},
    "momentum": {"momentum": 0.5},
    "checkpoint_every": {"checkpoint_every": 2},
    "stall_timeout": {"stall_timeout": 9.0},
    "dtype": {"dtype": "float64"},
    "drain": {"drain": False},
}


def refused(name, action):
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert message.startswith(f"{name}: expected the same on all MPI ranks, got "), message
    assert " on rank 0 (" in message
    assert " on rank 1 (" in message
    assert message.endswith("; give all of them the same")
    assert "remove" not in message
    assert len(set(WORLD.allgather(message))) == 1


def options():
    for name, changes in DIFFERENT.items():
        config = replace(CONFIG, **changes) if RANK == 1 else CONFIG
        refused(name, lambda config=config: Training(config, TINY))


def data():
    refused("data's digest", lambda: Training(CONFIG, tiny_images(seed=RANK)))
    Training(replace(CONFIG, data_dir=None), replace(TINY))  # equal data need not be the same object


def other_runs(folder):
    """Another run on the other host is no damage of the checkpoint."""
    place = folder / f"other-{RANK}"
    training = Training(replace(CONFIG, engine="reference", seed=RANK), TINY)
    for stop in (1, 2):
        save(run_to(training, stop), place)
    WORLD.barrier()
    refused("seed", lambda: resume(place, data=TINY, engine="mpi"))


def checkpoints(folder):
    place = folder / str(RANK)
    training = Training(replace(CONFIG, engine="reference"), TINY)
    save(run_to(training, 2 + RANK), place)
    WORLD.barrier()
    refused("SHA256SUMS", lambda: resume(place, data=TINY, engine="mpi"))
    assert resume(folder / "0", data=TINY, engine="mpi").iteration == 2


def installations(patch):
    for name in ("python", "numpy", "ddg_ref's source"):
        known = installation() | ({name: "another"} if RANK == 1 else {})
        patch.setattr(mpi, "installation", lambda known=known: known)
        refused(name, lambda: Training(CONFIG, TINY))


def kernels(patch):
    patch.setattr(mpi, "kernels", lambda: f"openblas {'Zen' if RANK else 'Haswell'}")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        Training(CONFIG, TINY)
    told = [str(warning.message) for warning in seen if "BLAS computes for" in str(warning.message)]
    assert bool(told) == (RANK == 0)
    assert all("openblas Haswell on rank 0 and for openblas Zen on rank 1" in text for text in told)


options()
data()
folder = Path(WORLD.bcast(mkdtemp(prefix="agreement-") if RANK == 0 else None))
other_runs(folder)
checkpoints(folder)
with pytest.MonkeyPatch.context() as patch:
    installations(patch)
with pytest.MonkeyPatch.context() as patch:
    kernels(patch)
print(f"rank {RANK} agrees")
