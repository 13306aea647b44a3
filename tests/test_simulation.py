"""The simulation of a schedule's actions: by hand, against the closed formulas, and against the deadlock check."""

from dataclasses import replace
from math import inf

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_schedules import schedules

from ddg_ref import periods
from ddg_ref.deadlock import check
from ddg_ref.errors import InputError, ScheduleError
from ddg_ref.methods import METHODS
from ddg_ref.periods import Times, period
from ddg_ref.schedules import (
    Action,
    flush,
    one_each,
    one_forward_one_backward,
    parts,
    source,
    target,
    text,
    two_late_per_boundary,
)
from ddg_ref.simulation import pace, simulate

KNOWN = {
    "bp": "bp",
    "ddg": "free",
    "fdg": "decoupled",
    "gpipe": "micro-batch",
    "dni": "synthesizer",
}
"""Rows, and what `ddg_ref.periods` calls their schedule."""


def plan(name, K, M=1):
    return one_each(METHODS[name].schedule, K, M)


@st.composite
def times(draw, name, latencies=(0.0, 0.1, 1.0, 5.0)):
    K, rng = draw(st.integers(1, 5)), np.random.default_rng(draw(st.integers(0, 2**20)))
    forward, backward, update, learn = rng.uniform(0.1, 3.0, size=(4, K))
    M = draw(st.integers(1, 5)) if "micro_batches" in METHODS[name].options else 1
    return Times(forward, backward, draw(st.sampled_from(latencies)), update * draw(st.integers(0, 2)), M, learn)


def starts(bars):
    return [f"{text(bar.k, bar.action)}@{bar.start:g}" for bar in bars]


def test_one_forward_one_backward_by_hand():
    """F = 1, B = 2, U = 0.5: module 2 turns round at once; module 1 waits for the error gradients of both parts."""
    given = Times([2.0, 2.0], [4.0, 4.0], update=[0.5, 0.5], parts=2)
    first, second = simulate(plan("1f1b", 2, 2), given, 2)
    assert starts(first)[:5] == ["0F0@0", "0F1@1", "0B0@4", "0B1@7", "0U0@9"]
    assert starts(second)[:5] == ["1F0@1", "1B0@2", "1F1@4", "1B1@5", "1U0@7"]
    assert starts(first)[5:7] == ["0F2@9.5", "0F3@10.5"]
    found = pace(plan("1f1b", 2, 2), given)
    assert (found.period, found.exact, found.busy) == (9.5, True, (6.5, 6.5))
    assert found.speed_up == pytest.approx(13 / 9.5)
    assert found.bubble == pytest.approx([3 / 9.5] * 2)


def test_the_warm_up_of_delayed_gradients_by_hand():
    first, second = simulate(plan("ddg", 2), Times([1.0, 1.0], [2.0, 2.0], latency=0.25), 3)
    assert starts(first) == ["0F0@0", "0F1@1", "0B0@4.5", "0U0@6.5", "0F2@6.5", "0B1@7.5", "0U1@9.5"]
    assert starts(second)[:4] == ["1F0@1.25", "1B0@2.25", "1U0@4.25", "1F1@4.25"]


@pytest.mark.parametrize("name", KNOWN)
@settings(derandomize=True, deadline=None, max_examples=40, database=None)
@given(st.data())
def test_the_period_is_that_of_the_closed_formula(name, data):
    drawn = data.draw(times(name))
    found = pace(plan(name, drawn.K, drawn.parts), drawn)
    assert found.exact
    assert found.period == pytest.approx(period(drawn, KNOWN[name]), rel=1e-9)
    assert found.speed_up == pytest.approx(periods.speedup(drawn, KNOWN[name]), rel=1e-9)


@pytest.mark.parametrize("name", ["bp", "ddg", "fdg", "gpipe"])
@settings(derandomize=True, deadline=None, max_examples=40, database=None)
@given(st.data())
def test_each_task_ends_when_the_other_simulation_says(name, data):
    """That of `ddg_ref.periods`, which was told by hand what waits for what. (Not of dni: its first lesson.)"""
    drawn = data.draw(times(name))
    M, ends = drawn.parts, periods.simulate(drawn, KNOWN[name], 12)
    for bars in simulate(plan(name, drawn.K, M), drawn, 12, full=True):
        for bar in bars:
            kind, part = bar.action.kind, bar.action.number % M
            task = kind if kind == "U" or part == M - 1 else f"{kind} {part}"
            assert bar.stop == pytest.approx(ends[task, bar.k - 1, bar.t], rel=1e-12)


@given(schedules(), st.sampled_from([1, 2, 3, inf]), st.booleans(), st.integers(0, 2**16))
@settings(derandomize=True, deadline=None, max_examples=300, database=None)
def test_nobody_waits_for_more_or_less_than_must_be(drawn, capacity, full, seed):
    """What `check` accepts can be simulated; each action begins when the last thing that it needs is there."""
    row, K = drawn
    M = row.micro_batches
    try:
        check(row.schedule, K, M, capacity)
    except ScheduleError:
        return
    rng = np.random.default_rng(seed)
    forward, backward, update, learn = rng.uniform(0.1, 3.0, size=(4, K))
    given = Times(forward, backward, rng.choice([0.0, 0.7]), update, M, learn)
    bars = simulate(one_each(row.schedule, K, M), given, 8, room=lambda a, b: capacity, full=full)
    moved = {
        (link, bar.action.number): bar
        for own in bars
        for bar in own
        if (link := (bar.k, target(bar.action, bar.k, K)))[1] is not None
    }
    for own in bars:
        free = 0.0
        for bar in own:
            came = moved.get(((source(bar.action, bar.k, K), bar.k), bar.action.number))
            needed = max(free, came.stop + given.latency if came else 0.0)
            assert bar.stop - bar.start == pytest.approx(given.of(bar.k, bar.action.kind))
            if capacity == inf:
                assert bar.start == pytest.approx(needed, abs=1e-9)
            else:
                assert bar.start >= needed - 1e-9
            free = bar.stop


@given(schedules(), st.integers(1, 3))
@settings(derandomize=True, deadline=None, max_examples=300, database=None)
def test_what_blocks_the_simulation_is_refused_by_the_check(drawn, capacity):
    row, K = drawn
    given = Times(np.ones(K), np.ones(K), parts=row.micro_batches)
    try:
        simulate(one_each(row.schedule, K, row.micro_batches), given, 3 * K, room=lambda a, b: capacity)
    except ScheduleError:
        with pytest.raises(ScheduleError):
            check(row.schedule, K, row.micro_batches, capacity)


def test_workers_that_block_each_other_are_named():
    def early(k, K, t, M):
        a, b = parts(t, M)
        own = [Action("F", a), Action("B", a), Action("F", b), Action("B", b), Action("U", t)]
        return own if k == 1 else flush(k, K, t, M)

    with pytest.raises(ScheduleError, match=r"0B0 \(module 1, iteration 0\) can never happen: it waits for the error"):
        simulate(one_each(early, 2, 2), Times(np.ones(2), np.ones(2), parts=2), 1)


@settings(derandomize=True, deadline=None, max_examples=40, database=None)
@given(st.data(), st.sampled_from([("ddg", 2), ("fdg", 3), ("bp", 1), ("gpipe", 5)]))
def test_channels_that_are_large_enough_make_nobody_wait(data, case):
    name, capacity = case
    drawn = data.draw(times(name))
    own = plan(name, drawn.K, drawn.parts)
    limited = simulate(own, drawn, 12, room=lambda a, b: capacity, full=True)
    assert limited == simulate(own, drawn, 12, full=True)


def test_a_channel_that_is_too_small_costs_time():
    """With room for one message, module 1 can give the second activation when the first one is taken."""
    given = Times([1.0, 10.0], [1.0, 10.0], parts=1)
    first, _ = simulate(one_each(flush, 2, 4), replace(given, parts=4), 1, room=lambda a, b: 1)
    assert starts(first)[:4] == ["0F0@0", "0F1@0.25", "0F2@0.5", "0F3@2.75"]
    first, _ = simulate(one_each(flush, 2, 4), replace(given, parts=4), 1)
    assert starts(first)[:4] == ["0F0@0", "0F1@0.25", "0F2@0.5", "0F3@0.75"]


def test_two_halves_of_a_backward_pass():
    """The error gradient leaves after the first half, a third of it here: module 1 need not wait for the second."""

    def halves(k, K, t, M):
        return [Action("F", t), Action("I", t), Action("W", t), Action("U", t)]

    given = Times([1.0, 1.0], [3.0, 3.0], error=[1.0, 1.0])
    first, second = simulate(one_each(halves, 2, 1), given, 1)
    assert starts(second) == ["1F0@1", "1I0@2", "1W0@3", "1U0@5"]
    assert starts(first) == ["0F0@0", "0I0@3", "0W0@4", "0U0@6"]
    assert check(halves, 2).period == 1
    halved = simulate(one_each(halves, 2, 1), replace(given, error=[]), 1)[1]
    assert starts(halved) == ["1F0@1", "1I0@2", "1W0@3.5", "1U0@5"]


def test_two_modules_of_one_worker_need_no_link():
    def both(t):
        return [(1, Action("F", t)), (2, Action("F", t)), (2, Action("B", t)), (1, Action("B", t))]

    bars = simulate([both], Times([1.0, 2.0], [3.0, 4.0], latency=5.0), 2, room=lambda a, b: 0)[0]
    assert starts(bars) == ["0F0@0", "1F0@1", "1B0@3", "0B0@7", "0F1@10", "1F1@11", "1B1@13", "0B1@17"]


@pytest.mark.parametrize(
    ("name", "M"),
    [("bp", 1), ("gpipe", 4), ("1f1b", 4), ("ddg", 1), ("fdg", 1), ("2bw", 8), ("paci", 8), ("dni", 1)],
)
def test_two_thousand_modules(name, M):
    """In seconds: each operation is looked at once. Without a flush nobody waits: 2bw and paci too have no bubble."""
    K = 2048
    given = replace(Times.balanced(1.0, 2.0, K), parts=M)
    found = pace(plan(name, K, M), given)
    closed = {"1f1b": "micro-batch", "2bw": "free", "paci": "free"} | KNOWN
    assert found.exact
    assert found.period == pytest.approx(period(given, closed[name]), rel=1e-9)
    assert len(simulate(plan(name, K, M), given, 8)) == K


def test_a_pace_that_is_not_seen_to_repeat_itself_says_so(monkeypatch):
    """Module 1 is a little faster than module 2, and by that much it gets ahead each time until it must wait."""
    monkeypatch.setattr("ddg_ref.simulation.OPERATIONS", 1000)
    found = pace(one_each(two_late_per_boundary, 2, 1), Times([1.0, 1.0], [1.9999, 2.0]))
    assert not found.exact
    assert found.period == pytest.approx(3.0, rel=1e-9)


def test_nothing_to_do_is_refused():
    with pytest.raises(InputError, match="times: expected some work, got none"):
        pace(plan("bp", 2), Times(np.zeros(2), np.zeros(2), latency=1.0))
    with pytest.raises(InputError, match="error: expected 2 times, none longer than the module's backward time"):
        Times([1.0, 1.0], [1.0, 1.0], error=[1.0, 1.5])
    with pytest.raises(InputError, match="iterations: expected a whole number >= 1, got 0"):
        simulate(plan("bp", 2), Times(np.ones(2), np.ones(2)), 0)


def test_a_full_pipeline_holds_what_was_given_before():
    """Module 1 runs backward on the second part an iteration late, on the first one at once."""

    def half_late(k, K, t, M):
        a, b = parts(t, M)
        if k == K:
            return one_forward_one_backward(k, K, t, M)
        return [Action("F", a), Action("F", b), Action("B", b - M), Action("B", a), Action("U", t)]

    first, second = simulate(one_each(half_late, 2, 2), Times([2.0, 2.0], [4.0, 4.0], parts=2), 2, full=True)
    assert starts(first)[:5] == ["0F0@0", "0F1@1", "0B-1@2", "0B0@4", "0U0@6"]
    assert starts(second)[:5] == ["1F0@1", "1B0@2", "1F1@4", "1B1@5", "1U0@7"]
    assert starts(first)[5:] == ["0F2@6", "0F3@7", "0B1@8", "0B2@10", "0U1@12"]
