"""Engine mpi with a stall timeout: whatever a rank waits for, it does not wait for ever, and it does not cry wolf.

Each rank of these jobs computes for milliseconds; all that takes longer has been planted (`tests/ranks/stopping.py`).
"""

import os
import re
import subprocess
import sys
import time

import pytest
from test_mpi import PROMPT, RANKS, SMALL, environment, outcome, run

from ddg_ref import train
from ddg_ref.mpi import launch
from ddg_ref.runs import rundir

TIMEOUT = 1.0
OPTIONS = [*SMALL, "--modules", "2", "--engine", "mpi", "--checkpoint-every", "10"]


def planted(where, who, seconds, *arguments, mpiexec=None, **variables):
    """A job of two ranks; every process of it is dead afterwards."""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    script = [sys.executable, str(RANKS / "stopping.py"), where, str(who), str(seconds), *map(str, arguments)]
    job = subprocess.Popen(
        [*(mpiexec or [launch.find_mpiexec()]), "-n", "2", *script],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(DDG_TEST_MARK=mark, **variables),
    )
    try:
        printed, said = job.communicate(timeout=PROMPT)
    finally:
        job.kill()
    deadline = time.monotonic() + PROMPT
    while left_behind(mark) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left_behind(mark)
    return job.returncode, printed, said


def left_behind(mark):
    """The processes that were started with this mark in their environment."""
    found = []
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as variables, open(f"/proc/{name}/stat") as stat:
                if (
                    f"DDG_TEST_MARK={mark}".encode() in variables.read()
                    and stat.read().rsplit(")")[-1].split()[0] != "Z"
                ):
                    found.append(name)
        except OSError:
            pass
    return found


def lines_of(said):
    return [line for line in said.splitlines() if line.startswith("ddg: ")]


def the_line(said):
    """The one that says what has happened."""
    lines = lines_of(said)
    assert len(lines) == 1, said
    return lines[0]


@pytest.mark.parametrize("who", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_rank_that_is_stopped_before_the_run_ends_the_job(who, tmp_path):
    code, printed, said = planted(
        "loading", who, 0, "train", *OPTIONS, "--stall-timeout", TIMEOUT, "--out", tmp_path / "run"
    )
    assert code != 0, (printed, said)
    assert printed == "", said
    assert re.fullmatch(rf"ddg: no sign of life of rank {who} for \d\.\d s", the_line(said)), said


@pytest.mark.parametrize(
    ("who", "waits"),
    [
        (0, "module 2 waits to take activation"),
        pytest.param(1, "module 1 waits to take error", marks=pytest.mark.slow),
    ],
)
def test_a_rank_that_is_stopped_in_a_run_ends_the_job(who, waits, tmp_path):
    code, printed, said = planted(
        "training", who, 0, "train", *OPTIONS, "--stall-timeout", TIMEOUT, "--out", tmp_path / "run"
    )
    assert code != 0, (printed, said)
    assert printed == "", said
    assert re.fullmatch(rf"ddg: no message for \d\.\d s: {waits} of iteration \d+ since \d\.\d s", the_line(said)), said


def test_a_rank_that_is_stopped_while_the_others_wait_for_its_own_work_ends_the_job(tmp_path):
    code, _, said = planted(
        "evaluating", 0, 0, "train", *OPTIONS, "--stall-timeout", TIMEOUT, "--out", tmp_path / "run"
    )
    assert code != 0, said
    assert re.fullmatch(r"ddg: no sign of life of rank 0 for \d\.\d s", the_line(said)), said


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    out = tmp_path_factory.mktemp("undisturbed")
    return outcome(
        rundir.save(train(model="mlp", width=8, split="count", batch_size=100, iterations=40, modules=2), out)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "who", "seconds"),
    [
        ("loading", 1, 3 * TIMEOUT),  # own work of any rank
        ("evaluating", 0, 3 * TIMEOUT),  # and of rank 0 alone
        ("training", "all", 3 * TIMEOUT),  # the whole machine, suspended
        ("training", 1, 0.5 * TIMEOUT),
    ],
)
def test_what_takes_long_is_no_stall(where, who, seconds, undisturbed, tmp_path):
    out = tmp_path / "run"
    code, _, said = planted(where, who, seconds, "train", *OPTIONS, "--stall-timeout", TIMEOUT, "--out", out)
    assert (code, said) == (0, "")
    assert outcome(out) == undisturbed


@pytest.mark.slow
def test_steps_of_a_chain_that_are_each_quick_enough_are_no_stall(undisturbed, tmp_path):
    """A module waits for the sum of what others do, which may be longer than each of them may take."""
    code, _, said = planted(
        "each phase",
        1,
        0.4 * TIMEOUT,
        "train",
        *OPTIONS,
        "--stall-timeout",
        TIMEOUT,
        "--out",
        tmp_path / "run",
        "--iterations",
        4,
    )
    assert (code, said) == (0, "")


def test_before_a_run_a_rank_that_fails_ends_the_job_of_those_who_load_mpi():
    script = """
import ddg_ref
from ddg_ref.mpi.launch import rank
if rank() == 1:
    raise KeyError("planted")
ddg_ref.train(model="mlp", modules=2, engine="mpi")
"""
    started = time.monotonic()
    done = run("-c", script, ranks=2)
    assert time.monotonic() - started < PROMPT
    assert done.returncode != 0
    assert done.stderr.endswith("KeyError: 'planted'\n")


def test_a_command_line_that_one_rank_cannot_read_ends_the_job_of_all(tmp_path):
    command = [sys.executable, "-m", "ddg_ref", "train", *OPTIONS, "--out", str(tmp_path / "run")]
    job = [launch.find_mpiexec(), "-n", "1", *command, ":", "-n", "1", *command, "--lr", "fast"]
    done = subprocess.run(
        job, capture_output=True, text=True, timeout=PROMPT, env=environment(), stdin=subprocess.DEVNULL
    )
    assert done.returncode != 0
    assert "'--lr'" in done.stderr


def test_a_program_that_has_asked_for_another_engine_ends_nobody_elses_work():
    """mpiexec also starts programs that have nothing to do with each other."""
    script = """
import time, ddg_ref
from ddg_ref.mpi.launch import rank
ddg_ref.train(model="mlp", width=3, iterations=1, modules=2, split="count")
if rank() == 1:
    raise KeyError("planted")
time.sleep(3)
print("went on")
"""
    assert "went on" in run("-c", script, ranks=2).stdout
