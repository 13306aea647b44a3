"""What of `make gpu-check` can be tested without a GPU: its sums, its report, and what it says where there is none."""

import subprocess
import sys
from pathlib import Path

import pytest
from checked import REAL

from benchmarks.gpu import covered, report

ROOT = Path(__file__).parents[1]
RATIO = {"median": 1.25, "lowest": 1.1, "highest": 1.5}
RESULT = {
    "gpu": "A GPU",
    "date": "2026-01-02",
    "cupy": "14.0",
    "cuda": 13000,
    "torch": None,
    "environment": {"numpy": "2.5"},
    "repetitions": 7,
    "tests": {"passed": False, "summary": "1 failed"},
    "ratios": {"MLP": {"speed-up": RATIO}},
    "asked": {"MLP": {"bp K=1": {"launches": 100.4, "waits": 0.0, "busy": 0.5}}},
}


@pytest.mark.parametrize(
    ("spans", "part"),
    [([], 0), ([(0, 4)], 1), ([(0, 1), (3, 4)], 0.5), ([(0, 3), (1, 2), (2, 4)], 1), ([(1, 2), (1, 3), (4, 5)], 0.75)],
)
def test_covered(spans, part):
    assert covered(spans) == part


def test_the_report_says_what_was_found():
    lines = report(RESULT).splitlines()
    assert lines[0] == "# A GPU, 2026-01-02"
    assert "Tests on the GPU: FAILED (1 failed)." in lines
    assert "| MLP | speed-up | 1.25 | 1.10 | 1.50 |" in lines
    assert "| MLP | bp K=1 | 100 | 0.0 | 50% |" in lines


@pytest.mark.skipif(REAL > 0, reason="says what is missing, and nothing is")
def test_without_a_gpu_it_ends_with_one_line(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("benchmarks.gpu: device cuda:0: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
