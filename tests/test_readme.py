"""What the README and the book tell a reader to type works, and prints what they show."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ddg_ref.methods import METHODS
from ddg_ref.schedule_files import flushed
from docs import shown

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {path: path.read_text(encoding="utf-8") for path in shown.documents()}
COMMAND = re.compile(r"^    python -m ddg_ref (.*--out .*)$", re.MULTILINE)
COMMANDS = sorted({found for text in PAGES.values() for found in COMMAND.findall(text)})
SHOWN = sorted({found for text in PAGES.values() for found in shown.SHOWN.findall(text)})
PROGRAMS = [
    pytest.param(code, id=path.stem)
    for path, text in PAGES.items()
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    if "ddg_ref.train(" in code
]
SHORTENED = {
    "train": ["--epochs", "0"],
    "compare": ["--epochs", "0"],
    "timeline": ["--count", "1"],
    "reproduce": ["--scale", "smoke"],
    "schedule": ["--epochs", "0"],
}


@pytest.mark.parametrize("code", PROGRAMS)
def test_quick_start_runs(code, tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "DDG_REF_CACHE": str(tmp_path / "cache"), "PATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split()[0]) > 0.9
    assert all((tmp_path / name).exists() for name in re.findall(r'savefig\("(.*)"\)', code))


def test_the_quick_starts_are_found():
    assert {"README", "running"} <= {program.id for program in PROGRAMS}


LONG = re.compile("reproduce all|train .*--(model resnet|engine mpi)")


@pytest.mark.parametrize(
    "command",
    [pytest.param(each, marks=pytest.mark.slow if LONG.match(each) else ()) for each in COMMANDS],
)
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


@pytest.mark.parametrize(("command", "output"), SHOWN)
def test_what_is_shown_is_what_is_printed(command, output):
    """`python -m docs.shown` writes it anew."""
    assert output == shown.printed(command)


def test_schedules_are_shown():
    assert {f"schedule show {name} --modules 3" for name in ("bp", "ddg", "1f1b")} <= {command for command, _ in SHOWN}


def test_every_method_has_a_page():
    pages = {path.stem: text for path, text in PAGES.items() if path.parent.name == "methods"}
    assert pages.keys() == METHODS.keys() | {"index"}
    for name, method in METHODS.items():
        assert pages[name].startswith(f"# `{name}`: ")
        assert f"({name}.md)" in pages["index"]
        for option in {option for option in method.options if option != "delay_scaling"}:
            assert f"--{option.replace('_', '-')}" in pages[name]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_tests_that_are_named_exist(path):
    """A test's name may be cut short by three dots."""
    tests = "\n".join(test.read_text(encoding="utf-8") for test in (ROOT / "tests").rglob("test_*.py"))
    for name, cut in re.findall(r"`(test_\w+?)(_?\.\.\.)?`", PAGES[path]):
        assert re.search(rf"def {name}{'' if cut else '[(]'}", tests), name


def test_linked_files_exist():
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (ROOT / target).exists(), target


def test_readme_is_short():
    assert len(README.splitlines()) <= 125


def test_lessons_are_linked():
    for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        assert f"](../notebooks/{path.name})" in PAGES[ROOT / "book" / "index.md"]
