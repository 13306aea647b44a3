"""The lock file pins what the requirements ask for: `make lock` writes it."""

import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
LOCKED = ["requirements.txt", *(f"requirements-{name}.txt" for name in ("mpi", "dev", "book", "exercises"))]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
WRONG = ([], ["numpy==1.26"], ["numpy==2.0; python_version < '3.11'"], ["numpy==2.0", "numpy==2.1"])


def requirements(path: Path) -> list[Requirement]:
    """Those of the file itself: lines that include another file are left out."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return [Requirement(line) for line in lines if line and not line.startswith("-")]


def unmet(asked: list[Requirement], pinned: list[Requirement], python: str) -> list[str]:
    """What is asked for and not pinned to one version that will do, under this Python on Linux."""
    here = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    found = []
    for one in asked:
        pins = [
            pin
            for pin in pinned
            if canonicalize_name(pin.name) == canonicalize_name(one.name)
            and (pin.marker is None or pin.marker.evaluate(here))
        ]
        if len(pins) != 1 or not one.specifier.contains(str(pins[0].specifier).removeprefix("==")):
            found.append(str(one))
    return found


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("name", LOCKED)
def test_what_is_asked_for_is_pinned(name, python):
    pinned = requirements(ROOT / "constraints.txt")
    assert all(re.fullmatch(r"==[\w.+]+", str(pin.specifier)) for pin in pinned)
    assert unmet(requirements(ROOT / name), pinned, python) == []


@pytest.mark.parametrize("pins", WRONG)
def test_what_is_not_pinned_is_seen(pins):
    assert unmet([Requirement("numpy>=2.0")], [Requirement(pin) for pin in pins], "3.11") == ["numpy>=2.0"]
    assert unmet([Requirement("numpy>=2.0")], [Requirement("NumPy==2.0.1")], "3.11") == []


def test_where_it_is_used():
    assert "--constraint constraints.txt" in (ROOT / "Makefile").read_text()
    assert "-c ../constraints.txt" in (ROOT / ".binder" / "requirements.txt").read_text()
