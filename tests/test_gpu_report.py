"""What of `make gpu-check` can be tested without a GPU: its steps on a checked one, its report, and what it says where
there is none."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from checked import REAL, Violation, installed

from benchmarks import gpu
from benchmarks.gpu import calls, covered, differences, event_seconds, go_through, report, run_tests
from ddg_ref.gpu import kernels
from ddg_ref.gpu.cuda import Cuda

ROOT = Path(__file__).parents[1]
of_the_checked_one = pytest.mark.skipif(REAL > 0, reason="says something of the checked CuPy, and a real one is here")

BARE = """
import sys

NAMES = {"platformdirs", "pooch", "hypothesis", "typer", "pytest", "threadpoolctl", "safetensors", "rich", "tqdm",
    "matplotlib", "scipy", "sklearn"}


class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError(name=name)


sys.meta_path.insert(0, Bare())
import importlib.util
looked = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name in NAMES else looked(name)
sys.path.insert(0, "tests")
from pathlib import Path
from benchmarks import gpu
from benchmarks.contenders import mlp, resnet
from checked import installed

gpu.METHODS = ("bp", "ddg")
gpu.kernel_times = lambda repetitions, times=gpu.kernel_times: times(repetitions, images=2)
with installed(1):
    works = [mlp(8, 8, iterations=2), resnet(8, 2, iterations=2)]
    gpu.go_through(gpu.steps(works, 1), {"date": "2026-01-02"}, Path(sys.argv[1]))
"""
"""A Python that has NumPy, the standard library and a CuPy."""


@of_the_checked_one
def test_on_a_bare_machine_every_step_is_gone_through_in_order(tmp_path):
    done = subprocess.run([sys.executable, "-c", BARE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "gpu.json").read_text())["steps"]
    failed = {name for name, step in found.items() if "failed" in step}
    assert failed == {"tests"}
    assert found["tests"]["failed"].startswith("ModuleNotFoundError: expected pytest and hypothesis")
    kinds = [name.partition(":")[0].partition(",")[0] for name in found]
    assert list(dict.fromkeys(kinds)) == [
        *("versions", "calls", "float64 against the CPU", "threads against the reference", "kernels", "modules"),
        *("PyTorch", "one core's time over the GPU's", "tests"),
    ]
    assert set(found["calls"]["found"].values()) == {"ok"}
    assert found["modules, milliseconds: ResNet-8, batch 2, ddg K=4"]["found"].keys() == {
        *("wall", "module 1", "module 2", "module 3", "module 4")
    }


@of_the_checked_one
def test_a_kernel_that_computes_something_else_is_named(monkeypatch):
    def wrong(scale, variance, eps):
        return scale * 1.001

    monkeypatch.setattr(kernels.factor, "on_gpu", wrong)
    with installed(1), pytest.raises(ArithmeticError, match="a difference of "):
        differences("resnet")


@of_the_checked_one
def test_a_call_that_fails_is_named_and_the_others_go_on(monkeypatch):
    monkeypatch.setattr(gpu, "column_dots", lambda *arrays: 1 / 0)
    with installed(1):
        found = calls()
    assert found.pop("sums of products") == "ZeroDivisionError: division by zero"
    assert set(found.values()) == {"ok"}


@of_the_checked_one
def test_bits_that_differ_are_named(monkeypatch):
    count = iter(range(10**6))

    def unsure(self, message, original=Cuda.receive):
        return original(self, message) * (1 + 1e-3 * next(count))

    monkeypatch.setattr(Cuda, "receive", unsure)
    with installed(1), pytest.raises(ArithmeticError, match="'ddg': \"differ: "):
        gpu.bits("mlp")


@of_the_checked_one
def test_times_are_asked_for_when_they_are_there(monkeypatch):
    with installed(1) as world, Cuda(0).opened():
        assert event_seconds(lambda: None, 3, calls=10) == 1e-4
        cuda = sys.modules["cupy"].cuda
        stream, before, after = cuda.get_current_stream(), cuda.Event(), cuda.Event()
        stream.record(before)
        stream.record(after)
        with pytest.raises(Violation, match="before it was done"):
            cuda.get_elapsed_time(before, after)
        after.synchronize()
        assert cuda.get_elapsed_time(before, after) == 1
        assert world.waits


@pytest.mark.parametrize(
    ("spans", "part"),
    [([], 0), ([(0, 4)], 1), ([(0, 1), (3, 4)], 0.5), ([(0, 3), (1, 2), (2, 4)], 1), ([(1, 2), (1, 3), (4, 5)], 0.75)],
)
def test_covered(spans, part):
    assert covered(spans) == part


def test_the_report_says_what_was_found():
    result = {
        "date": "2026-01-02",
        "steps": {
            "versions": {"found": {"gpu": "A GPU", "environment": {"numpy": "2.5"}}, "seconds": 0.1},
            "calls": {"found": {"a product": "ok", "a convolution": "ValueError: no"}, "seconds": 2.0},
            "bits": {"failed": "ArithmeticError: they differ\nand so on", "seconds": 1.0},
            "kernels": {"found": {"sums": {"microseconds": 12.34567}}, "seconds": 1.0},
        },
    }
    lines = report(result).splitlines()
    assert lines[0] == "# A GPU, 2026-01-02"
    assert "Failed: bits, a convolution." in lines
    assert "FAILED: ArithmeticError: they differ" in lines
    assert "| environment: numpy | 2.5 |" in lines
    assert "| sums: microseconds | 12.35 |" in lines


def test_what_the_tests_say_is_passed_on(capfd):
    assert run_tests(["sh", "-c", "echo one; echo two >&2; echo == 3 passed =="]) == {"passed": "3 passed"}
    with pytest.raises(RuntimeError, match="1 failed"):
        run_tests(["sh", "-c", "echo 1 failed; exit 1"])
    assert run_tests(["true"]) == {"passed": "nothing"}
    assert capfd.readouterr().out == "one\ntwo\n== 3 passed ==\n1 failed\n"


def test_a_test_that_never_ends_is_named(capfd):
    with pytest.raises(RuntimeError, match="not done after 2 seconds, at: test_second"):
        run_tests(["sh", "-c", "echo test_first PASSED; printf 'test_second '; exec sleep 60"], seconds=2)
    assert capfd.readouterr().out == "test_first PASSED\ntest_second "


def test_what_was_found_is_written_down_whatever_comes_after(tmp_path):
    def fail():
        raise MemoryError("no room")

    def interrupt():
        raise KeyboardInterrupt

    result = {"date": "2026-01-02"}
    with pytest.raises(KeyboardInterrupt):
        go_through([("first", fail), ("second", lambda: {"x": 1}), ("third", interrupt)], result, tmp_path)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert found["steps"]["first"]["failed"] == "MemoryError: no room"
    assert "in fail" in found["steps"]["first"]["traceback"]
    assert found["steps"]["second"]["found"] == {"x": 1}
    assert (tmp_path / "gpu.md").read_text() == report(result)
    assert not go_through([("first", fail)], {"date": ""}, tmp_path / "other")
    assert go_through([("first", dict)], {"date": ""}, tmp_path / "third")


@pytest.mark.skipif(REAL > 0, reason="says what is missing, and nothing is")
def test_without_a_gpu_it_ends_with_one_line(tmp_path):
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("benchmarks.gpu: device cuda:0: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
