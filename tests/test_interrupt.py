"""Ctrl-C, or SIGTERM: one line that says how to go on, and going on gives the run that nobody stopped."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SMALL = ["--model", "mlp", "--width", "8", "--split", "count", "--modules", "3", "--batch-size", "50", "--epochs", "10"]
RUN = """
import sys, threading, time
from ddg_ref.cli import main as cli
from ddg_ref.runs import training

def hooked(self, *arguments, original=training.Training.__init__, **options):
    original(self, *arguments, **options)
    hook(self.task)

training.Training.__init__ = hooked
sys.argv = ["ddg_ref", *sys.argv[1:]]
"""
STOPPED = """
def hook(task):
    def enter(t, original=task.enter):
        if t == %d:
            print("there", flush=True)
            while not task.stop_requested:
                time.sleep(0.001)
        return original(t)
    task.enter = enter
cli.main()
"""
"""A run that waits before an iteration until it is asked to stop, so that the signal never comes too late."""
STUCK = """
def hook(task):
    def fault(k, phase, t):
        if (k, phase, t) == (2, "forward", 5):
            print("there", flush=True)
            threading.Event().wait()
    task.fault = fault
cli.main()
"""
"""A run of which a worker gets stuck for good."""


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-W", "error", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process):
    out, err = process.communicate(timeout=250)
    return process.returncode, out, err


def stop_at(iteration, number, *arguments):
    """Run until there, send the signal; the exit code and what was written to stderr."""
    process = start("-c", RUN + STOPPED % iteration, "train", *arguments)
    assert process.stdout.readline() == "there\n"
    process.send_signal(number)
    code, out, err = end(process)
    assert out == ""
    return code, err


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    directory = tmp_path_factory.mktemp("whole")
    code, _, err = end(start("-m", "ddg_ref", "train", *SMALL, "--engine", "reference", "--out", directory))
    assert (code, err) == (0, "")
    return (directory / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("engine", ["reference", "threads"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_to_the_same_bytes(engine, number, tmp_path, whole):
    directory = tmp_path / "a run"
    code, err = stop_at(137, number, *SMALL, "--engine", engine, "--checkpoint-every", 40, "--out", directory)
    assert code == 130
    command = f"python -m ddg_ref train --resume {shlex.quote(str(directory))}"
    assert err == f"ddg: stopped after iteration 137 of 290; go on with: {command}\n"
    assert [int(path.name) for path in sorted(directory.glob("checkpoints/*"))] == [120, 137]
    code, _, err = end(start(*shlex.split(command)[1:]))
    assert (code, err) == (0, "")
    assert (directory / "weights.safetensors").read_bytes() == whole


@pytest.mark.slow
def test_stopped_again_and_again_under_changing_engines(tmp_path, whole):
    """In the warm-up, at the end of an epoch and within one; without --checkpoint-every too."""
    assert stop_at(1, signal.SIGINT, *SMALL, "--engine", "threads", "--out", tmp_path)[0] == 130
    assert stop_at(29, signal.SIGINT, "--resume", tmp_path, "--engine", "reference")[0] == 130
    assert stop_at(100, signal.SIGTERM, "--resume", tmp_path, "--engine", "threads")[0] == 130
    code, _, err = end(start("-m", "ddg_ref", "train", "--resume", tmp_path))
    assert (code, err) == (0, "")
    assert (tmp_path / "weights.safetensors").read_bytes() == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_second_one_ends_at_once(number, tmp_path):
    """Also when a worker is stuck, which the first one waits for."""
    process = start("-c", RUN + STUCK, "train", *SMALL, "--checkpoint-every", "2", "--out", tmp_path)
    assert process.stdout.readline() == "there\n"
    process.send_signal(number)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(timeout=0.5)
    process.send_signal(number)
    code, _, err = end(process)
    assert code == 130
    assert err == (
        "ddg: stopped at once; go on from the last checkpoint, if there is one, with: "
        f"python -m ddg_ref train --resume {tmp_path}\n"
    )
    assert [path.name for path in sorted(tmp_path.glob("checkpoints/*"))] == ["000000000002", "000000000004"]


def test_a_stalled_run_ends_with_one_line(tmp_path):
    options = [*SMALL, "--checkpoint-every", "2", "--stall-timeout", "0.5"]
    code, _, err = end(start("-c", RUN + STUCK, "train", *options, "--out", tmp_path))
    assert code == 1
    assert err.startswith("ddg: no worker has moved: ")
    assert "module 2 is busy with forward of iteration 5 since " in err
    assert err.count("\n") == 1


def test_a_damaged_checkpoint_ends_with_one_line(tmp_path):
    options = [*SMALL, "--iterations", "9", "--checkpoint-every", "2", "--out", tmp_path]
    assert end(start("-m", "ddg_ref", "train", *options))[0] == 0
    (tmp_path / "run.json").unlink()
    (tmp_path / "checkpoints" / "000000000008" / "state.json").write_text("")
    code, out, err = end(start("-m", "ddg_ref", "train", "--resume", tmp_path))
    assert (code, out) == (2, "")
    assert err.startswith(f"ddg: checkpoint {tmp_path}/checkpoints/000000000008: state.json has been damaged")
    assert err.endswith("; remove it to resume from 000000000006\n")
    assert err.count("\n") == 1
