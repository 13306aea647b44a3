"""What of `make gpu-check` can be tested without a GPU: its sums, its report, and what it says where there is none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checked import REAL

from benchmarks.gpu import covered, go_through, report, run_tests

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


def test_what_the_tests_say_is_passed_on(capfd):
    assert run_tests(["sh", "-c", "echo one; echo two >&2; echo == 3 passed =="]) == {
        "passed": True,
        "summary": "3 passed",
    }
    assert run_tests(["sh", "-c", "echo 1 failed; exit 1"]) == {"passed": False, "summary": "1 failed"}
    assert run_tests(["true"]) == {"passed": True, "summary": "nothing"}
    assert capfd.readouterr().out == "one\ntwo\n== 3 passed ==\n1 failed\n"


def test_a_test_that_never_ends_is_named(capfd):
    found = run_tests(["sh", "-c", "echo test_first PASSED; printf 'test_second '; exec sleep 60"], seconds=2)
    assert found == {"passed": False, "summary": "not done after 2 seconds, at: test_second"}
    assert capfd.readouterr().out == "test_first PASSED\ntest_second "


def test_what_was_found_is_written_down_whatever_comes_after(tmp_path):
    def found():
        yield ["tests"], {"passed": True, "summary": "all"}
        yield ["ratios", "MLP"], {"speed-up": RATIO}
        yield ["asked", "MLP", "bp K=1"], RESULT["asked"]["MLP"]["bp K=1"]
        raise MemoryError

    result = RESULT | {"ratios": {}, "asked": {}}
    with pytest.raises(MemoryError):
        go_through(found(), result, tmp_path)
    expected = RESULT | {"tests": {"passed": True, "summary": "all"}}
    assert json.loads((tmp_path / "gpu.json").read_text()) == {"written_by": "ddg_ref", "kind": "gpu.json"} | expected
    assert (tmp_path / "gpu.md").read_text() == report(expected)


@pytest.mark.skipif(REAL > 0, reason="says what is missing, and nothing is")
def test_without_a_gpu_it_ends_with_one_line(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("benchmarks.gpu: device cuda:0: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
