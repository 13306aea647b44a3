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
