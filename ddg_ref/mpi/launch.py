"""Being launched as one of several MPI ranks, and launching them. Needs no MPI itself."""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from ddg_ref.errors import InputError, LaunchError, WorkerError

RANK_VARIABLES = ("PMI_RANK", "PMIX_RANK", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK")
"""Where launchers tell a process its rank: MPICH, Intel and Cray MPI and Slurm; PMIx; Open MPI; MVAPICH."""

SIZE_VARIABLES = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Where some of them tell it how many there are."""

OPEN_MPI = {
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_odls_base_sigkill_timeout": "30",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    "PRTE_MCA_odls_base_sigkill_timeout": "30",
}
"""Open MPI up to 4 and from 5 on: more ranks than cores, and time to write a checkpoint between SIGTERM and SIGKILL."""

SPEAKING_SECONDS = 1.0
"""How long a rank that failed waits with ending the job: for what others have to say, and for its own last words to
reach the launcher, which may throw away what it has not read."""

OWN_CODES = (0, 1, 2, 130)
"""What a rank ends with when it has said why itself."""


class LeftError(WorkerError):
    """An MPI rank has left the program, with exit code `code`: what it ended of, the whole job has ended of."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code or 1


def rank() -> int | None:
    """The number of this process in the MPI launch that it belongs to, None if it belongs to none.

    Schedulers set such variables too, so whoever does without MPI must not ask. What is no number says nothing.
    """
    return first_number(RANK_VARIABLES)


def first_number(names: tuple[str, ...]) -> int | None:
    """The first whole number among environment variables."""
    values = (os.environ.get(name, "") for name in names)
    return next((int(value) for value in values if value.isascii() and value.isdecimal()), None)


def check_launch(modules: int) -> None:
    """Raise InputError if mpi4py is missing, LaunchError if this process is not one of an MPI launch."""
    if find_spec("mpi4py") is None:
        raise missing("mpi4py")
    if rank() is None and os.environ.get("SLURM_NTASKS", "1") not in ("", "1"):
        raise InputError(
            f"engine mpi: expected {modules} MPI ranks, got {os.environ['SLURM_NTASKS']:.10} tasks of Slurm that know "
            f"nothing of each other; say srun --mpi=pmi2 (MPICH) or --mpi=pmix (Open MPI), or mpiexec -n {modules}"
        )
    if rank() is None:
        raise LaunchError(
            f"engine mpi: expected {modules} MPI ranks, one per module, got a process outside an MPI launch; "
            f"start it with: mpiexec -n {modules} python ...",
            modules,
            outside=True,
        )


def check_world(size: int, library: str) -> None:
    """Raise InputError if MPI knows of `size` ranks and the launcher has started others: each would train alone."""
    started = first_number(SIZE_VARIABLES)
    if started is not None and started != size:
        raise InputError(
            f"engine mpi: expected the {started} ranks that the launcher has started, got {size} that mpi4py's "
            f"{library} knows of; the launcher belongs to another MPI, take the mpiexec of {library}"
        )


def abandon(code: int) -> None:
    """End the job of a rank that fails before it has loaded MPI, while the others may wait for it in loading theirs.

    Other launchers end it by themselves; MPICH's has to be told, over the line that it gives to each rank.
    """
    line = os.environ.get("PMI_FD", "")
    if "ddg_ref.mpi.engine" not in sys.modules and line.isdecimal():
        time.sleep(SPEAKING_SECONDS)
        with suppress(OSError):
            os.write(int(line), b"cmd=abort exitcode=%d\n" % code)


uses_mpi = True
"""Whether this process may be one of the ranks of a run. As long as nothing else has been asked for, it may."""


@atexit.register
def abandon_at_exit() -> None:
    """For programs that end by an exception before they train."""
    if uses_mpi and getattr(sys, "last_value", None) is not None:
        abandon(1)


def missing(what: str) -> InputError:
    return InputError(
        f"engine mpi: {what} is missing; install it with: pip install mpi4py mpich (on a cluster mpi4py alone)"
    )


def find_mpiexec() -> str:
    """The mpiexec that was installed beside this Python, else the one on PATH. Raises InputError if there is none."""
    found = shutil.which("mpiexec", path=Path(sys.executable).parent) or shutil.which("mpiexec")
    if found is None:
        raise missing("mpiexec")
    return found


def launch(modules: int) -> int:
    """Run this process's command again as `modules` MPI ranks; returns the exit code.

    Ctrl-C and SIGTERM are passed on. Raises InputError if there is no mpiexec.
    """
    mpiexec = find_mpiexec()
    environment = OPEN_MPI | dict(os.environ)
    if sys.stdout.isatty() and sys.stderr.isatty():  # mpiexec hides the terminal from the ranks
        environment.setdefault("FORCE_COLOR", "1")
        environment.setdefault("COLUMNS", str(shutil.get_terminal_size().columns))
    job = subprocess.Popen(
        [mpiexec, "-n", str(modules), sys.executable, *sys.orig_argv[1:]],
        stdin=subprocess.DEVNULL,
        env=environment,
        start_new_session=True,  # Ctrl-C reaches this process only, which passes it on
    )

    def pass_on(number: int, frame: FrameType | None) -> None:
        job.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    code = job.wait()
    if code not in OWN_CODES:
        print(f"ddg: the job ended with code {code}: {fate(code)}", file=sys.stderr)
    return code if code >= 0 else 128 - code


def fate(code: int) -> str:
    """What the code of a job that ended without a word means: launchers pass signals on as n, 128+n or -n."""
    number = -code if code < 0 else code % 128
    name = signal.Signals(number).name if number in set(signal.Signals) else "an error"
    return f"a rank was ended by {name}; go on from the last checkpoint, if there is one, with --resume"
