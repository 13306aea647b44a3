"""The comparison with the clock: its arithmetic and its machinery. How close it comes is printed, not tested."""

import numpy as np
import pytest
from typer.testing import CliRunner

from ddg_ref.periods import Times
from ddg_ref.timeline import Span
from theory.__main__ import app
from theory.timing import PHASES, Plan, Turn, compare, iteration_time, mean_times, period_rows, verdicts, works

SMALL = Plan(width=8, depth=4, batch_size=4, modules=2, iterations=8, turns=2)


def test_iteration_time_is_from_update_to_update_of_module_1():
    spans = [Span(k, phase, t, t, 2.0 * t, 2.0 * t + 1) for t in range(4) for k in (1, 2) for phase in PHASES]
    assert iteration_time(spans) == 2.0


def test_work_of_a_module_is_timed_by_phase():
    modules = works(SMALL.training("ddg"))
    for t in range(3):
        for work in modules:
            work.once(t)
    assert all(len(work.seconds[phase]) == 3 for work in modules for phase in PHASES)
    assert not any(work.module.queue for work in modules)
    times = mean_times(modules)
    assert times.K == 2
    assert (np.stack([times.forward, times.backward, times.update]) > 0).all()
    assert not modules[0].seconds["forward"]


def test_every_turn_measures_everything():
    turns = compare(SMALL)
    assert len(turns) == 2
    assert all(turn.bp > 0 and turn.ddg > 0 and turn.alone.K == turn.together.K == 2 for turn in turns)


def test_predictions_are_the_closed_formulas():
    times = Times(np.array([1.0, 2.0]), np.array([3.0, 4.0]), update=np.array([0.5, 0.25]))
    bp, free = verdicts([Turn(times, times, bp=21.0, ddg=5.0), Turn(times, times, bp=10.5, ddg=12.5)])
    assert (bp.predicted, free.predicted) == (10.5, 6.25)  # all of it, module 1's update; the slower module
    assert (bp.ratio, bp.lowest, bp.highest) == (0.75, 0.5, 1.0)
    assert free.ratio == (1.25 + 0.5) / 2
    two_phase = period_rows([Turn(times, times, bp=1.0, ddg=1.0)])[-1]
    assert two_phase[:3] == ("two-phase", "7250.00", "not run")


def test_command_prints_prediction_and_measurement():
    arguments = ["speed", "--width", "8", "--depth", "4", "--batch-size", "4", "--iterations", "4", "--turns", "1"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    for word in ("predicted", "measured", "bp", "free", "two-phase", "together"):
        assert word in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--turns", "0"], "turns: expected an integer >= 1, got 0"),
        (["--iterations", "3"], "iterations: expected an integer >= 4, got 3"),
        (["--depth", "0"], "depth: expected a whole number >= 1, got 0"),
    ],
)
def test_bad_input_is_one_line(arguments, message):
    done = CliRunner().invoke(app, ["speed", *arguments])
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {message}")
