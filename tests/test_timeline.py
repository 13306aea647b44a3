"""Spans: what is recorded, drawn and written."""

import json
from itertools import pairwise

import pytest
from networks import Problem

import ddg_ref
from ddg_ref.runs import plots
from ddg_ref.runs.trace import busy_fraction, last_iterations, trace
from ddg_ref.timeline import WAITING, Activity, Span
from ddg_ref.tools.files import write_json
from ddg_ref.workers import threads

QUICK = {"model": "mlp", "width": 8, "modules": 2, "split": "count", "iterations": 12}


def spans(method="ddg"):
    problem = Problem(cuts=(2, 4), iterations=6)
    pipeline = problem.pipeline(method)
    return threads.run(pipeline, problem.task(), 0, problem.iterations + pipeline.delay).spans


def test_spans_of_a_module_follow_each_other_without_gaps():
    recorded = spans()
    for k in (1, 2, 3):
        own = [span for span in recorded if span.k == k]
        assert all(earlier.stop == later.start for earlier, later in pairwise(own))
        assert {span.phase for span in own} == WAITING | {"forward", "backward", "update"}


def test_backward_works_on_the_batch_that_is_due():
    for method, delay in (("bp", 0), ("ddg", 1)):
        for span in spans(method):
            if span.phase == "backward":
                assert span.iteration - span.batch == delay * (3 - span.k)
            if span.phase == "forward":
                assert span.iteration == span.batch


def test_last_iterations_are_those_all_modules_reached():
    recorded = [Span(1, "forward", t, t, t, t + 1.0) for t in range(9)]
    recorded += [Span(2, "forward", t, t, t, t + 1.0) for t in range(5)]
    assert {span.iteration for span in last_iterations(recorded, 3)} == {2, 3, 4}


def test_a_module_that_has_reached_the_first_iteration_only_holds_up_the_others():
    recorded = [Span(1, "forward", t, t, t, t + 1.0) for t in range(3)] + [Span(2, "forward", 0, 0, 0.0, 1.0)]
    assert {span.iteration for span in last_iterations(recorded, 5)} == {0}


@pytest.mark.parametrize(("phase", "says"), [("take error", "waits to take error"), ("update", "is busy with update")])
def test_a_worker_says_whether_it_waits(phase, says):
    worker = Activity(2)
    worker.begin(phase, 3, 1)
    assert worker.describe(worker.since + 0.5) == f"module 2 {says} of iteration 3 since 0.5 s"


def test_busy_fraction_leaves_waiting_out():
    recorded = [Span(1, "forward", 0, 0, 0.0, 3.0), Span(1, "take error", 0, 0, 3.0, 4.0)]
    assert busy_fraction(recorded) == {1: 0.75}


def test_trace_is_what_perfetto_reads(tmp_path):
    recorded = spans()
    write_json(tmp_path / "trace.json", trace(recorded))
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert names == {"module 1", "module 2", "module 3"}
    complete = [event for event in events if event["ph"] == "X"]
    assert len(complete) == len(recorded)
    assert min(event["ts"] for event in complete) == 0
    assert all(event["dur"] >= 0 and event["tid"] in (1, 2, 3) for event in complete)
    assert {event["name"] for event in complete if event["cat"] == "wait"} == WAITING
    assert {event["name"] for event in complete if event["cat"] == "compute"} == {"forward", "backward", "update"}


def test_run_draws_its_timeline():
    figure = plots.plot_timeline(ddg_ref.train(**QUICK))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["module 1", "module 2"]
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_reference_has_no_timeline():
    with pytest.raises(ddg_ref.InputError, match="timeline: engine reference recorded nothing"):
        plots.plot_timeline(ddg_ref.train(**QUICK, engine="reference"))
