"""A directory has one owner at a time, and whoever dies no longer is one."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from platform import node

import numpy as np
import pytest
from runs import finish, run_to, small_training

from ddg_ref.errors import CheckpointError, InputError
from ddg_ref.runs import rundir
from ddg_ref.runs.checkpoints import resume, save
from ddg_ref.tools.locks import lock_of, owned

ROOT = Path(__file__).parents[1]
HOLD = """
import sys, time
from pathlib import Path
from ddg_ref.tools.locks import owned
with owned("out", Path(sys.argv[1])):
    print("there", flush=True)
    sys.stdin.read()
"""
WAY_OUT = "wait for it, or choose another"


@pytest.fixture
def holder():
    """Starts processes that own a path until their input ends or they are killed."""
    processes = []

    def hold(path):
        command = [sys.executable, "-c", HOLD, str(path)]
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout.readline() == "there\n"
        return process

    yield hold
    for process in processes:
        process.communicate()


def refusal(path):
    with pytest.raises(InputError) as caught, owned("out", path):
        pytest.fail("two owners")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_another_process_is_refused_and_told_who_the_owner_is(tmp_path, holder):
    process = holder(tmp_path)
    message = refusal(tmp_path)
    assert message.startswith(f"out: {tmp_path} is in use by process {process.pid} on {node()} since 2")
    assert message.endswith(WAY_OUT)
    process.communicate()
    with owned("out", tmp_path):
        assert lock_of(tmp_path).exists()
    assert list(tmp_path.iterdir()) == []


def test_the_lock_of_a_process_that_was_killed_is_taken_over(tmp_path, holder):
    process = holder(tmp_path)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert lock_of(tmp_path).exists()
    with owned("out", tmp_path):
        assert json.loads(lock_of(tmp_path).read_text())["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_of_another_host_is_explained(tmp_path):
    """Whether that host still works there cannot be seen from here."""
    owner = {"host": "elsewhere", "process": 7, "since": "2026-01-01 00:00:00"}
    lock_of(tmp_path).write_text(json.dumps(owner))
    message = refusal(tmp_path)
    assert message.startswith(f"out: {tmp_path} was taken by process 7 on elsewhere since 2026-01-01 00:00:00, which ")
    assert message.endswith(f"if it no longer runs, remove {lock_of(tmp_path)}")
    assert json.loads(lock_of(tmp_path).read_text()) == owner


def test_it_is_given_back_after_an_error_and_is_the_directorys_own(tmp_path):
    with suppress(KeyError), owned("out", tmp_path):
        (tmp_path / "below").mkdir()
        with owned("out", tmp_path / "below"):
            raise KeyError
    with owned("out", tmp_path), owned("json", tmp_path / "file.json"):
        assert not (tmp_path / "file.json").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 9999, b'{"host": 7}', b'{"process": "\\n"}'])
def test_whatever_stands_in_a_lock_it_is_one_line_or_nothing(content, tmp_path):
    lock_of(tmp_path).write_bytes(content)
    if b"host" in content:
        refusal(tmp_path)
    else:
        with owned("out", tmp_path):
            pass


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_something_else_in_place_of_a_lock_is_one_line(kind, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    out = tmp_path / "out"
    out.mkdir()
    lock_of(out).mkdir() if kind == "folder" else lock_of(out).symlink_to(victim)
    assert "cannot be written" in refusal(out)
    assert victim.read_text() == "precious"


COMMANDS = {
    "train": ["ddg_ref", "train", "--model", "mlp", "--epochs", "0", "--out", "."],
    "compare": ["ddg_ref", "compare", "--model", "mlp", "--epochs", "0", "--out", "."],
    "timeline": ["ddg_ref", "timeline", "--model", "mlp", "--out", "."],
    "reproduce": ["ddg_ref", "reproduce", "resnet8", "--scale", "smoke", "--out", "."],
    "resume": ["ddg_ref", "train", "--resume", "."],
    "verify": ["theory", "verify", "--examples", "1", "--claims", "distance", "--json", "kept.json"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_writes_where_another_does(command, tmp_path, holder):
    holder(tmp_path / "kept.json" if command == "verify" else tmp_path)
    before = sorted(tmp_path.rglob("*"))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", *COMMANDS[command]], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert re.fullmatch(r"(ddg|error): \w+: \S+ is in use by process \d+ on .*\n", done.stderr)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_inside_a_comparison_has_one_owner_too(tmp_path, holder):
    (tmp_path / "bp-1").mkdir()
    holder(tmp_path / "bp-1")
    command = [sys.executable, "-m", *COMMANDS["compare"], "--runs", "bp"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"ddg: out: bp-1 is in use by process \d+ on .*\n", done.stderr)


def test_a_checkpoint_of_another_run_is_never_taken_up(tmp_path):
    mine, other = small_training(), small_training(seed=1)
    save(run_to(mine, 2), tmp_path / "mine")
    stray = save(run_to(other, 5), tmp_path / "other")
    stray.rename(tmp_path / "mine" / "checkpoints" / stray.name)
    with pytest.raises(CheckpointError, match=r"expected checkpoints of one run .*, got those of several: 0+2, 0+5; "):
        resume(tmp_path / "mine")
    with pytest.raises(CheckpointError, match=r"0+5: another run has written it; choose another directory"):
        save(run_to(mine, 5), tmp_path / "mine")


def test_a_run_is_the_same_run_after_it_was_resumed(tmp_path):
    from runs import TINY

    training = small_training()
    save(run_to(training, 2), tmp_path)
    again = resume(tmp_path, data=TINY)
    assert again.id == training.id != small_training().id
    rundir.save(finish(again).result(), tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["run"] == training.id
    weights = finish(training).result().weights
    assert all(np.array_equal(weights[name], array) for name, array in again.result().weights.items())
