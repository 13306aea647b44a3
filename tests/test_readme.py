"""What the README tells a reader to type works."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ddg_ref.methods import METHODS
from ddg_ref.schedule_files import flushed

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^    python -m ddg_ref (.*--out .*)$", README, flags=re.MULTILINE)
SHORTENED = {
    "train": ["--epochs", "0"],
    "compare": ["--epochs", "0"],
    "timeline": ["--count", "1"],
    "reproduce": ["--scale", "smoke"],
    "schedule": ["--epochs", "0"],
}


def test_quick_start_runs(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "DDG_REF_CACHE": str(tmp_path / "cache"), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[0]) > 0.9
    assert (tmp_path / "timeline.png").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_accepted(command, tmp_path):
    arguments = shlex.split(command)
    arguments[arguments.index("--out") + 1] = str(tmp_path)
    arguments += SHORTENED[arguments[0]]
    if "mine.csv" in arguments:
        arguments[arguments.index("mine.csv")] = str(tmp_path / "mine.csv")
        (tmp_path / "mine.csv").write_text(flushed(METHODS["1f1b"].schedule, 3, 4).text())
    if "--device" in arguments:  # a GPU, which a reader may have
        arguments[arguments.index("--device") + 1] = "cpu"
    done = subprocess.run([sys.executable, "-m", "ddg_ref", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_schedule_looks_as_it_is_shown():
    example = r"    python -m ddg_ref (schedule show .*)\n\n(    (?:.*\n)*?)\nThe last line"
    ((command, shown),) = re.findall(example, README)
    arguments = [sys.executable, "-m", "ddg_ref", *command.split()]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)
    printed = [line.rstrip() for line in done.stdout.splitlines()]
    assert [line.removeprefix("    ") for line in shown.splitlines()] == printed[:-1]


def test_linked_files_exist():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_lessons_are_linked():
    for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        assert f"](notebooks/{path.name})" in README
