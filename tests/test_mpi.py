"""Engine mpi: the same bits as the reference, one directory written, and every failure ends the whole job.

A launch takes seconds, so each of them settles many cases: the scripts in `tests/ranks/` run on every rank.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from runs import finish, run_to
from small_published import ARCHIVE, SMALL_CIFAR, Site, cifar_of

from ddg_ref import Config, train
from ddg_ref.data import official
from ddg_ref.errors import InputError, LaunchError
from ddg_ref.mpi import launch
from ddg_ref.runs import checkpoints, rundir
from ddg_ref.runs.training import Training

ROOT = Path(__file__).parents[1]
RANKS = ROOT / "tests" / "ranks"
OPTIONS = {"model": "mlp", "width": 8, "split": "count", "batch_size": 100, "iterations": 40}
SMALL = [text for name, value in OPTIONS.items() for text in (f"--{name.replace('_', '-')}", str(value))]
PROMPT = 30.0
"""Seconds in which a job with a failure must be over on a busy machine, start included; the failure takes 0 to 4."""

BANNER = re.compile(r"=====.*", re.DOTALL)
"""What MPICH's mpiexec adds when a process was killed."""


def environment(**variables):
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return os.environ | {"PYTHONPATH": paths} | variables


def command(*arguments, ranks=None):
    """Python with these arguments: on so many ranks, or as one process that may start them itself."""
    start = [] if ranks is None else [launch.find_mpiexec(), "-n", str(ranks)]
    return [*start, sys.executable, "-W", "error", *map(str, arguments)]


def run(*arguments, ranks=None, **variables):
    return subprocess.run(
        command(*arguments, ranks=ranks),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        stdin=subprocess.DEVNULL,
        env=environment(**variables),
    )


def ddg(*arguments, **options):
    return run("-m", "ddg_ref", *arguments, **options)


def outcome(directory):
    """The weights as bytes, and the history without its times."""
    history = json.loads((directory / "run.json").read_text())["history"]
    return (directory / "weights.safetensors").read_bytes(), [record | {"seconds": 0} for record in history]


def assert_same_outcome(a, b):
    assert outcome(a) == outcome(b)


def config_of(directory):
    return json.loads((directory / "run.json").read_text())["config"]


@pytest.fixture(scope="module")
def by_threads(tmp_path_factory):
    """Runs that were never stopped, by the number of modules."""
    return {K: rundir.save(train(**OPTIONS, modules=K), tmp_path_factory.mktemp(f"threads-{K}")) for K in (2, 3)}


@pytest.mark.parametrize("ranks", [2, *(pytest.param(each, marks=pytest.mark.slow) for each in (3, 4))])
def test_same_bits_as_the_reference(ranks):
    done = run(RANKS / "equality.py", ranks=ranks)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+ cases agree\n", done.stdout)
    assert done.stderr == ""


@pytest.mark.parametrize("ranks", [2, 4])
def test_several_modules_on_a_rank(ranks):
    """By the files of PyTorch's schedules for so many ranks."""
    done = run(RANKS / "several.py", ranks=ranks)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "5 cases agree\n"
    assert done.stderr == ""


@pytest.mark.parametrize("ranks", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_modules_on_devices(ranks):
    done = run(RANKS / "devices.py", ranks=ranks)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+ cases agree\n", done.stdout)
    assert done.stderr == ""


def test_a_failure_anywhere_reaches_every_rank():
    """And the job can go on afterwards: nothing of a call that failed is met by the next one."""
    started = time.monotonic()
    done = run(RANKS / "failures.py", ranks=3)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+ failures, the longest took \d\.\d s\n", done.stdout)
    assert time.monotonic() - started < 120


def test_what_one_rank_was_given_otherwise_is_refused_on_all():
    """Nothing in a message shows it: the weights would be wrong without a word, or the job would hang."""
    done = run(RANKS / "agreement.py", ranks=2)
    assert done.returncode == 0, done.stderr
    assert all(f"rank {rank} agrees" in done.stdout for rank in range(2))  # lines of ranks may run into each other


@pytest.mark.parametrize("who", [pytest.param(0, marks=pytest.mark.slow), 1])
@pytest.mark.parametrize("how", ["exit", "error", "end"])
def test_nobody_waits_for_a_rank_that_has_left_the_program(how, who):
    started = time.monotonic()
    done = run(RANKS / "leaving.py", how, who, ranks=2)
    assert time.monotonic() - started < PROMPT
    assert done.returncode != 0
    why = ": KeyError('planted')" if how == "error" else ""
    assert f"rank {who} has left the program{why}\n" in done.stderr
    assert f"rank {1 - who} is through" not in done.stdout


def test_ranks_that_leave_together_say_nothing():
    done = run(RANKS / "leaving.py", "stay", 0, ranks=2)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(f"rank {rank} is through" in done.stdout for rank in range(2))


def test_mpiexec_writes_the_directory_that_threads_write(by_threads, tmp_path):
    out = tmp_path / "run"
    done = ddg("train", *SMALL, "--modules", 3, "--engine", "mpi", "--out", out, ranks=3)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["epoch", "1", "2", "3", "ddg"]
    assert_same_outcome(out, by_threads[3])
    assert {path.name for path in out.iterdir()} == {path.name for path in by_threads[3].iterdir()}
    assert config_of(out) == config_of(by_threads[3]) | {"engine": "mpi"}


def test_published_files_are_fetched_once_for_all_ranks_who_augment_alike(tmp_path, monkeypatch):
    options = {"model": "mlp", "width": 3, "split": "count", "batch_size": 5, "modules": 3, "epochs": 2}
    options |= {"data": "cifar10", "data_dir": str(tmp_path / "data"), "download": True, "augment": True}
    site = Site({ARCHIVE: SMALL_CIFAR})
    try:
        monkeypatch.setitem(official.DISTRIBUTIONS, "cifar10", cifar_of(SMALL_CIFAR, url=site.url))
        arguments = site.url, json.dumps(options), tmp_path / "mpi"
        done = run(RANKS / "published.py", *arguments, ranks=3, NO_PROXY="127.0.0.1")
    finally:
        site.close()
    assert done.returncode == 0, done.stderr
    assert site.requests == [ARCHIVE]
    assert_same_outcome(tmp_path / "mpi", rundir.save(train(**options), tmp_path / "threads"))


def test_a_rank_count_that_is_not_the_number_of_modules(tmp_path):
    done = ddg("train", *SMALL, "--modules", 3, "--engine", "mpi", "--out", tmp_path / "run", ranks=2)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "ddg: modules: expected one MPI rank per module, got 2 ranks for 3 modules; "
        "launch with mpiexec -n 3, or say --modules 2\n"
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("modules", [1, 2])
def test_a_launcher_of_another_mpi_starts_processes_that_know_nothing_of_each_other(modules, tmp_path):
    """Each would train by itself, into the same directory. Here the launcher is made up of what it tells its ranks."""
    options = [*SMALL, "--modules", modules, "--engine", "mpi", "--out", tmp_path / "run"]
    done = run("-m", "ddg_ref", "train", *options, PMI_RANK="0", PMI_SIZE="2")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(
        r"ddg: engine mpi: expected the 2 ranks that the launcher has started, got 1 that mpi4py's (\S.*) knows of; "
        r"the launcher belongs to another MPI, take the mpiexec of \1\n",
        done.stderr,
    )
    assert not (tmp_path / "run").exists()


STOPPING = """
import time
from pathlib import Path
from ddg_ref.cli import main as cli
from ddg_ref.task import Task

def slowly(self, t):
    if t >= 20:
        Path({marker!r}).touch()
        time.sleep(0.3)
    return enter(self, t)

enter, Task.enter = Task.enter, slowly
cli.main()
"""


TOLD = """
from ddg_ref.modules import Module
forward = Module.forward

def told(self, batch, x, gamma=0.0):
    if batch == 21:
        {kill}
    return forward(self, batch, x, gamma)

Module.forward = told
cli.main()
"""


def test_ctrl_c_stops_between_iterations_and_threads_go_on(by_threads, tmp_path):
    out, marker = tmp_path / "run", tmp_path / "marker"
    options = [*SMALL, "--modules", "2", "--engine", "mpi", "--out", str(out)]
    job = subprocess.Popen(
        command("-c", STOPPING.format(marker=str(marker)), "train", *options),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    deadline = time.monotonic() + PROMPT
    while not marker.exists() and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    job.send_signal(signal.SIGINT)
    printed, said = job.communicate(timeout=PROMPT)
    assert job.returncode == 130, said
    assert printed == ""
    resume = f"go on with: python -m ddg_ref train --resume {out}\n"
    assert re.fullmatch(rf"ddg: stopped after iteration 2\d of 40; {re.escape(resume)}", said)
    rundir.save(finish(checkpoints.resume(out, engine="threads")).result(), out)
    assert_same_outcome(out, by_threads[2])


@pytest.mark.parametrize("who", [*(pytest.param(who, marks=pytest.mark.slow) for who in (0, 1)), 2])
def test_whichever_rank_is_told_to_stop_all_stop_between_iterations(who, by_threads, tmp_path):
    """As a scheduler does that ends one node."""
    out, marker = tmp_path / "run", tmp_path / "marker"
    kill = f"if rank() == {who}: os.kill(os.getpid(), signal.SIGTERM)"
    script = "import os, signal\nfrom ddg_ref.mpi.launch import rank\n" + STOPPING.format(marker=str(marker))
    script = script.replace("cli.main()", TOLD.format(kill=kill))
    done = run("-c", script, "train", *SMALL, "--modules", 3, "--engine", "mpi", "--out", out, ranks=3)
    assert done.returncode == 130, done.stderr
    resume = f"go on with: python -m ddg_ref train --resume {out}\n"
    assert re.fullmatch(rf"ddg: stopped after iteration [23]\d of 40; {re.escape(resume)}", done.stderr)
    rundir.save(finish(checkpoints.resume(out, engine="threads")).result(), out)
    assert_same_outcome(out, by_threads[3])


def test_ranks_go_on_where_threads_stopped(by_threads, tmp_path):
    """Also when the stopped run asks for no engine in particular: it is the command line that does."""
    stopped = run_to(Training(Config(**OPTIONS, modules=2, checkpoint_every=30)), 20)
    checkpoints.save(stopped, tmp_path)
    done = ddg("train", "--resume", tmp_path, "--engine", "mpi")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert_same_outcome(tmp_path, by_threads[2])
    assert [path.name for path in checkpoints.list_checkpoints(tmp_path)] == ["000000000020", "000000000030"]


FAILING = """
import os, signal
from ddg_ref.cli import main as cli
from ddg_ref.data import Batches
from ddg_ref.modules import Module
from ddg_ref.mpi.launch import rank

def strike(self, *arguments):
    if self.k == 2 and self.optimizer_state.step == 10:
        {strike}
    return update(self, *arguments)

update, Module.update = Module.update, strike
{more}
cli.main()
"""


def fail(strike, *arguments, more="", ranks=None):
    started = time.monotonic()
    script = FAILING.format(strike=strike, more=more)
    done = run("-c", script, "train", *SMALL, "--modules", 2, "--engine", "mpi", *arguments, ranks=ranks)
    assert time.monotonic() - started < PROMPT
    return done


def test_an_exception_on_a_rank_ends_the_job_with_one_line(tmp_path):
    done = fail("raise ValueError('planted')", "--out", tmp_path / "run", ranks=2)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == "ddg: module 2 failed in update of iteration 10: ValueError('planted')\n"


def test_a_killed_rank_ends_the_job(tmp_path):
    done = fail("os.kill(os.getpid(), signal.SIGKILL)", "--out", tmp_path / "run")
    assert done.returncode == signal.SIGKILL
    assert BANNER.sub("", done.stdout).strip() == ""
    assert done.stderr == (
        "ddg: the job ended with code 9: a rank was ended by SIGKILL; "
        "go on from the last checkpoint, if there is one, with --resume\n"
    )


@pytest.mark.parametrize("who", [pytest.param(0, marks=pytest.mark.slow), 1])
@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        pytest.param("MemoryError", 1, "ddg: not enough memory (planted); ", marks=pytest.mark.slow),
        ("InputError", 2, "ddg: planted"),
        ("KeyboardInterrupt", 130, ""),
    ],
)
def test_a_rank_that_fails_alone_between_calls_ends_the_job(error, code, said, who, tmp_path):
    """All ranks end with its code, whichever the launcher hears of first: MPICH's makes one number of all of them.

    Here one rank fails while the others build their run; the others would wait for it for ever.
    """
    more = f"""
from ddg_ref.errors import InputError
def alone(*_, **options):
    raise {error}('planted')
if rank() == {who}:
    Batches.__init__ = alone
"""
    done = fail("pass", "--out", tmp_path / "run", more=more, ranks=2)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr


def test_a_rank_that_cannot_resume_alone_ends_the_job(tmp_path):
    """Nor may the others wait for one that fails before anything told it that the run needs MPI."""
    stopped = run_to(Training(Config(**OPTIONS, modules=2)), 20)
    stopped.config = replace(stopped.config, engine="mpi")
    checkpoints.save(stopped, tmp_path)
    script = """
from ddg_ref.cli import main as cli
from ddg_ref.runs import rundir
from ddg_ref.mpi.launch import rank

def alone(directory):
    raise MemoryError("planted")

if rank() == 1:
    rundir.reopen = alone
cli.main()
"""
    started = time.monotonic()
    done = run("-c", script, "train", "--resume", tmp_path, ranks=2)
    assert time.monotonic() - started < PROMPT
    assert done.returncode == 1
    assert "ddg: not enough memory (planted); " in done.stderr


def test_outside_a_launch_python_is_told_how_to_launch():
    with pytest.raises(LaunchError) as caught:
        train(model="mlp", modules=4, engine="mpi")
    assert str(caught.value) == (
        "engine mpi: expected 4 MPI ranks, one per module, got a process outside an MPI launch; "
        "start it with: mpiexec -n 4 python ..."
    )
    assert isinstance(caught.value, InputError)


@pytest.mark.parametrize(
    ("what", "hide"), [("mpi4py", "sys.modules['mpi4py'] = None"), ("mpiexec", "sys.executable = '/nowhere/python'")]
)
def test_what_is_missing_is_named(what, hide, tmp_path):
    script = f"import sys; {hide}; from ddg_ref.cli.main import main; main()"
    done = run("-c", script, "train", *SMALL, "--engine", "mpi", "--out", tmp_path / "run", PATH="")
    assert done.returncode == 2
    assert done.stderr == (
        f"ddg: engine mpi: {what} is missing; install it with: pip install mpi4py mpich (on a cluster mpi4py alone)\n"
    )


def test_mpi4py_without_an_mpi_library(monkeypatch):
    """The import fails only on the ranks."""
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setitem(sys.modules, "ddg_ref.mpi.engine", None)
    with pytest.raises(
        InputError, match=r"^engine mpi: mpi4py or the MPI library \(.*\) is missing; install it with: "
    ):
        train(model="mlp", modules=4, engine="mpi")


def test_nothing_of_mpi_is_loaded_unasked():
    script = "import sys, ddg_ref, ddg_ref.cli.main; print(*{'mpi4py', 'ddg_ref.mpi.engine'} & sys.modules.keys())"
    done = run("-c", script)
    assert (done.stdout, done.stderr) == ("\n", "")


def test_compare_refuses(tmp_path):
    done = ddg("compare", "--engine", "mpi", "--out", tmp_path / "runs")
    assert done.returncode == 2
    assert done.stderr.startswith("ddg: engine: compare changes the number of modules, got mpi")


@pytest.mark.parametrize(
    ("code", "name"), [(9, "SIGKILL"), (137, "SIGKILL"), (-11, "SIGSEGV"), (139, "SIGSEGV"), (255, "an error")]
)
def test_the_code_of_a_job_that_ended_without_a_word(code, name):
    assert launch.fate(code).startswith(f"a rank was ended by {name}; ")
