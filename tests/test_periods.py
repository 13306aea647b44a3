"""Closed formulas against the event simulation."""

import math
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddg_ref.errors import InputError
from ddg_ref.periods import SCHEDULES, Times, period, simulate, simulated_period, speedup


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("latency", [0.0, 0.3])
@pytest.mark.parametrize("K", [1, 2, 3, 8])
def test_formula_and_simulation_agree_on_balanced_modules(schedule, latency, K):
    times = Times.balanced(1.0, 2.0, K, latency)
    halves = 20 // (2 * K - 1) + 1  # each a multiple of the longest cycles, of K iterations or, decoupled, of 2K-1
    assert simulated_period(times, schedule, 2 * halves * K * (2 * K - 1)) == pytest.approx(
        period(times, schedule), rel=1e-9
    )


@settings(derandomize=True, deadline=None, max_examples=25, database=None)
@given(K=st.integers(1, 5), seed=st.integers(0, 10**6), latency=st.sampled_from([0.0, 0.1, 1.0, 5.0]))
def test_formula_and_simulation_agree_on_any_modules(K, seed, latency):
    forward, backward, update = np.random.default_rng(seed).uniform(0.1, 3.0, size=(3, K))
    learn = np.random.default_rng(seed + 1).uniform(0.1, 3.0, size=K)
    times = Times(forward, backward, latency, update * (seed % 3), parts=1 + seed % 4, learn=learn)
    for schedule in SCHEDULES:
        iterations = 2 * 315 if schedule == "decoupled" else 240  # halves are multiples of 1, 3, 5, 7, 9 or 1 to 5
        assert simulated_period(times, schedule, iterations) == pytest.approx(period(times, schedule), rel=1e-9)
    again = simulated_period(times.replaying(), "free", 240)
    assert again == pytest.approx(period(times.replaying(), "free"), rel=1e-9)


@settings(derandomize=True, deadline=None, max_examples=40, database=None)
@given(K=st.integers(2, 5), seed=st.integers(0, 10**6), schedule=st.sampled_from(["free", "decoupled"]))
def test_two_messages_per_link_are_all_that_is_ever_needed(K, seed, schedule):
    """When a message is given, the one two before it has been taken: links of capacity two never block, in the
    simulation whose links hold any number. In the decoupled schedule that holds of three."""
    forward, backward, update = np.random.default_rng(seed).uniform(0.1, 3.0, size=(3, K))
    end = simulate(Times(forward, backward, update=update), schedule, 30)
    enough = 2 if schedule == "free" else 3
    for k in range(K - 1):
        for t in range(3, 29):
            taken = end["F", k + 1, t - enough] - forward[k + 1], end["B", k, t - 1] - backward[k]
            assert end["F", k, t] >= taken[0] - 1e-9
            assert end["B", k + 1, t] >= taken[1] - 1e-9


def test_what_each_method_adds_to_the_free_schedule():
    """Balanced modules with B = 2F: replay costs F; decoupling saves latency and nothing else; micro-batches have
    their bubble; a synthesizer costs what it takes, and no latency that fits into half an iteration."""
    for K in (2, 4, 8):
        times, c = Times.balanced(1.0, 2.0, K), 0.1
        own = 3 / K
        assert period(times.replaying(), "free") == pytest.approx(4 / K)
        assert period(times, "decoupled") == pytest.approx(own)
        linked = Times.balanced(1.0, 2.0, K, latency=c)
        assert period(linked, "free") == pytest.approx(own + 2 * c * (K - 1) / K)
        assert period(linked, "decoupled") == pytest.approx(max(own, (own * K + 2 * c * (K - 1)) / (2 * K - 1)))
        for M in (1, 4, 32):
            parts = Times.balanced(1.0, 2.0, K)
            assert period(replace(parts, parts=M), "micro-batch") == pytest.approx((M + K - 1) / M * own)
        guessing = replace(linked, learn=np.full(K, 0.25))
        assert period(guessing, "synthesizer") == pytest.approx(own + 0.25)
    times = Times(np.array([1.0]), np.array([2.0]), learn=np.array([9.0]))
    assert period(times, "synthesizer") == 3.0  # the last module has no synthesizer
    assert period(times.replaying(), "free") == 3.0  # and replays nothing


def test_balanced_speed_ups():
    """Free-running: K. The paper's two phases: (F+B)/(F+B/K), 1.5 for K = 2 and 2 for K = 4 where B = 2F."""
    for K in (2, 4):
        times = Times.balanced(1.0, 2.0, K)
        assert speedup(times, "free") == pytest.approx(K)
        assert speedup(times, "two-phase") == pytest.approx(3 / (1 + 2 / K))
        assert speedup(times, "bp") == pytest.approx(1.0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_thousands_of_modules(schedule):
    times = Times.balanced(1.0, 2.0, 3000)
    assert simulated_period(times, schedule, 6) == pytest.approx(period(times, schedule), rel=1e-9)
    with_latency = Times.balanced(1.0, 2.0, 3000, latency=0.001)
    assert period(with_latency, "free") == pytest.approx(0.001 + 2 * 0.001 * 2999 / 3000)


def test_nothing_starts_before_its_messages():
    times = Times(np.array([1.0, 2.0, 0.5]), np.array([2.0, 1.0, 3.0]), 0.25)
    end = simulate(times, "free", 10)
    for t in range(1, 10):
        for k in range(3):
            begin = end["B", k, t] - times.backward[k]
            assert begin >= end["F", k, t] - 1e-12
            assert k == 2 or begin >= end["B", k + 1, t - 1] + 0.25 - 1e-12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Times(np.ones(2), np.ones(3)), "backward: expected 2 times"),
        (lambda: Times(np.ones(0), np.ones(0)), "K: expected a whole number >= 1, got 0"),
        (lambda: Times(np.ones(2), np.ones(2), learn=np.ones(3)), "learn: expected 2 times"),
        (lambda: Times(np.ones(2), np.ones(2), parts=0), "parts: expected a whole number >= 1, got 0"),
        (lambda: Times(-np.ones(2), np.ones(2)), "forward: expected a finite number >= 0"),
        (lambda: period(Times.balanced(1, 2, 2), "fast"), "unknown schedule 'fast': choose one of bp, two-phase, free"),
        (lambda: Times.balanced(1, 2, 2, -1.0), "latency: expected a finite number >= 0"),
        (lambda: simulated_period(Times.balanced(1, 2, 2), "bp", 1), "iterations: expected a whole number >= 2"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


NO_NUMBER = [None, "1", b"1", 1j, [1.0], True, np.ones(1), math.nan, math.inf, -math.inf, 10**400]
NONNEGATIVE = [*NO_NUMBER, -1, -1e-300]
NO_INTEGER = [*NO_NUMBER[:-1], 2.5, 2.0, np.float64(2)]


def refused(call, starts=""):
    with pytest.raises(InputError, match=f"^{re.escape(starts)}") as caught:
        call()
    assert "\n" not in str(caught.value)


def test_times_refuse():
    parts = ("forward", "backward", "update", "learn")
    fine = Times(np.ones(3), np.ones(3))
    for name in parts:
        for bad in [*NONNEGATIVE, -np.ones(1)]:
            refused(lambda name=name, bad=bad: replace(fine, **{name: [1.0, bad, 2.0]}), f"{name}: expected ")
        for bad in (1.0, None, "abc", np.ones((3, 1))):
            refused(lambda name=name, bad=bad: replace(fine, **{name: bad}), f"{name}: expected ")
    for bad in NONNEGATIVE:
        refused(lambda bad=bad: replace(fine, latency=bad), "latency: expected ")
        refused(lambda bad=bad: Times.balanced(bad, 1.0, 2), "F: expected ")
        refused(lambda bad=bad: Times.balanced(1.0, bad, 2), "B: expected ")
    for bad in (*NO_INTEGER, 0, -1):
        refused(lambda bad=bad: replace(fine, parts=bad), "parts: expected ")
        refused(lambda bad=bad: Times.balanced(1.0, 1.0, bad), "K: expected ")
        refused(lambda bad=bad: simulated_period(fine, "bp", bad), "iterations: expected ")
        refused(lambda bad=bad: simulate(fine, "bp", bad), "iterations: expected ")
    nothing = Times(np.zeros(3), np.zeros(3))
    for schedule in SCHEDULES:
        refused(lambda schedule=schedule: speedup(nothing, schedule), "times: expected some work")
        refused(lambda schedule=schedule: period(fine, [schedule]), "unknown schedule ")


def test_times_may_be_lists_and_are_added_not_joined():
    listed, arrays = Times([1, 2], [3, 4], update=[0.5, 0.25]), Times(np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    assert period(listed, "free") == period(arrays, "free") + 0.25
