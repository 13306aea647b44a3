"""Schedules as data: what follows from them, and that `check` agrees with what really happens."""

import threading
from collections import Counter
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Problem

from ddg_ref import train
from ddg_ref.deadlock import check, rooms
from ddg_ref.errors import ScheduleError
from ddg_ref.methods import METHODS, Method
from ddg_ref.schedules import Action, flush, one_forward_one_backward, parts, text, two_late_per_boundary
from ddg_ref.versions import Held, held, staleness, versions
from ddg_ref.workers import threads

KS = range(1, 9)
PER_BOUNDARY = {"bp": 0, "gpipe": 0, "1f1b": 0, "dni": 0, "fdg": 2}
"""The delay of a boundary in iterations; 1 for all other rows."""
SECONDS = 20


BY_BATCH = {name: row for name, row in METHODS.items() if name not in ("2bw", "paci")}
"""Rows whose modules run backward on whole batches."""
SPLIT = [row for row in METHODS.values() if "micro_batches" in row.options]


@pytest.mark.parametrize("row", BY_BATCH.values(), ids=BY_BATCH)
def test_delays_are_what_the_papers_say(row):
    for K in KS:
        for k in range(1, K + 1):
            d = PER_BOUNDARY.get(row.name, 1) * (K - k)
            assert row.delay(k, K) == row.staleness(k, K) == d
            assert row.lag(k, K) == (1 if row.name == "dni" and k < K else d)
            for backward in versions(row.schedule, k, K, row.micro_batches):
                batch = backward.number // row.micro_batches
                assert backward.present == batch  # one update for each batch
                assert backward.forward == max(0, batch - d)  # in the warm-up there has been no update yet
                assert backward.delay == min(batch, d)


@pytest.mark.parametrize("row", BY_BATCH.values(), ids=BY_BATCH)
def test_what_is_held_is_the_column_of_the_table(row):
    M = row.micro_batches
    for K in KS:
        for k in range(1, K + 1):
            d = PER_BOUNDARY.get(row.name, 1) * (K - k)
            in_flight = {"gpipe": M, "1f1b": min(M, K - k + 1)}.get(row.name, d + 1)
            assert held(row.schedule, k, K, M) == Held(in_flight, d + 1)


@pytest.mark.parametrize("K", KS)
@pytest.mark.parametrize("M", range(1, 9))
def test_two_buffers_hold_two_versions_at_most_and_all_modules_are_one_update_late(K, M):
    """With M >= K-1, as the paper asks; with fewer micro-batches, more."""
    late = -(-(K - 1) // M)
    assert late <= 1 or M < K - 1
    for k in range(1, K + 1):
        applied = versions(METHODS["2bw"].schedule, k, K, M)
        assert [each.delay for each in applied] == [min(each.number // M, late) for each in applied]
        assert staleness(METHODS["2bw"].schedule, k, K, M) == late
        assert held(METHODS["2bw"].schedule, k, K, M) == Held(K - k + 1, 1 - (k - K) // M)


@pytest.mark.parametrize("K", KS)
@pytest.mark.parametrize("M", range(1, 9))
def test_accumulated_gradients_cross_few_updates(K, M):
    for k in range(1, K + 1):
        applied = versions(METHODS["paci"].schedule, k, K, M)
        crossed = {each.delay for each in applied if each.number >= K * M}  # after the warm-up
        most = -(-(K - k) // M)
        assert max(crossed) == staleness(METHODS["paci"].schedule, k, K, M) == most
        assert min(crossed) >= most - 1
        assert held(METHODS["paci"].schedule, k, K, M).micro_batches == K - k + 1


def test_the_text_of_an_action_is_that_of_the_field():
    assert text(1, Action("F", 3)) == "0F3"
    assert text(2, Action("B", 3)) == "1B3"
    actions = [text(2, action) for action in one_forward_one_backward(2, 4, 0, 4)]
    assert actions == ["1F0", "1F1", "1F2", "1B0", "1F3", "1B1", "1B2", "1B3", "1U0"]
    assert [text(1, action) for action in flush(1, 4, 2, 3)] == ["0F6", "0F7", "0F8", "0B6", "0B7", "0B8", "0U2"]


@pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
def test_no_row_of_the_table_can_deadlock(row):
    for K in KS:
        for M in {1, 2, row.micro_batches, 7} if row in SPLIT else {1}:
            for capacity in (1, 2, 3):
                if capacity >= PER_BOUNDARY.get(row.name, 1):
                    proof = check(row.schedule, K, M, capacity)
                    assert proof.period == 1
                    assert max(proof.waiting.values(), default=0) <= capacity


def test_a_channel_that_is_too_small_is_found_out():
    with pytest.raises(ScheduleError) as caught:
        check(two_late_per_boundary, 3, 1, 1)
    assert str(caught.value) == (
        "2B1 (module 3, iteration 1) can never happen: it waits for room for its error gradient, where 1 may lie "
        "before module 2 takes them; correct the order"
    )
    assert rooms(two_late_per_boundary, 3, 1, 1) == [(1, 2), (1, 2)]


# Schedules with a fault


def changed(schedule, how, module):
    """The schedule with `how` done to what `module` (0: every one) does in each iteration."""

    def actions(k, K, t, M):
        own = list(schedule(k, K, t, M))
        return how(own) if module in (0, k) else own

    return actions


WRONG = {
    "without the forward pass": (lambda own: own[1:], 2, "expected iterations that begin with a forward pass"),
    "without it anywhere": (lambda own: own[1:], 0, "expected iterations that begin with a forward pass"),
    "without the backward pass": (
        lambda own: [a for a in own if a.kind != "B"],
        2,
        r"1U0 \(module 2\): there is no gradient to apply",
    ),
    "without the update": (lambda own: own[:-1], 1, "module 1: the gradient of micro-batch 0 is never applied"),
    "forward twice": (lambda own: [own[0], *own], 1, "expected iterations that begin with a forward pass"),
    "backward twice": (
        lambda own: [*own[:-1], own[-2], own[-1]],
        3,
        r"2B0 \(module 3\): its forward pass does not come before it",
    ),
    "updated twice": (lambda own: [*own, own[-1]], 1, r"0U0 \(module 1\): there is no gradient to apply"),
    "backward first": (lambda own: [own[1], own[0], own[2]], 2, "expected iterations that begin with a forward pass"),
    "one backward for good": (
        lambda own: [Action("B", 0) if a.kind == "B" else a for a in own],
        3,
        "expected the same actions in every iteration, iteration 1 has others",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_wrong_with_a_schedule_is_named(fault):
    how, module, message = WRONG[fault]
    with pytest.raises(ScheduleError, match=message):
        check(changed(flush, how, module), 3)


def halves_apart(k, K, t, M):
    """Weight gradients an iteration after the error gradients: no checkpoint could hold what lies between."""
    return [Action("F", t), Action("I", t), Action("W", t - 1), Action("U", t - 1)]


@pytest.mark.parametrize("engine", ["reference", "threads"])
def test_halves_of_a_backward_pass_lie_in_one_iteration(engine, monkeypatch):
    message = r"module 1: expected both halves .* got I of micro-batches \[0\] and W of \[-1\]; correct the order"
    with pytest.raises(ScheduleError, match=message):
        check(halves_apart, 2)
    monkeypatch.setitem(METHODS, "apart", Method("apart", "", halves_apart))
    with pytest.raises(ScheduleError, match=message):
        train(data="digits", model="mlp", method="apart", modules=2, engine=engine, iterations=3)


def test_micro_batches_go_back_in_the_order_in_which_they_went_forward():
    def swapped(own):
        return [*own[:2], own[3], own[2], own[4]]

    with pytest.raises(ScheduleError, match=r"0B1 \(module 1\): micro-batch 0 went forward first, so"):
        check(changed(flush, swapped, 1), 1, 2)


def test_two_modules_that_wait_for_each_other():
    """Module 1 runs backward on both parts before it runs forward on the second: module 2 wants both first."""

    def early(k, K, t, M):
        a, b = parts(t, M)
        own = [Action("F", a), Action("B", a), Action("F", b), Action("B", b), Action("U", t)]
        return own if k == 1 else flush(k, K, t, M)

    with pytest.raises(ScheduleError) as caught:
        check(early, 2, 2)
    assert str(caught.value) == (
        "0B0 (module 1, iteration 0) can never happen: it waits for the error gradient of micro-batch 0 from module 2; "
        "correct the order"
    )


def spoiled(places, mishaps, rng):
    """Which of a module's actions are left, in which order, after these mishaps."""
    for mishap in mishaps:
        i, j = (rng.randrange(len(places)) for _ in range(2))
        if mishap == "shuffle":
            rng.shuffle(places)
        elif mishap == "swap":
            places[i], places[j] = places[j], places[i]
        elif mishap == "duplicate":
            places.insert(i, places[j])
        elif len(places) > 1:
            del places[i]
    return places


@st.composite
def schedules(draw):
    """A row of the table with up to two mishaps in the actions of one module, or of each; and K."""
    row, K = METHODS[draw(st.sampled_from(sorted(METHODS)))], draw(st.integers(1, 4))
    M = draw(st.integers(1, 3)) if "micro_batches" in row.options else 1
    mishaps = draw(st.lists(st.sampled_from(["shuffle", "drop", "swap", "duplicate"]), max_size=2))
    module, rng = draw(st.integers(0, K)), Random(draw(st.integers(0, 2**16)))
    left = {k: spoiled(list(range(len(row.schedule(k, K, 0, M)))), mishaps, rng) for k in range(1, K + 1)}

    def actions(k, K, t, M):
        own = row.schedule(k, K, t, M)
        return [own[i] for i in left[k] if i < len(own)] if module in (0, k) else own

    return replace(row, schedule=actions, micro_batches=M), K


@given(schedules(), st.integers(1, 3), st.integers(0, 4))
@settings(max_examples=400)
def test_check_agrees_with_what_happens_on_threads(drawn, capacity, iterations):
    """What it accepts ends, and every gradient has been applied; what it refuses is refused before it starts."""
    row, K = drawn
    problem, before = Problem(cuts=tuple(range(1, K)), iterations=iterations), threading.active_count()
    task = problem.task()
    task.stall_timeout = SECONDS
    accepted = True
    try:
        rooms(row.schedule, K, row.micro_batches, capacity)
    except ScheduleError:
        accepted = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "CAPACITY", capacity)
        try:
            pipeline = problem.pipeline(row.name, schedule=row.schedule, micro_batches=row.micro_batches)
            threads.run(pipeline, task, 0, iterations + pipeline.delay)
        except ScheduleError:
            assert not accepted
            assert not task.results
        else:
            assert accepted
            assert [module.optimizer_state.step for module in pipeline.modules] == [iterations] * K
            assert not any(module.queue for module in pipeline.modules)
            assert not any(pipeline.errors)
    assert threading.active_count() == before


def test_the_drawn_schedules_are_of_both_kinds():
    """Else the property above would say little."""
    verdicts = Counter()

    @given(schedules())
    @settings(max_examples=200)
    def count(drawn):
        row, K = drawn
        try:
            rooms(row.schedule, K, row.micro_batches, 2)
        except ScheduleError:
            verdicts["refused"] += 1
        else:
            verdicts["accepted"] += 1

    count()
    assert min(verdicts["refused"], verdicts["accepted"]) > 30
