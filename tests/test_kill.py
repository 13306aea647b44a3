"""Killed at any moment, resumed, killed again: the run ends with the bytes of one that nobody disturbed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[1]
SMALL = ["--model", "mlp", "--width", "8", "--split", "count", "--modules", "4", "--optimizer", "adam"]
KILLS = 32


def python(*arguments, **options):
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        **options,
    )


def history(directory):
    records = json.loads((directory / "run.json").read_text())["history"]
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


@pytest.fixture
def directory(tmp_path):
    """In memory: what a killed process has written the system has, and a disk slow to confirm would only cost time."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.slow
def test_sigkill_at_dozens_of_moments_changes_no_byte(directory):
    options = [*SMALL, "--epochs", "60", "--checkpoint-every", "5"]
    whole = python("-m", "ddg_ref", "train", *SMALL, "--epochs", "60", "--out", directory / "whole")
    assert whole.returncode == 0, whole.stderr
    done = python("tests/kill_helper.py", directory / "killed", KILLS, *options)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["status"] == 0
    assert report["killed"] == KILLS
    assert report["while_writing"] >= KILLS // 4, report
    weights = [(directory / name / "weights.safetensors").read_bytes() for name in ("whole", "killed")]
    assert weights[0] == weights[1]
    assert history(directory / "whole") == history(directory / "killed")
