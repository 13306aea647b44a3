"""A long run in constant memory: the soak of `python -m benchmarks.soak`, shortened, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import soak


def test_memory_stays_constant_and_the_bits_are_those_of_the_reference():
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "benchmarks.soak", "--iterations", "3000"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the bits of the reference" in done.stdout


def test_the_soak_would_notice_a_leak(monkeypatch, capsys):
    """One forgotten activation per iteration is more than it allows."""
    kept, forward = [], soak.Training.evaluate

    def leaking(training):
        kept.append(bytes(soak.BATCH * 8 * 8 * training.batches.per_epoch))
        return forward(training)

    monkeypatch.setattr(soak.Training, "evaluate", leaking)
    monkeypatch.setattr(sys, "argv", ["soak", "--iterations", "3000"])
    with pytest.raises(SystemExit, match="allocated by Python: memory grows"):
        soak.main()
