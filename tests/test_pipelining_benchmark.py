"""`python -m benchmarks.pipelining`: its arithmetic, and, where PyTorch is, the whole of it once."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import pipelining
from benchmarks.pipelining import Found

ROOT = Path(__file__).parents[1]
CONTENDERS = {
    f"{method} {engine}": Found([10.0 * (1 + place), 40.0, 20.0], [0.2, 0.3, 0.1])
    for place, (method, engine) in enumerate((*pipelining.OURS, *((method, "torch") for method in pipelining.THEIRS)))
}


def test_ratios_are_taken_turn_by_turn():
    ours, theirs = Found([1.0, 10.0, 3.0], [0.1] * 3), Found([2.0, 4.0, 30.0], [0.2] * 3)
    rows = {(a, b): r for a, b, r in pipelining.rows(CONTENDERS | {"1f1b mpi": ours, "1f1b torch": theirs})}
    found = rows["1f1b mpi", "1f1b torch"]
    assert (found.lowest, found.median, found.highest) == (0.1, 0.5, 2.5)


def test_the_page_has_every_contender():
    text = pipelining.page({"mlp": CONTENDERS}, {"mlp": "an MLP"}, 3)
    assert all(f"\n| {name} | " in text for name in CONTENDERS)
    assert "(10.00 to 40.00) | 20 |" in text
    assert "1/5 = 20%" in text


def test_without_pytorch_it_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(pipelining, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        pipelining.main(["--out", str(tmp_path / "out")])
    assert capsys.readouterr().err.strip().endswith("pip install -r requirements-bench.txt")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("torch") is None, reason="no PyTorch: requirements-bench.txt has it")
def test_a_turn_of_it(tmp_path):
    command = [sys.executable, "-m", "benchmarks.pipelining", "narrow", "--repetitions", "1", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"pipelining.json", "pipelining.md", "pipelining.png"}
    assert done.stdout.count("a step within ") == len(pipelining.THEIRS)
