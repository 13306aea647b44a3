"""Against formulas written in another way: moments as explicit sums, Nesterov's method as he states it."""

from dataclasses import FrozenInstanceError
from inspect import signature
from math import inf, nan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import input_error
from strategies import seeds

from ddg_ref.optimizers import OPTIMIZERS, SGD, Adam, NAdam, Optimizer

RULES = {
    "plain": SGD(momentum=0),
    "decay": SGD(momentum=0, weight_decay=0.1),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.8, nesterov=True, weight_decay=1e-3),
    "adam": Adam(),
    "adam, decay": Adam(beta1=0.5, beta2=0.9, weight_decay=0.01),
    "nadam": NAdam(),
    "nadam, decay": NAdam(beta1=0.5, beta2=0.9, weight_decay=0.01),
}
SHAPES = {"0.weight": (3, 4), "0.bias": (4,), "2.weight": (2, 2, 4, 1)}

every_rule = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def draw(rng, dtype=np.float64):
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


def freeze(arrays):
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


def steps(rule, params, gradients, gammas):
    """The parameters after each step."""
    state, path = rule.init(params), [params]
    for grads, gamma in zip(gradients, gammas, strict=True):
        params, state = rule.update(params, grads, state, gamma)
        path.append(params)
    return path


def test_every_optimizer_is_among_the_rules():
    assert {type(rule) for rule in RULES.values()} == set(OPTIMIZERS.values())


@every_rule
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nothing_is_written_in_place_and_shapes_and_dtypes_stay(rule, dtype):
    rng = np.random.default_rng(0)
    params = freeze(draw(rng, dtype))
    state = rule.init(params)
    for step in range(3):
        assert state.step == step
        for moments in state.slots.values():
            freeze(moments)
        new, new_state = rule.update(params, freeze(draw(rng, dtype)), state, 0.1)
        for arrays in (new, *new_state.slots.values()):
            assert {name: (w.shape, w.dtype) for name, w in arrays.items()} == {
                n: (s, dtype) for n, s in SHAPES.items()
            }
        assert not any(np.shares_memory(new[name], params[name]) for name in params)
        params, state = freeze(new), new_state


@every_rule
@given(seeds)
def test_parts_of_the_parameters_get_the_same_bits(rule, seed):
    rng = np.random.default_rng(seed)
    params, gradients = draw(rng, np.float32), [draw(rng, np.float32) for _ in range(3)]
    whole = steps(rule, params, gradients, [0.1, 0.2, 0.05])[-1]
    for name in SHAPES:
        part = steps(rule, {name: params[name]}, [{name: g[name]} for g in gradients], [0.1, 0.2, 0.05])[-1]
        assert part[name].tobytes() == whole[name].tobytes()


@given(st.floats(0, 0.99), st.floats(0, 0.5), seeds)
def test_sgd_with_momentum_as_a_sum(momentum, decay, seed):
    rng = np.random.default_rng(seed)
    params, gammas = draw(rng), rng.uniform(0.01, 0.2, 5)
    gradients = [draw(rng) for _ in gammas]
    path = steps(SGD(momentum=momentum, weight_decay=decay), params, gradients, gammas)
    for name in SHAPES:
        g = [grads[name] + decay * w[name] for grads, w in zip(gradients, path[:-1], strict=True)]
        for n, gamma in enumerate(gammas, 1):
            velocity = sum(momentum ** (n - 1 - j) * g[j] for j in range(n))
            np.testing.assert_allclose(path[n][name], path[n - 1][name] - gamma * velocity, rtol=0, atol=1e-12)


def test_nesterov_as_it_is_stated():
    # theta' = theta + v', v' = momentum v - gamma grad(theta + momentum v), on f = |A w|^2 / 2.
    # The optimizer goes through the points w = theta + momentum v at which gradients are taken.
    rng = np.random.default_rng(0)
    a, gamma, momentum = rng.standard_normal((4, 4)), 0.05, 0.9
    rule, params = SGD(momentum=momentum, nesterov=True), {"w": rng.standard_normal(4)}
    theta, v, state = params["w"], np.zeros(4), rule.init(params)
    for _ in range(10):
        v = momentum * v - gamma * (a.T @ a @ (theta + momentum * v))
        theta = theta + v
        params, state = rule.update(params, {"w": a.T @ a @ params["w"]}, state, gamma)
        np.testing.assert_allclose(params["w"], theta + momentum * v, rtol=0, atol=1e-12)


@given(st.floats(0, 0.99), st.floats(0, 0.999), st.floats(0, 0.5), seeds)
def test_adam_as_weighted_means(beta1, beta2, decay, seed):
    rng = np.random.default_rng(seed)
    params, gammas = draw(rng), rng.uniform(0.01, 0.2, 4)
    gradients = [draw(rng) for _ in gammas]
    path = steps(Adam(beta1=beta1, beta2=beta2, weight_decay=decay), params, gradients, gammas)
    for name in SHAPES:
        g = [grads[name] + decay * w[name] for grads, w in zip(gradients, path[:-1], strict=True)]
        for n, gamma in enumerate(gammas, 1):
            ages = np.arange(n)[::-1]  # bias correction makes the weights sum to 1
            mean = np.average(g[:n], axis=0, weights=beta1**ages)
            square = np.average(np.square(g[:n]), axis=0, weights=beta2**ages)
            expected = path[n - 1][name] - gamma * mean / (np.sqrt(square) + 1e-8)
            np.testing.assert_allclose(path[n][name], expected, rtol=0, atol=1e-9)


def test_the_first_step_of_adam_has_length_gamma_whatever_the_gradient():
    params = {"w": np.zeros(4)}
    g = np.array([1e-3, -1.0, 1e6, 0.0])
    new, _ = Adam().update(params, {"w": g}, Adam().init(params), 0.1)
    np.testing.assert_allclose(new["w"], [-0.1, 0.1, -0.1, 0], rtol=1e-4)


@given(st.floats(0, 0.999), st.floats(0, 0.999), st.floats(0, 0.5), st.integers(1, 130), seeds)
def test_nadam_as_it_is_stated(beta1, beta2, decay, count, seed):
    """All products whole, also where the rule has left out what no longer shows."""
    rng = np.random.default_rng(seed)
    w, m, v = rng.standard_normal((3, 4)) * [[1], [0], [0]]
    rule, params = NAdam(beta1=beta1, beta2=beta2, weight_decay=decay), {"w": w}
    state = rule.init(params)
    for n in range(1, count + 1):
        g, gamma = rng.standard_normal(4), rng.uniform(0.01, 0.2)
        params, state = rule.update(params, {"w": g}, state, gamma)
        mu = [beta1 * (1 - 0.5 * 0.96 ** (0.004 * i)) for i in range(1, n + 2)]
        g = g + decay * w
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
        m_hat = mu[n] * m / (1 - np.prod(mu)) + (1 - mu[n - 1]) * g / (1 - np.prod(mu[:n]))
        w = w - gamma * m_hat / (np.sqrt(v / (1 - beta2**n)) + 1e-8)
        np.testing.assert_allclose(params["w"], w, rtol=1e-10, atol=1e-10)


def test_the_betas_of_nadam_are_those_of_its_users():
    """Ajanthan et al.: 0.99, where Adam and PyTorch have 0.9."""
    assert (NAdam().beta1, NAdam().beta2) == (0.99, 0.999)


# Where the moments lead


def moving(rule, seed, dtype=np.float64):
    """Weights and moments after three steps."""
    rng = np.random.default_rng(seed)
    params = draw(rng, dtype)
    state = rule.init(params)
    for _ in range(3):
        params, state = rule.update(params, draw(rng, dtype), state, 0.1)
    return freeze(params), state


@every_rule
@pytest.mark.parametrize("d", range(1, 9))
def test_without_gradients_the_weights_arrive_where_they_were_expected(rule, d):
    params, state = moving(rule, 0)
    expected, zeros = rule.ahead(params, state, d, 0.1), {name: np.zeros(shape) for name, shape in SHAPES.items()}
    for _ in range(d):
        params, state = rule.update(params, zeros, state, 0.1)
    for name in SHAPES:
        np.testing.assert_allclose(expected[name], params[name], rtol=1e-13, atol=1e-15)


@every_rule
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_looking_ahead_changes_nothing(rule, dtype):
    """Not what it is given, no dtype; and over no update not a bit."""
    params, state = moving(rule, 0, dtype)
    for moments in state.slots.values():
        freeze(moments)
    assert {name: (w.shape, w.dtype) for name, w in rule.ahead(params, state, 3, np.float64(0.1)).items()} == {
        name: (shape, dtype) for name, shape in SHAPES.items()
    }
    assert rule.ahead(params, state, 0, 0.1) is params


@pytest.mark.parametrize("d", range(9))
def test_without_momentum_and_decay_no_weights_but_the_present_ones_are_expected(d):
    rule = SGD(momentum=0)
    params, state = moving(rule, 0)
    assert rule.ahead(params, state, d, 0.1) is params


@given(st.floats(0.01, 0.99), st.booleans(), st.integers(0, 8), seeds)
def test_momentum_leads_as_far_as_the_sum_of_its_powers(momentum, nesterov, d, seed):
    rule = SGD(momentum=momentum, nesterov=nesterov)
    params, state = moving(rule, seed)
    far = 0.2 * sum(momentum**i for i in range(1, d + 1)) * (momentum if nesterov else 1)
    for name, w in rule.ahead(params, state, d, 0.2).items():
        np.testing.assert_allclose(w, params[name] - far * state.slots["velocity"][name], rtol=0, atol=1e-13)


@given(st.sampled_from([0.0, 0.5, 0.9]), st.booleans(), st.floats(0, 0.9), st.integers(0, 8), seeds)
def test_all_at_once_is_what_step_after_step_comes_to(momentum, nesterov, decay, d, seed):
    rule = SGD(momentum=momentum, nesterov=nesterov and momentum > 0, weight_decay=decay)
    params, state = moving(rule, seed)
    for name, w in Optimizer.ahead(rule, params, state, d, 0.3).items():
        np.testing.assert_allclose(rule.ahead(params, state, d, 0.3)[name], w, rtol=0, atol=1e-12)


# Options


@pytest.mark.parametrize("rule", [SGD(momentum=0, weight_decay=0.5), SGD(weight_decay=0.5)])
def test_weight_decay_alone_shrinks_the_weights(rule):
    params = {"w": np.array([2.0, -4.0])}
    new, _ = rule.update(params, {"w": np.zeros(2)}, rule.init(params), 0.1)
    np.testing.assert_allclose(new["w"], [1.9, -3.8], rtol=1e-14)


def test_a_state_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        SGD().init({}).step = 3


@pytest.mark.parametrize("kind", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_numbers_from_numpy_do_not_widen_the_weights(kind):
    options = {
        name: np.float64(0.5) for name in ("momentum", "beta1", "beta2", "eps") if name in signature(kind).parameters
    }
    rule, params = kind(**options, weight_decay=np.float64(0.1)), {"w": np.ones(3, np.float32)}
    new, state = rule.update(params, params, rule.init(params), np.float64(0.1))
    assert {array.dtype for arrays in (new, *state.slots.values()) for array in arrays.values()} == {
        np.dtype(np.float32)
    }


@pytest.mark.parametrize(
    ("make", "expected", "got"),
    [
        (lambda: SGD(momentum=1.0), "momentum: expected a number in [0, 1)", 1.0),
        (lambda: SGD(momentum=-0.1), "momentum: expected a number in [0, 1)", -0.1),
        (lambda: SGD(momentum=nan), "momentum: expected a number in [0, 1)", nan),
        (lambda: SGD(momentum=0, nesterov=True), "nesterov: expected momentum > 0", 0),
        (lambda: SGD(weight_decay=-1.0), "weight_decay: expected a finite number >= 0", -1.0),
        (lambda: Adam(weight_decay=inf), "weight_decay: expected a finite number >= 0", inf),
        (lambda: Adam(beta1=1.0), "beta1: expected a number in [0, 1)", 1.0),
        (lambda: Adam(beta2=-0.5), "beta2: expected a number in [0, 1)", -0.5),
        (lambda: Adam(eps=0.0), "eps: expected a finite number > 0", 0.0),
        (lambda: Adam(eps=nan), "eps: expected a finite number > 0", nan),
        (lambda: Adam(eps=inf), "eps: expected a finite number > 0", inf),
    ],
)
def test_options_out_of_range(make, expected, got):
    with input_error(expected=expected, got=f"got {got}", advice="usual"):
        make()
