"""Several stages on a worker and halves of backward passes: bubbles and memory against the published closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stages import FILES, file_of

from ddg_ref.errors import InputError
from ddg_ref.interleaving import interleaved, zero_bubble
from ddg_ref.methods import METHODS
from ddg_ref.periods import Times
from ddg_ref.schedule_files import flushed
from ddg_ref.schedules import in_iteration, one_forward_one_backward
from ddg_ref.simulation import pace
from docs import schedules as page

TIME = st.sampled_from([0.25, 0.5, 1.0, 1.5, 3.0])
drawn = settings(derandomize=True, deadline=None, max_examples=60, database=None)


def idle(file, F, I, W):  # noqa: E741
    """For how long each rank waits in an iteration, when a micro-batch takes so long on a rank."""
    each = file.K // len(file.rows)
    forward, error, weights = (np.full(file.K, file.M * time / each) for time in (F, I, W))
    found = pace(file.programs, Times(forward, error + weights, parts=file.M, error=error))
    assert found.exact
    return found.period - np.array(found.busy)


def held(file):
    """How many micro-batches each rank holds in its stages at most."""
    return [page.holds(program, file.M, 1).stages for program in file.programs]


@drawn
@given(st.sampled_from(["gpipe", "1f1b"]), st.integers(1, 5), st.integers(1, 8), TIME, TIME)
def test_the_bubble_of_one_stage_on_each_rank(name, K, M, F, B):
    """(K-1)(F+B): Huang et al., NeurIPS 2019; Narayanan et al., SC 2021, section 2.2."""
    file = flushed(METHODS[name].schedule, K, M)
    np.testing.assert_allclose(idle(file, F, B / 2, B / 2), (K - 1) * (F + B), rtol=1e-9, atol=1e-9)
    assert held(file) == [M if name == "gpipe" else min(M, K - k) for k in range(K)]


@drawn
@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), TIME, TIME)
def test_the_bubble_of_several_stages_on_each_rank(R, each, rounds, F, B):
    """1/v of that; the first rank holds 1 + (R-1)/(R v) times as much as in 1F1B: Narayanan et al., SC 2021."""
    file = interleaved(R, each, rounds * R)
    np.testing.assert_allclose(idle(file, F, B / 2, B / 2), (R - 1) * (F + B) / each, rtol=1e-9, atol=1e-9)
    ahead = (each - 1) * R + (2 if each > 1 else 1) * (R - 1)
    assert max(held(file)) == held(file)[0] == min(ahead + 1, each * file.M)


@drawn
@given(st.integers(1, 5), st.integers(0, 8), TIME, TIME, TIME)
def test_the_bubble_of_halves_of_backward_passes(R, more, F, I, W):  # noqa: E741
    """(K-1)(F+I-W), and as many micro-batches as the first rank of 1F1B holds: Qi et al., ICLR 2024, table 1.

    With W > F there is not work enough between two micro-batches: then it is (K-1) I.
    """
    file = zero_bubble(R, R + more)
    np.testing.assert_allclose(idle(file, F, I, W), (R - 1) * max(F + I - W, I), rtol=1e-9, atol=1e-9)
    assert held(file) == [R] * R


def test_the_bubbles_of_a_hundred_ranks():
    """As many micro-batches as ranks: what these schedules do takes R^2 operations for each iteration."""
    R = 96
    np.testing.assert_allclose(idle(zero_bubble(R, R), 1, 1, 1), R - 1, rtol=1e-9)
    np.testing.assert_allclose(idle(interleaved(R, 2, R), 1, 1, 1), 3 * (R - 1) / 2, rtol=1e-9)


@pytest.mark.parametrize("name", FILES)
def test_the_bubbles_of_the_files_of_pytorch(name):
    """At F = I = W = 1. Qi et al., NeurIPS 2024: none for V-shaped zero bubble."""
    file = file_of(name)
    kind, R = name.partition("-")[0], len(file.rows)
    expected = {
        "GPipe": 3 * (R - 1),
        "Interleaved1F1B": 3 * (R - 1) / 2,
        "InterleavedZeroBubble": (R - 1) / 2,
        "ZBVZeroBubble": 0,
        "DualPipeV": (R - 1) / 2,
    }[kind]
    np.testing.assert_allclose(idle(file, 1, 1, 1), expected, atol=1e-9)
    if kind == "ZBVZeroBubble":
        assert max(held(file)) <= 2 * R  # as 1F1B: R micro-batches of both stages


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("Interleaved1F1B")])
def test_the_order_is_that_of_pytorch(name):
    file = file_of(name)
    ours = interleaved(len(file.rows), 2, file.M)
    assert in_iteration(ours.programs, 0) == in_iteration(file.programs, 0)


@pytest.mark.parametrize("R", [1, 2, 3, 5])
def test_one_stage_on_each_rank_is_1f1b(R):
    ours, theirs = interleaved(R, 1, 2 * R), flushed(one_forward_one_backward, R, 2 * R)
    assert in_iteration(ours.programs, 0) == in_iteration(theirs.programs, 0)


def test_whole_rounds_only():
    with pytest.raises(InputError, match="micro_batches: expected a multiple of the 3 ranks, got 4; choose another"):
        interleaved(3, 2, 4)


def test_the_table_of_the_book_is_what_the_command_writes():
    assert page.BEGIN + "\n" + page.table() + "\n" + page.END in page.PAGE.read_text()
