import json
import subprocess
import sys
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import input_error
from strategies import cut_points, networks, seeds

from ddg_ref import splitting
from ddg_ref.layers import Conv2d, Flatten, Linear, ReLU, Residual, Sequential, Subsample
from ddg_ref.methods import METHODS
from ddg_ref.models import mlp
from ddg_ref.modules import Pipeline
from ddg_ref.optimizers import SGD
from ddg_ref.splitting import balance, check_cuts, measure_costs, remembered_costs

NETWORK = Sequential(mlp((6,), 3, width=8, depth=3))
X = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)


# Balance


def quality(costs, cuts):
    """Largest part, then sum of squares: smaller is better."""
    parts = [sum(costs[start:stop]) for start, stop in pairwise([0, *cuts, len(costs)])]
    return max(parts), sum(part**2 for part in parts)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.data())
def test_balance_is_as_good_as_any_cuts(costs, data):
    K = data.draw(st.integers(1, len(costs)))
    cuts = balance(costs, K)
    assert len(cuts) == K - 1
    assert check_cuts(cuts, len(costs)) == cuts
    assert quality(costs, cuts) == min(quality(costs, other) for other in combinations(range(1, len(costs)), K - 1))


def test_among_equally_balanced_cuts_the_most_even_ones_are_taken():
    assert balance([1.0] * 8, 4) == [2, 4, 6]
    assert balance([9, 1, 1, 1, 1], 3) == [1, 3]
    costs = [3, 3, 6, 1, 7, 7, 0]  # the best beginning is not the beginning of the best
    assert quality(costs, balance(costs, 5)) == (7, 165)


def test_one_layer_each():
    assert balance([5, 1, 1], 3) == [1, 2]


@pytest.mark.parametrize("K", [-1, 0, 4])
def test_too_many_or_too_few_modules(K):
    with input_error(expected="modules: expected 1 to 3", got=f"got {K}", advice="choose another number"):
        balance([1, 2, 3], K)


@pytest.mark.parametrize("cuts", [[0], [4], [2, 2], [3, 1], [-1], [1, 5]])
def test_cuts_must_leave_every_module_a_layer(cuts):
    with input_error(
        expected="expected increasing layer numbers from 1 to 3", got=f"got {cuts}", advice="begins a module"
    ):
        check_cuts(cuts, 4)


# What the modules of a cut network are


@given(st.data(), networks(), seeds)
def test_the_modules_are_the_network(data, network, seed):
    whole = Sequential(network.layers)
    cuts = data.draw(cut_points(len(network.layers)))
    rng = np.random.default_rng(seed)
    params, stats = whole.init(rng), whole.init_stats()
    pipeline = Pipeline.cut(whole, cuts, METHODS["ddg"], SGD(), params, stats)
    K = len(cuts) + 1
    assert [module.k for module in pipeline.modules] == list(range(1, K + 1))
    assert [module.delay for module in pipeline.modules] == list(range(K))[::-1]
    assert pipeline.delay == K - 1
    assert list(pipeline.params) == list(params)
    assert list(pipeline.stats) == list(stats)
    assert [layer for module in pipeline.modules for layer in module.layers.layers] == network.layers

    h = x = rng.standard_normal((3, *network.input_shape)).astype(np.float32)
    for module in pipeline.modules:
        h = module.forward(0, h)
    y, cache = whole.forward(params, x)
    assert h.tobytes() == y.tobytes()
    assert all(pipeline.stats[name].tobytes() == new.tobytes() for name, new in whole.advance(stats, cache).items())

    dy = dh = rng.standard_normal(y.shape).astype(np.float32)
    dx, grads = whole.backward(params, cache, dy)
    for module in reversed(pipeline.modules):
        dh, own = module.backward(0, dh)
        assert all(own[name].tobytes() == grads[name].tobytes() for name in module.params)
    assert dh.tobytes() == dx.tobytes()


# Measured costs


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
    monkeypatch.setattr(splitting, "measure_costs", None)
    assert remembered_costs(NETWORK, X) == first
    assert remembered_costs(Sequential(mlp((6,), 3, width=8, depth=3)), X + 1) == first


def test_another_process_remembers_the_same_costs(cache):
    program = """
import numpy as np
from ddg_ref import splitting
from ddg_ref.layers import Sequential
from ddg_ref.models import mlp
print(splitting.remembered_costs(Sequential(mlp((6,), 3, width=8, depth=3)), np.zeros((5, 6), np.float32)))
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


def test_of_processes_that_start_together_the_first_to_write_wins(cache, monkeypatch):
    def while_another_process_is_quicker(network, x):
        monkeypatch.setattr(splitting, "measure_costs", lambda network, x: [1.0] * 5)
        assert remembered_costs(network, x) == [1.0] * 5
        return [2.0] * 5

    monkeypatch.setattr(splitting, "measure_costs", while_another_process_is_quicker)
    assert remembered_costs(NETWORK, X) == [1.0] * 5
    assert json.loads(only_file(cache).read_text())["seconds"] == [1.0] * 5


@pytest.mark.parametrize("below", [".", "folder", "folder/deeper"])
def test_a_cache_that_cannot_be_written(tmp_path, monkeypatch, below):
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / below
    monkeypatch.setenv("DDG_REF_CACHE", str(folder))
    with input_error(expected="cannot remember measured layer costs", got=folder, advice="set DDG_REF_CACHE"):
        remembered_costs(NETWORK, X)
