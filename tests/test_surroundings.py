"""What a terminal, a scheduler, a moved file or another directory may and may not change."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
QUICK = ["--model", "mlp", "--width", "8", "--batch-size", "200", "--split", "count", "--epochs", "1"]


def ddg(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "ddg_ref", *map(str, arguments)],
        capture_output=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        timeout=120,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="module")
def unfinished(tmp_path_factory):
    """A run of engine threads that has a checkpoint but no result."""
    out = tmp_path_factory.mktemp("runs")
    done = ddg("train", *QUICK, "--checkpoint-every", 3, "--out", out)
    assert done.returncode == 0, done.stderr
    (out / "run.json").unlink()
    return out


@pytest.mark.parametrize(
    ("command", "rank"),
    [
        ("train", {"PMI_RANK": "1"}),
        ("train", {"PMIX_RANK": ""}),
        ("resume", {"PMI_RANK": "1"}),
        ("resume", {"OMPI_COMM_WORLD_RANK": "x"}),
        ("compare", {"PMI_RANK": "1"}),
        ("help", {"PMI_RANK": "1"}),
    ],
    ids=str,
)
def test_a_schedulers_rank_changes_nothing_without_mpi(command, rank, unfinished, tmp_path):
    arguments = {
        "train": ["train", *QUICK, "--out", tmp_path],
        "resume": ["train", "--resume", unfinished],
        "compare": ["compare", *QUICK, "--runs", "bp", "--out", tmp_path],
        "help": ["train", "--help"],
    }[command]
    done = ddg(*arguments, **rank)
    (unfinished / "run.json").unlink(missing_ok=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert len(done.stdout.splitlines()) >= 2


def test_every_message_can_be_printed_in_ascii(tmp_path):
    """Where the first thing to be said is a message, too."""
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for arguments in (
        ["train", "--out", "r\u00e9", "--model", "r\u00e9"],
        ["timeline", *QUICK[:-2], "--out", "r\u00e9"],
    ):
        done = ddg(*arguments, cwd=tmp_path, **ascii_only)
        assert b"Traceback" not in done.stderr
        assert b"r" in done.stdout + done.stderr
    assert (tmp_path / "r\u00e9" / "trace.json").exists()


@pytest.mark.parametrize("command", [["train"], ["compare", "--runs", "bp,ddg:2"]], ids=lambda command: command[0])
def test_a_narrow_terminal_in_ascii_gets_every_number(command, tmp_path):
    narrow = {"COLUMNS": "40", "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    out = tmp_path / "r\u00e9sultats"
    done = ddg(*command, *QUICK, "--out", out, **narrow)
    assert (done.returncode, done.stderr) == (0, b"")
    printed = done.stdout.decode()
    run = json.loads(next(out.rglob("run.json")).read_text())
    assert f"{100 * run['final_test_accuracy']:.2f}" in printed
    if command == ["train"]:
        last = run["history"][-1]
        numbers = ["1", str(last["iteration"]), f"{last['train_loss']:.4f}", f"{100 * last['train_accuracy']:.2f}"]
        assert printed.splitlines()[1].split()[:4] == numbers


def test_a_moved_file_is_no_damage_and_its_new_place_may_be_given(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "here").mkdir()
    np.savez(tmp_path / "here" / "own.npz", x=rng.standard_normal((60, 5)), y=np.arange(60) % 3)
    options = ["train", *QUICK, "--data", "own.npz", "--batch-size", "8", "--checkpoint-every", "2"]
    done = ddg(*options, "--out", tmp_path / "run", cwd=tmp_path / "here")
    assert done.returncode == 0, done.stderr
    whole = (tmp_path / "run" / "weights.safetensors").read_bytes()
    stored = json.loads((tmp_path / "run" / "run.json").read_text())["config"]["data"]
    assert stored == str(tmp_path / "here" / "own.npz")  # so it is found from any directory
    (tmp_path / "run" / "run.json").unlink()

    (tmp_path / "here" / "own.npz").rename(tmp_path / "there.npz")
    checkpoints = sorted((tmp_path / "run" / "checkpoints").iterdir())
    done = ddg("train", "--resume", tmp_path / "run")
    assert done.returncode == 2
    assert done.stderr.count(b"\n") == 1
    assert b"--data and --data-dir may say where it lies now" in done.stderr
    assert b"remove" not in done.stderr
    assert sorted((tmp_path / "run" / "checkpoints").iterdir()) == checkpoints

    np.savez(tmp_path / "other.npz", x=rng.standard_normal((60, 5)), y=np.arange(60) % 3)
    done = ddg("train", "--resume", "run", "--data", "other.npz", cwd=tmp_path)
    assert done.returncode == 2
    assert b"it was written with other data than " in done.stderr

    done = ddg("train", "--resume", "run", "--data", "there.npz", "--engine", "reference", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "weights.safetensors").read_bytes() == whole


def test_a_resumed_run_keeps_its_other_options(unfinished):
    done = ddg("train", "--resume", unfinished, "--lr", "0.5")
    assert done.returncode == 2
    assert done.stderr.startswith(b"ddg: lr: the run was started with 0.05, got 0.5; only --data, --engine, ")
    done = ddg("train", "--resume", unfinished, "--device", "cpu", "--checkpoint-every", "1", "--stall-timeout", "60")
    assert (done.returncode, done.stderr) == (0, b"")
    (unfinished / "run.json").unlink()


def test_cuts_and_devices_count_for_the_runs_that_have_so_many_modules(tmp_path):
    options = [*QUICK, "--split", "2,5,6", "--out", tmp_path]
    done = ddg("compare", *options, "--runs", "bp,ddg:4", "--device", "cpu,cpu,cpu,cpu")
    assert done.returncode == 0, done.stderr
    modules = json.loads((tmp_path / "ddg-4" / "run.json").read_text())["modules"]
    assert [module["layers"][0] for module in modules] == [0, 2, 5, 6]
    done = ddg("compare", *options, "--runs", "bp,ddg:2", "--overwrite")
    assert done.stderr.startswith(b"ddg: split: expected 1 cut points for 2 modules, got 3 (2,5,6)")


@pytest.mark.parametrize("option", [["--split", "3,6"], ["--split", "cots"], ["--device", "cpu,cpu"]], ids=str)
def test_what_no_run_of_a_comparison_would_use_is_refused(option, tmp_path):
    done = ddg("compare", *QUICK, "--runs", "bp,ddg", *option, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert done.stderr.endswith(b"expected runs of several modules, got one for each; leave it out\n")
    assert not (tmp_path / "out").exists()
