"""Measured costs of layers: measured once, remembered, agreed upon by processes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from messages import input_error

from ddg_ref.layers import Conv2d, Flatten, Linear, ReLU, Residual, Sequential, Subsample
from ddg_ref.models import mlp
from ddg_ref.runs import costs
from ddg_ref.runs.costs import measure_costs, remembered_costs

NETWORK = Sequential(mlp((6,), 3, width=8, depth=3))
X = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DDG_REF_CACHE", str(tmp_path / "new" / "folder"))
    return tmp_path / "new" / "folder"


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_costs_are_measured_per_layer():
    costs = measure_costs(Sequential([Linear(400, 400), ReLU()]), np.ones((64, 400), np.float32))
    assert len(costs) == 2
    assert costs[0] > costs[1] > 0  # 40 million multiplications against 26 thousand comparisons


def test_costs_are_measured_once_and_remembered(cache, monkeypatch):
    first = remembered_costs(NETWORK, X)
    assert json.loads(only_file(cache).read_text())["seconds"] == first
    monkeypatch.setattr(costs, "measure_costs", None)
    assert remembered_costs(NETWORK, X) == first
    assert remembered_costs(Sequential(mlp((6,), 3, width=8, depth=3)), X + 1) == first


def test_another_process_remembers_the_same_costs(cache):
    program = """
import numpy as np
from ddg_ref.runs import costs
from ddg_ref import splitting
from ddg_ref.layers import Sequential
from ddg_ref.models import mlp
print(costs.remembered_costs(Sequential(mlp((6,), 3, width=8, depth=3)), np.zeros((5, 6), np.float32)))
"""
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert json.loads(told) == remembered_costs(NETWORK, X)


@pytest.mark.parametrize(
    ("network", "x"),
    [
        (NETWORK, X[:4]),
        (NETWORK, X.astype(np.float64)),
        (Sequential(mlp((6,), 3, width=9, depth=3)), X),
    ],
    ids=["batch size", "dtype", "width"],
)
def test_other_networks_and_batches_have_costs_of_their_own(cache, network, x):
    remembered_costs(NETWORK, X)
    remembered_costs(network, x)
    assert len(list(cache.iterdir())) == 2


def test_networks_that_differ_inside_a_block_have_costs_of_their_own(cache):
    x = np.ones((2, 4, 4, 1), np.float32)
    for kernel in (1, 3):
        block = Residual([Conv2d(1, 1, kernel, padding=kernel // 2)], Subsample(1, 1))
        remembered_costs(Sequential([block, Flatten(), Linear(16, 2)]), x)
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"seconds": 3}',
        '{"seconds": [1, 2]}',
        '{"seconds": [1, 2, 3, 4, NaN]}',
        '{"seconds": [1, 2, 3, 4, -5]}',
        '{"seconds": [1, 2, 3, 4, "much"]}',
        "\udcff",
    ],
)
def test_a_damaged_file_is_replaced(cache, text):
    first = remembered_costs(NETWORK, X)
    only_file(cache).write_text(text, errors="surrogateescape")
    second = remembered_costs(NETWORK, X)
    assert len(second) == len(first) == 5
    assert json.loads(only_file(cache).read_text())["seconds"] == second
    assert remembered_costs(NETWORK, X) == second


def test_a_layer_may_have_cost_nothing(cache):
    remembered_costs(NETWORK, X)
    only_file(cache).write_text('{"seconds": [0, 1, 2, 3, 4]}')
    assert remembered_costs(NETWORK, X) == [0, 1, 2, 3, 4]


def test_of_processes_that_start_together_the_first_to_write_wins(cache, monkeypatch):
    def while_another_process_is_quicker(network, x, device):
        monkeypatch.setattr(costs, "measure_costs", lambda network, x, device: [1.0] * 5)
        assert remembered_costs(network, x) == [1.0] * 5
        return [2.0] * 5

    monkeypatch.setattr(costs, "measure_costs", while_another_process_is_quicker)
    assert remembered_costs(NETWORK, X) == [1.0] * 5
    assert json.loads(only_file(cache).read_text())["seconds"] == [1.0] * 5


@pytest.mark.parametrize("below", [".", "folder", "folder/deeper"])
def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch, below):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / below
    monkeypatch.setenv("DDG_REF_CACHE", str(folder))
    with input_error(expected="cannot remember measured layer costs", got=folder, advice="set DDG_REF_CACHE"):
        remembered_costs(NETWORK, X)
