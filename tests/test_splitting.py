"""Cuts: balanced, or as the caller says."""

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import input_error
from networks import Problem, assert_same_bits, state
from strategies import cut_points, networks, seeds

from ddg_ref.layers import Sequential
from ddg_ref.methods import METHODS
from ddg_ref.models import mlp
from ddg_ref.modules import Pipeline
from ddg_ref.optimizers import SGD
from ddg_ref.splitting import balance, check_cuts

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


@pytest.mark.parametrize("n", range(1, 9))
def test_balance_is_as_good_as_any_cuts_of_many_networks(n):
    """Costs of few values, some 0, where many cuts are equally good in the largest part."""
    rng = np.random.default_rng(n)
    for K in range(1, min(n, 4) + 1):
        for costs in rng.integers(0, [[3], [10]] * 75, (150, n)).tolist():
            best = min(quality(costs, cuts) for cuts in combinations(range(1, n), K - 1))
            assert quality(costs, balance(costs, K)) == best


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


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("cuts", [(4,), (7,), (4, 6), (5, 11, 17), tuple(range(1, 23))], ids=str)
def test_a_residual_block_can_be_cut_inside(cuts, method):
    problem = Problem("resnet", cuts=cuts, iterations=len(cuts) + 3)
    whole, pipeline = Problem("resnet").pipeline(method), problem.pipeline(method)
    assert list(pipeline.params) == list(whole.params)
    assert all(module.params or module.layers.parameter_shapes() == {} for module in pipeline.modules)
    trained = problem.run("threads", method)
    assert_same_bits(state(trained), state(problem.run("reference", method)))
    if method == "bp":
        assert_same_bits(trained.params, Problem("resnet", iterations=problem.iterations).run("reference", "bp").params)


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
    _, grads = whole.backward(params, cache, dy)
    for module in reversed(pipeline.modules):
        dh, own = module.backward(0, dh)
        assert all(own[name].tobytes() == grads[name].tobytes() for name in module.params)
    assert dh is None  # nobody wants the gradient of the data
