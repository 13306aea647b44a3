"""Engine mpi on two hosts, with a network between them that can be slow or cut, and a disk for each.

The hosts are parts of this machine (`hosts/pair.py`); the MPI is Open MPI, with its own launcher. Each test ends by
looking at both: nothing may be left running.
"""

import os
import re
import shutil
import signal
import sys
import time

import numpy as np
import pytest
from hosts.pair import DISK, NAMES, Pair, missing
from runs import finish, run_to
from test_mpi import FAILING, OPTIONS, PROMPT, RANKS, SMALL, STOPPING, assert_same_outcome
from test_stalls import lines_of, the_line

from ddg_ref import Config, train
from ddg_ref.runs import checkpoints, rundir
from ddg_ref.runs.training import Training

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

TRAIN = (sys.executable, "-W", "error", "-m", "ddg_ref", "train")
MPI = (*SMALL, "--modules", "2", "--engine", "mpi")
TIMEOUT = "1"


@pytest.fixture
def pair():
    """Two hosts on which, at the end of the test, nothing runs any more."""
    with Pair() as pair:
        yield pair
        until(lambda: not pair.processes(0) and not pair.processes(1))


def until(condition):
    deadline = time.monotonic() + PROMPT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def ended(job):
    """(code, printed, said) of a job that ends by itself."""
    printed, said = job.communicate(timeout=PROMPT)
    return job.returncode, printed, said


def running(pair, name):
    """Processes of that name, on either host."""
    return [pid for host in range(2) for pid, other in pair.processes(host).items() if other.startswith(name)]


@pytest.fixture(scope="module")
def by_threads(tmp_path_factory):
    return rundir.save(train(**OPTIONS, modules=2), tmp_path_factory.mktemp("threads"))


def test_same_bits_as_threads(pair, by_threads, tmp_path):
    """Also where messages take long: two on their way at a time."""
    pair.set_delay(0.005)
    code, _, said = ended(pair.mpirun(*TRAIN, *MPI, "--out", str(tmp_path / "run")))
    assert (code, lines_of(said)) == (0, [])
    assert_same_outcome(tmp_path / "run", by_threads)


@pytest.mark.parametrize(
    ("who", "waits"), [(0, "module 2 waits to take activation"), (1, "module 1 waits to take error")]
)
def test_a_rank_that_is_stopped_ends_the_job(who, waits, pair, tmp_path):
    stopping = (sys.executable, str(RANKS / "stopping.py"), "training", str(who), "0", "train")
    arguments = (*MPI, "--stall-timeout", TIMEOUT, "--out", str(tmp_path / "run"))
    at_once = ("--mca", "odls_base_sigkill_timeout", "0")  # once the job is to end, Open MPI kills what is left
    code, _, said = ended(pair.mpirun(*stopping, *arguments, options=at_once))
    assert code != 0
    assert re.fullmatch(rf"ddg: no message for \d\.\d s: {waits} of iteration \d+ since \d\.\d s", the_line(said)), said


def test_a_host_that_cannot_be_reached_ends_the_ranks_on_both(pair, tmp_path):
    """Open MPI's launcher goes on waiting for its other half, and that one for it."""
    endless = ("--iterations", "1000000", "--checkpoint-every", "50", "--stall-timeout", TIMEOUT)
    job = pair.mpirun(*TRAIN, *MPI, *endless, "--out", str(tmp_path / "run"))
    until((tmp_path / "run" / "checkpoints").exists)
    assert len(running(pair, "python")) == 2
    pair.cut()
    until(lambda: not running(pair, "python"))
    for process in running(pair, ""):
        os.kill(process, signal.SIGKILL)
    _, _, said = ended(job)
    assert re.search(r"^ddg: no (message|sign of life)", said, re.MULTILINE), said


def test_a_host_with_other_data_is_refused_by_name(pair, tmp_path):
    """Also if one number is another, by its last bit."""
    x = np.random.default_rng(0).random((150, 5), dtype="float32")
    for host in range(2):
        np.savez(pair.disk(host) / "data.npz", x=x, y=np.arange(150) % 3)
        x[7, 3] = np.nextafter(x[7, 3], np.float32(1))
    data = ("--data", str(DISK / "data.npz"))
    code, printed, said = ended(pair.mpirun(*TRAIN, *MPI, *data, "--out", str(tmp_path / "run")))
    assert (code, printed) == (2, ""), said
    assert re.fullmatch(
        r"ddg: data's digest: expected the same on all MPI ranks, got \w+ on rank 0 \(alpha\) and "
        r"\w+ on rank 1 \(beta\); give all of them the same",
        the_line(said),
    ), said
    assert NAMES == ("alpha", "beta")
    assert not (tmp_path / "run").exists()


def test_a_checkpoint_that_one_host_alone_has_is_refused(pair, tmp_path):
    checkpoints.save(run_to(Training(Config(**OPTIONS, modules=2)), 20), tmp_path)
    shutil.copytree(tmp_path, pair.disk(0), dirs_exist_ok=True)
    code, printed, said = ended(pair.mpirun(*TRAIN, "--engine", "mpi", "--resume", str(DISK)))
    assert (code, printed) == (2, ""), said
    assert f"ddg: resume: no checkpoint under {DISK}/checkpoints; " in said


def test_a_killed_rank_ends_the_job(pair, tmp_path):
    script = FAILING.format(strike="os.kill(os.getpid(), signal.SIGKILL)", more="")
    code, printed, said = ended(
        pair.mpirun(sys.executable, "-c", script, "train", *MPI, "--out", str(tmp_path / "run"))
    )
    assert (code, printed) == (128 + signal.SIGKILL, ""), said
    assert "process rank 1 with PID" in said


def test_open_mpi_gives_ranks_time_for_a_checkpoint(pair, by_threads, tmp_path):
    """It waits before it passes SIGTERM on, and as long again before it kills."""
    out, marker = tmp_path / "run", tmp_path / "marker"
    script = STOPPING.format(marker=str(marker)).replace("0.3", "2.5")  # longer than Open MPI waits by itself
    patience = ("--mca", "odls_base_sigkill_timeout", "4", "--host", f"{NAMES[0]}:2")
    job = pair.mpirun(sys.executable, "-c", script, "train", *MPI, "--out", str(out), options=patience)
    until(marker.exists)
    os.kill(*running(pair, "mpirun"), signal.SIGTERM)
    _, _, said = ended(job)
    assert re.fullmatch(rf"ddg: stopped after iteration 2\d of 40; go on with: .* --resume {out}", the_line(said)), said
    rundir.save(finish(checkpoints.resume(out, engine="threads")).result(), out)
    assert_same_outcome(out, by_threads)
