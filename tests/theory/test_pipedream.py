"""The 1F1B scheduler against its own rules, and against DDG."""

import numpy as np
import pytest

from theory.delayed import ddg
from theory.families import make_problem
from theory.optimizers import SGD
from theory.pipedream import operations, pipedream


def test_order_of_operations():
    assert "".join(operations(0, 3, 5)) == "FFFBFBFBBB"
    assert "".join(operations(2, 3, 5)) == "FBFBFBFBFB"
    assert "".join(operations(0, 4, 2)) == "FFBB"


@pytest.mark.parametrize("K", range(1, 6))
def test_versions_without_any_algebra(K):
    """Stages that only count: the forward of minibatch b at stage k must find exactly b - d_k updates
    applied, and its backward must be handed those weights again."""
    forwards, backwards = [], []

    class Counting:
        def __init__(self, k):
            self.k = k

        def forward(self, w, h):
            forwards.append((self.k, h, w))
            return h, h

        def backward(self, w, cache, dout):
            assert cache == dout
            backwards.append((self.k, cache, w))
            return dout, None

    pipedream([Counting(k) for k in range(K)], [0] * K, range(9), lambda b, out: out, lambda k, w, dw, b: w + 1)
    assert sorted(forwards) == [(k, b, max(0, b - (K - 1 - k))) for k in range(K) for b in range(9)]
    assert sorted(backwards) == sorted(forwards)


@pytest.mark.parametrize("K", range(1, 6))
def test_same_weights_as_ddg_bit_for_bit_after_draining(K):
    network = make_problem("network", K, 4, seed=K)
    samples = np.random.default_rng(0).integers(4, size=12)
    w0 = np.random.default_rng(1).normal(size=network.d)
    stages = pipedream(
        network.layers,
        [w0[None, block] for block in network.blocks],
        [network.inputs[i][None] for i in samples],
        lambda b, out: network.error_gradient(samples[b], out),
        lambda k, w, dw, b: w - 0.3 * dw,
    )
    w = ddg(network, w0, samples[None], SGD(np.full(12, 0.3)))
    for k, block in enumerate(network.blocks):
        delay = K - 1 - k
        assert len(stages[k]) == 13
        for t in range(delay, 13):
            assert np.array_equal(w[t][:, block], stages[k][t - delay])


def test_current_weights_in_backward_are_another_algorithm():
    """Without the stash, PipeDream would not be DDG: the test above can fail."""
    network = make_problem("network", 3, 4, seed=3)
    w0 = np.random.default_rng(1).normal(size=network.d)
    newest = {}

    class Unstashed:
        def __init__(self, layer, k):
            self.layer, self.k = layer, k

        def forward(self, w, h):
            return self.layer.forward(w, h)

        def backward(self, w, cache, dout):
            return self.layer.backward(newest.get(self.k, w), cache, dout)

    def update(k, w, dw, b):
        newest[k] = w - 0.3 * dw
        return newest[k]

    def train(stages):
        inputs = [network.inputs[b % 4][None] for b in range(8)]
        w = [w0[None, block] for block in network.blocks]
        return pipedream(stages, w, inputs, lambda b, out: network.error_gradient(b % 4, out), update)

    honest = train(network.layers)
    newest.clear()
    unstashed = train([Unstashed(layer, k) for k, layer in enumerate(network.layers)])
    assert not np.array_equal(honest[0][-1], unstashed[0][-1])


def test_no_stages_are_refused():
    with pytest.raises(ValueError, match="K: expected an integer >= 1, got 0"):
        pipedream([], [], [1], lambda b, out: out, lambda k, w, dw, b: w)
