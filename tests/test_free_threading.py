"""Pythons without the interpreter lock: it stays off, and the environment says which one this is."""

import subprocess
import sys
import sysconfig
from pathlib import Path
from platform import python_version

import pytest

from ddg_ref.tools import environment

ROOT = Path(__file__).parents[1]
EVERYTHING = """
import importlib, pkgutil, sys, warnings
import ddg_ref, theory
warnings.simplefilter("error")
without = ("cuda", "kernels", "mpi", "tight", "__main__")
for package in (ddg_ref, theory):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not any(part in without for part in found.name.split(".")):
            importlib.import_module(found.name)
ddg_ref.train(data="digits", model="cnn", method="ddg", modules=2, engine="threads", iterations=3, split="count")
print(sys._is_gil_enabled())
"""


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="this Python has the interpreter lock")
def test_nothing_that_is_imported_switches_the_lock_on():
    done = subprocess.run([sys.executable, "-c", EVERYTHING], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


@pytest.mark.parametrize(
    ("built_without", "locked", "said"),
    [
        (0, True, ""),
        (None, True, ""),
        (1, True, " free-threaded, interpreter lock on"),
        (1, False, " free-threaded, interpreter lock off"),
    ],
)
def test_the_environment_says_which_python_this_is(monkeypatch, built_without, locked, said):
    monkeypatch.setattr(environment.sysconfig, "get_config_var", lambda name: built_without)
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: locked, raising=False)
    assert environment.interpreter() == python_version() + said
    assert environment.environment()["python"] == environment.interpreter()


WITHOUT_SAFETENSORS = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "safetensors":
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
"""
QUICK = ["--model", "mlp", "--width", "4", "--batch-size", "500", "--split", "count", "--epochs", "1"]


def without_safetensors(code, *arguments):
    command = [sys.executable, "-c", WITHOUT_SAFETENSORS + code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_without_safetensors_it_trains_all_the_same():
    code = "import ddg_ref\nprint(ddg_ref.train(data='digits', model='mlp', width=4, epochs=1).history[-1].epoch)"
    done = without_safetensors(code)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


@pytest.mark.parametrize("command", [["train"], ["compare", "--runs", "bp,ddg:2"], ["reproduce", "staleness"]])
def test_without_safetensors_what_would_keep_weights_is_refused_before_training(command, tmp_path):
    options = ["--scale", "smoke"] if command[0] == "reproduce" else QUICK
    code = "from ddg_ref.cli.main import main\nmain()"
    done = without_safetensors(code, *command, *options, "--out", tmp_path / "out")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("ddg: safetensors: expected this package, ")
    assert done.stderr.endswith("(3.14t has one, 3.13t has not)\n")
    assert done.returncode == 2
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {".lock", "scale.json"}


def test_without_safetensors_a_timeline_needs_none(tmp_path):
    code = "from ddg_ref.cli.main import main\nmain()"
    done = without_safetensors(code, "timeline", *QUICK[:-2], "--count", 1, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
