"""What a late gradient is corrected by, against the papers' formulas."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import input_error
from strategies import seeds

from ddg_ref.corrections import asynchronous_nesterov, divided, spike_compensation, uncorrected
from ddg_ref.optimizers import SGD, Adam, NAdam

momenta = st.floats(0.01, 0.99)


def path(rule, gradients, gamma=0.1):
    """The weights after each step, from zero on."""
    params = {"w": np.zeros(len(gradients[0]))}
    state, found = rule.init(params), []
    for g in gradients:
        params, state = rule.update(params, {"w": g}, state, gamma)
        found.append(params["w"])
    return np.array(found)


def draw(seed, count=6):
    return np.random.default_rng(seed).standard_normal((count, 3))


@pytest.mark.parametrize("rule", [SGD(), SGD(nesterov=True), SGD(momentum=0), Adam(), NAdam()])
def test_without_a_correction_the_optimizer_is_what_it_was(rule):
    assert uncorrected(rule, 3) is rule


@given(momenta, st.floats(0, 0.5), seeds)
def test_a_gradient_in_time_needs_no_compensation(momentum, decay, seed):
    rule = SGD(momentum=momentum, weight_decay=decay)
    assert path(spike_compensation(rule, 0), draw(seed)).tobytes() == path(rule, draw(seed)).tobytes()


@given(momenta, st.floats(0, 0.5), seeds)
def test_compensation_for_one_update_is_the_form_of_nesterov(momentum, decay, seed):
    nesterov = SGD(momentum=momentum, weight_decay=decay, nesterov=True)
    compensated = spike_compensation(SGD(momentum=momentum, weight_decay=decay), 1)
    np.testing.assert_allclose(path(compensated, draw(seed)), path(nesterov, draw(seed)), rtol=1e-12, atol=1e-13)


@given(momenta, st.integers(0, 8), st.integers(0, 12), seeds)
def test_a_late_gradient_has_moved_the_weights_as_far_as_one_in_time(momentum, d, after, seed):
    """From its own update on: a single gradient d updates late, and zeros around it."""
    (g,), zeros = draw(seed, 1), np.zeros(3)
    in_time = path(SGD(momentum=momentum), [g, *[zeros] * (d + after)])
    late = path(spike_compensation(SGD(momentum=momentum), d), [*[zeros] * d, g, *[zeros] * after])
    np.testing.assert_allclose(late[d:], in_time[d:], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("d", range(4))
def test_without_momentum_there_is_nothing_to_compensate(d):
    rule = SGD(momentum=0)
    assert spike_compensation(rule, d) is rule


@given(momenta, seeds)
def test_asynchronous_nesterov_as_it_is_stated(momentum, seed):
    """w' = w + a - gamma (1-m) g, a = m (w - w_before); the rule goes through the points w + a."""
    w = before = np.zeros(3)
    for g, u in zip(draw(seed), path(asynchronous_nesterov(SGD(momentum=momentum), 3), draw(seed)), strict=True):
        w, before = w + momentum * (w - before) - 0.1 * (1 - momentum) * g, w
        np.testing.assert_allclose(u, w + momentum * (w - before), rtol=0, atol=1e-13)


@given(momenta, st.integers(0, 8), seeds)
def test_asynchronous_nesterov_is_the_same_for_every_delay_and_form(momentum, d, seed):
    first = path(asynchronous_nesterov(SGD(momentum=momentum), 0), draw(seed))
    second = path(asynchronous_nesterov(SGD(momentum=momentum, nesterov=True), d), draw(seed))
    assert first.tobytes() == second.tobytes()


def test_asynchronous_nesterov_without_momentum_is_plain():
    assert (
        path(asynchronous_nesterov(SGD(momentum=0), 2), draw(0)).tobytes() == path(SGD(momentum=0), draw(0)).tobytes()
    )


@pytest.mark.parametrize("correction", [spike_compensation, asynchronous_nesterov])
@pytest.mark.parametrize("rule", [Adam(), NAdam()], ids=["adam", "nadam"])
def test_optimizers_that_a_correction_is_not_for(correction, rule):
    with input_error(expected="optimizer: expected sgd", got=f"got {type(rule).__name__.lower()}", advice="method ddg"):
        correction(rule, 1)


def test_compensation_of_what_is_compensated_is_refused():
    with input_error(expected="optimizer: expected sgd without", got="got sgd with nesterov", advice="method ddg"):
        spike_compensation(SGD(nesterov=True), 1)


def test_a_step_is_divided_by_the_delay_and_becomes_whole():
    assert [divided(0.8, 4, t, 10.0) for t in (0, 5, 10, 1000)] == pytest.approx([0.2, 0.4, 0.8, 0.8], rel=1e-15)
    assert divided(0.9, 3, 0, 7.0) == pytest.approx(0.3, rel=1e-15)


@given(st.floats(1e-6, 1e3), st.integers(0, 100), st.floats(0.1, 1e6))
def test_a_step_with_a_delay_of_at_most_one_stays_as_it_is(gamma, t, period):
    assert divided(gamma, 0, t, period) == divided(gamma, 1, t, period) == divided(gamma, 5, t, None) == gamma
