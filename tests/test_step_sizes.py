import pytest
from hypothesis import given
from hypothesis import strategies as st
from messages import input_error

from ddg_ref.step_sizes import Constant, Harmonic, InverseSqrt, MultiStep, WarmUp

iterations = st.integers(0, 10**6)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (Constant(0.5), [0.5, 0.5, 0.5, 0.5, 0.5]),
        (Harmonic(0.6), [0.6, 0.3, 0.2, 0.15, 0.12]),
        (Harmonic(0.6, period=2), [0.6, 0.4, 0.3, 0.24, 0.2]),
        (InverseSqrt(1, period=1 / 3), [1, 1 / 2, 7**-0.5, 10**-0.5, 13**-0.5]),
        (InverseSqrt(0.6), [0.6, 0.6 / 2**0.5, 0.6 / 3**0.5, 0.3, 0.6 / 5**0.5]),
        (MultiStep(1, (2, 4)), [1, 1, 0.1, 0.1, 0.01]),
        (MultiStep(1, (1,), factor=0.5), [1, 0.5, 0.5, 0.5, 0.5]),
        (WarmUp(Constant(1), 4), [0.25, 0.5, 0.75, 1, 1]),
        (WarmUp(Constant(1), 1), [1, 1, 1, 1, 1]),
        (WarmUp(Harmonic(1), 2), [0.5, 0.5, 1 / 3, 1 / 4, 1 / 5]),
        (WarmUp(MultiStep(1, (2,)), 4), [0.25, 0.5, 0.075, 0.1, 0.1]),
    ],
    ids=str,
)
def test_values(schedule, expected):
    assert [schedule(t) for t in range(5)] == pytest.approx(expected, rel=1e-14)


@given(iterations, iterations)
def test_step_sizes_are_positive_and_never_grow_but_in_the_warm_up(t, later):
    t, later = sorted((t, later))
    for schedule in (Constant(0.3), Harmonic(0.3, 7), InverseSqrt(0.3, 7), MultiStep(0.3, (10, 1000, 10**5))):
        assert 0.3 >= schedule(t) >= schedule(later) > 0
        warm = WarmUp(schedule, 50)
        assert 0 < warm(t) <= schedule(t)
        assert t < 50 or warm(t) == schedule(t)


@pytest.mark.parametrize("milestones", [(), (0, 3), (3, 2), (2, 2)])
def test_milestones_must_increase(milestones):
    with input_error(expected="milestones: expected increasing numbers", got=list(milestones), advice="sort them"):
        MultiStep(1, milestones)
