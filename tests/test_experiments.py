"""The paper's experiments: every one at scale smoke, resumed, refused, and measured against oracles."""

import json
import multiprocessing
import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
from runs import run_to, small_training

from ddg_ref import DivergenceError, InputError, WorkerError
from ddg_ref.experiments import jobs as jobs_file
from ddg_ref.experiments import published, staleness
from ddg_ref.experiments.figures import FIGURES
from ddg_ref.experiments.jobs import Watch, check_stored, perform_all
from ddg_ref.experiments.plans import PLANS
from ddg_ref.experiments.prediction import module_times, predicted_speed_up
from ddg_ref.experiments.reproduce import ALL, plan, reproduce
from ddg_ref.experiments.results import Outcome, read, threshold_rows
from ddg_ref.experiments.settings import SCALES, STABLE
from ddg_ref.runs.run import Record
from ddg_ref.timeline import Span
from ddg_ref.tools.cores import usable_cores
from theory.recipe_bounds import momentum_threshold

ROOT = Path(__file__).parents[1]
SMOKE = SCALES["smoke"]


@contextmanager
def unwatched(what, runs):
    yield Watch()


def stopping_at(limit):
    """Watches that ask to stop once so many runs of an experiment are done."""

    @contextmanager
    def watching(what, runs):
        watch = Watch()

        def progress(done):
            watch.stop_requested = done >= limit

        watch.progress = progress
        yield watch

    return watching


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    out = tmp_path_factory.mktemp("experiments") / "smoke"
    return out, reproduce(ALL, "smoke", out, {}, unwatched)


def result(out, what):
    return json.loads((out / what / "result.json").read_text())


def bits(directory):
    """All that a run leaves behind, but times."""
    run = json.loads((directory / "run.json").read_text())
    for record in run["history"]:
        del record["seconds"]
    probes = directory / staleness.FILE
    return (
        (directory / "weights.safetensors").read_bytes(),
        run["history"],
        probes.read_bytes() if probes.exists() else b"",
    )


@pytest.mark.parametrize("what", PLANS)
def test_every_experiment_writes_its_files(everything, what):
    out, _ = everything
    found = result(out, what)
    assert found["scale"] == "smoke"
    assert found["environment"].keys() >= {"python", "numpy", "cores"}
    assert found["runs"].keys() == {job.name for job in PLANS[what](SMOKE)}
    assert found["errors"] or found["cosines"]
    assert (out / what / "figure.png").read_bytes().startswith(b"\x89PNG")
    text = (out / what / "result.md").read_text()
    for row in found["errors"]:
        assert f"| {row['group']} | {row['series']} | {row['median_test_error']:.2f} |" in text


def test_report_has_all(everything):
    out, written = everything
    assert written == out / "report.md"
    figures = re.findall(r"\]\((.*)\)", written.read_text())
    assert figures == [f"{what}/figure.png" for what in PLANS]


def test_medians_are_those_of_the_runs(everything):
    out, _ = everything
    for row in result(out, "resnet8")["errors"]:
        method, _, K = row["series"].partition(" K=")
        reached = [
            json.loads((out / "runs" / f"digits-resnet-8-sgd-{method}-{K or 1}-seed{seed}" / "run.json").read_text())
            for seed in SMOKE.seeds
        ]
        errors = [100 * (1 - run["final_test_accuracy"]) for run in reached]
        assert row["median_test_error"] == pytest.approx(np.median(errors))
        assert list(row["seeds"].values()) == pytest.approx(errors)


def test_times(everything):
    out, _ = everything
    rows = result(out, "modules")["times"]
    assert [row["K"] for row in rows] == [1, 2, 3, 4] * 2
    assert [row["target"] for row in rows] == [0.2] * 4 + [None] * 4
    for row in rows:
        if row["K"] == 1:
            assert row["speed_up"] == 1
            continue
        assert 1 <= row["predicted"] <= row["K"]
        assert row["predicted_here"] == min(row["predicted"], usable_cores())
        assert len(row["speed_up_by_seed"]) == len(SMOKE.seeds)


def test_a_run_that_diverges_is_a_result_and_is_named(tmp_path, monkeypatch):
    jobs = PLANS["resnet8"](SMOKE)
    hopeless = next(job for job in jobs if job.series.startswith("dni"))
    plans = [replace(job, options={**job.options, "lr": 1e9}) if job is hopeless else job for job in jobs]
    monkeypatch.setitem(PLANS, "resnet8", lambda scale: plans)
    for _ in range(2):  # the second time nothing is left to do
        document = reproduce("resnet8", "smoke", tmp_path, {}, unwatched).read_text()
        assert f"Diverged, and so in no median above: {hopeless.name}." in document
        assert list(result(tmp_path, "resnet8")["diverged"]) == [hopeless.name]
        assert (tmp_path / "resnet8" / "figure.png").exists()
        monkeypatch.setattr(jobs_file, "perform", None)
    monkeypatch.setitem(PLANS, "resnet8", lambda scale: jobs)
    with pytest.raises(InputError, match=r"holds a run with lr 1000000000\.0, expected"):
        reproduce("resnet8", "smoke", tmp_path, {}, unwatched)


def test_a_timed_run_that_diverges_ends_the_experiment(tmp_path):
    job = next(job for job in PLANS["modules"](SMOKE) if job.timed)
    with pytest.raises(DivergenceError, match=f"^{job.name}: the loss became "):
        perform_all([replace(job, options={**job.options, "lr": 1e9})], tmp_path, 1, Watch())


def test_a_second_call_runs_nothing(everything, monkeypatch):
    out, _ = everything
    monkeypatch.setattr(jobs_file, "perform", None)
    before = {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")}
    assert reproduce("depth", "smoke", out, {}, unwatched) == out / "depth" / "result.md"
    assert {path: path.stat().st_mtime_ns for path in (out / "runs").rglob("*")} == before


@pytest.mark.parametrize("limit", [0.3, 1.0, 2.8])
def test_resumed_after_an_interruption_it_gives_the_same_bits(everything, tmp_path, limit):
    out, _ = everything
    assert reproduce("staleness", "smoke", tmp_path, {}, stopping_at(limit)) is None
    assert not (tmp_path / "staleness").exists()
    assert len(list((tmp_path / "runs").glob("*/run.json"))) == int(limit)
    assert reproduce("staleness", "smoke", tmp_path, {}, unwatched)
    for name in result(out, "staleness")["runs"]:
        assert bits(tmp_path / "runs" / name) == bits(out / "runs" / name)
    assert result(tmp_path, "staleness")["cosines"] == result(out, "staleness")["cosines"]


def test_processes_give_the_same_bits_and_stop_when_asked(everything, tmp_path):
    out, _ = everything
    jobs = PLANS["optimizers"](SMOKE)[:4]
    with stopping_at(0.2)("", 4) as watch:
        assert not perform_all(jobs, tmp_path, 2, watch)
    assert not all(check_stored(job, tmp_path / job.name) for job in jobs)
    assert perform_all(jobs, tmp_path, 2, Watch())
    for job in jobs:
        assert bits(tmp_path / job.name) == bits(out / "runs" / job.name)


def test_a_killed_process_is_named_in_one_line(tmp_path):
    watch = Watch()

    def progress(done):
        for process in multiprocessing.active_children():
            with suppress(ProcessLookupError):  # one that has just ended by itself
                os.kill(process.pid, signal.SIGKILL)

    watch.progress = progress
    with pytest.raises(WorkerError, match=r"^a process that trains was killed; the same command goes on$"):
        perform_all(PLANS["resnet8"](SMOKE), tmp_path, 2, watch)


def test_other_settings_in_the_same_place_are_refused(everything, tmp_path):
    out, _ = everything
    with pytest.raises(
        InputError, match=r"^out: .* holds results of scale smoke, expected laptop; choose another \S+$"
    ):
        reproduce("resnet8", "laptop", out, {}, unwatched)
    (job, *_) = PLANS["resnet8"](SMOKE)
    changed = replace(job, options={**job.options, "lr": 0.5})
    with pytest.raises(InputError, match=r"holds a run with lr 0\.05, expected 0\.5; choose another directory$"):
        check_stored(changed, out / "runs" / job.name)
    assert reproduce("resnet8", "smoke", tmp_path, {}, stopping_at(0.3)) is None
    with pytest.raises(InputError, match=r"holds a run with lr 0\.05, expected 0\.5; choose another directory$"):
        check_stored(changed, tmp_path / "runs" / job.name)


def test_a_damaged_result_is_refused(everything, tmp_path):
    (job, *_) = PLANS["resnet8"](SMOKE)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match=r"^\S+run\.json: expected a whole JSON file \(.*\); move it away$"):
        check_stored(job, tmp_path)


@pytest.mark.parametrize("content", ["", "{", '{"written_by": "ddg_ref", "sc', "[]", '{"scale": "smoke"}', "\0"])
def test_a_cut_or_foreign_scale_is_one_line(content, tmp_path):
    (tmp_path / "scale.json").write_text(content)
    with pytest.raises(InputError) as caught:
        reproduce("resnet8", "smoke", tmp_path, {}, unwatched)
    assert "scale.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "scale.json").read_text() == content


@pytest.mark.parametrize("name", ["report.md", "depth/result.json", "depth/figure.png", "depth/result.md"])
def test_a_file_of_somebody_else_is_named_before_anything_is_run(name, tmp_path, monkeypatch):
    monkeypatch.setattr(jobs_file, "perform", None)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("precious")
    with pytest.raises(InputError, match=f"^out: {path} is in the way: ddg_ref did not write it; move it away or "):
        reproduce("depth", "smoke", tmp_path, {}, unwatched)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [path.name]
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nothing", "smoke", {}), "unknown experiment 'nothing': choose one of resnet8, "),
        (("all", "huge", {}), "unknown scale 'huge': choose one of smoke, laptop, paper"),
        (("all", "laptop", {"data_dir": "x"}), "data_dir: scale laptop reads no published files; leave it out"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        plan(*arguments)


@pytest.mark.parametrize("scale", SCALES)
def test_a_name_stands_for_one_run(scale):
    found = {}
    for jobs in plan(ALL, scale, {}).values():
        assert len({job.name for job in jobs}) == len(jobs)
        for job in jobs:
            assert found.setdefault(job.name, job) == job


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_all_settings_are_valid(scale):
    for jobs in plan(ALL, scale, {}).values():
        for job in jobs:
            job.config()


def test_paper_settings():
    """The command in the README of github.com/slowbull/DDG, and what its `main.py` has by default."""
    plans = plan(ALL, "paper", {"data_dir": "there", "download": True, "device": "cuda:0"})
    del plans["descendants"]  # which came later
    curves = [job for jobs in plans.values() for job in jobs if not job.timed]
    for job in curves:
        options = job.options
        assert options["data"] in ("cifar10", "cifar100")
        assert options["augment"]
        assert (options["batch_size"], options["epochs"], options["weight_decay"]) == (128, 300, 5e-4)
        assert (options["schedule"], options["milestones"], options.get("factor", 0.1)) == (
            "multi-step",
            "150,225",
            0.1,
        )
        assert (options["data_dir"], options["download"], options["device"]) == ("there", True, "cuda:0")
        if options["optimizer"] == "sgd":
            assert (options["lr"], options["momentum"], options["nesterov"]) == (0.01, 0.9, True)
    assert {job.options["depth"] for job in plans["depth"]} == {8, 20, 56, 110}
    assert {(job.options["method"], job.options["modules"]) for job in plans["resnet8"]} >= {
        ("bp", 1),
        ("dni", 2),
        ("ddg", 2),
    }
    assert {job.options["modules"] for job in plans["modules"]} == {1, 2, 3, 4}
    assert {job.options["depth"] for job in plans["depth"] if job.options["data"] == "cifar100"} == {56, 110}


def test_the_thresholds_are_those_of_the_theory():
    for (momentum, K), stable in STABLE["ddg"].items():
        assert stable == pytest.approx(momentum_threshold(K, momentum, False), rel=1e-6)
    for (momentum, K), stable in STABLE["async-nesterov"].items():
        assert stable == pytest.approx(momentum_threshold(K, momentum, True) / (1 - momentum), rel=1e-6)


@pytest.mark.parametrize("scale", SCALES)
def test_descendants_have_every_threshold(scale):
    """And differ from each other in method, K, momentum and seed alone."""
    jobs = PLANS["descendants"](SCALES[scale])
    kept = [
        {name: value for name, value in job.options.items() if name not in ("method", "modules", "momentum", "seed")}
        for job in jobs
    ]
    assert all(options == kept[0] for options in kept)
    wanted = {(job.options["momentum"], job.options["modules"]) for job in jobs}
    assert wanted == {(row["momentum"], row["K"]) for row in threshold_rows(jobs) if row["method"] == "ddg"}
    assert {job.options["method"] for job in jobs} >= {"bp", "ddg", "2bw", "spectrain", "async-nesterov", "spike"}


def test_descendants_show_what_diverged(everything):
    """A cross for it in the figure, its name in the text, and the thresholds beside."""
    out, _ = everything
    found = result(out, "descendants")
    text = (out / "descendants" / "result.md").read_text()
    assert "| ddg, momentum 0.9 | 3.8 | 0.1 | 0.0158 |" in text
    assert "| async-nesterov, momentum 0.9 | - | 2.53 | 0.176 |" in text
    jobs = PLANS["descendants"](SMOKE)
    outcomes = [read(job, out / "runs") for job in jobs if job.options["method"] != "spike"]
    figure = FIGURES["descendants"](outcomes, found)
    for axes in figure.axes:
        crosses = [line for line in axes.lines if line.get_marker() == "x"]
        assert len(crosses) == 2 * len(SMOKE.seeds)
        assert all(line.get_ydata()[0] == 100 for line in crosses)


def test_published_figures_stand_apart_with_their_source(everything):
    out, _ = everything
    quoted = ["6.97", "6.89", "6.41", "6.59", "30.21", "29.83", "28.10", "28.61"]
    reruns = ["6.19*", "6.63*", "5.79*", "6.26*", "27.68*", "28.44*", "25.82*", "27.16*"]
    for what, values in (("depth", quoted + reruns), ("modules", ["6.60*", "6.50*", "6.61*", "1.37*"])):
        ours, theirs = (out / what / "result.md").read_text().split("### Published")
        assert f"{published.LABEL}). Source: {published.SOURCE}" in theirs
        assert published.MARKS in theirs
        assert all(f"| {value} |" in theirs for value in values)
        assert "CIFAR" not in ours
        assert result(out, what)["published"]["source"] == published.SOURCE


def test_only_the_reruns_have_ddg_behind_bp_everywhere():
    """What README and lesson 9 say of them, in hundredths of a percent."""
    of = {(row.data, row.network, row.method, row.rerun): round(100 * row.value) for row in published.TEST_ERROR}
    behind = {
        (rerun, data): [
            of[data, f"ResNet-{depth}", "ddg", rerun] - of[data, f"ResNet-{depth}", "bp", rerun] for depth in (56, 110)
        ]
        for rerun in (True, False)
        for data in ("CIFAR-10", "CIFAR-100")
    }
    assert behind == {
        (True, "CIFAR-10"): [44, 47],
        (True, "CIFAR-100"): [76, 134],
        (False, "CIFAR-10"): [-8, 18],
        (False, "CIFAR-100"): [-38, 51],
    }


def test_published_speed_ups():
    assert [(row.network, row.K, round(row.value, 2)) for row in published.speed_ups()] == [
        ("ResNet-56", 2, 1.01),
        ("ResNet-56", 3, 1.04),
        ("ResNet-56", 4, 1.09),
        ("WRN-28-10", 2, 1.37),
        ("WRN-28-10", 3, 1.57),
        ("WRN-28-10", 4, 1.64),
    ]


# Staleness


def test_nothing_is_stale_under_bp_and_with_one_module(everything):
    out, _ = everything
    rows = result(out, "staleness")["cosines"]
    fresh = [row for row in rows if row["series"] in ("bp K=4", "ddg K=1")]
    assert len(fresh) == 5
    for row in fresh:
        assert row["cosines"] == pytest.approx([1] * len(row["iterations"]))


def test_the_last_module_is_never_stale_and_the_others_are(everything):
    out, _ = everything
    for row in result(out, "staleness")["cosines"]:
        method, _, K = row["series"].partition(" K=")
        if method == "ddg":
            assert len(row["cosines"]) == SMOKE.probes
            assert (row["cosines"] == pytest.approx([1] * SMOKE.probes)) is (row["module"] == int(K))


def mlp_gradient(params, x, labels):
    """Of the mean cross-entropy of Linear, ReLU, Linear, written down once more: {name: array}."""
    x = x.reshape(len(x), -1)
    hidden = x @ params["1.weight"] + params["1.bias"]
    y = np.maximum(hidden, 0) @ params["3.weight"] + params["3.bias"]
    dy = np.exp(y - y.max(axis=1, keepdims=True))
    dy /= dy.sum(axis=1, keepdims=True)
    dy[np.arange(len(labels)), labels] -= 1
    dy /= len(labels)
    dhidden = dy @ params["3.weight"].T * (hidden > 0)
    return {
        "1.weight": x.T @ dhidden,
        "1.bias": dhidden.sum(axis=0),
        "3.weight": np.maximum(hidden, 0).T @ dy,
        "3.bias": dy.sum(axis=0),
    }


def test_cosines_are_those_of_an_oracle(tmp_path):
    """Module 1 of 2 applies the gradient of batch t-1 at the weights of t-1; the true one is at those of t."""
    options = {"depth": 2, "modules": 2, "split": "3", "dtype": "float64", "lr": 0.5, "epochs": 5}
    training = small_training(**options)
    probes = staleness.Probes(training, 6, tmp_path)
    training.task.on_batch = probes.begin
    for _ in training.epochs():
        pass
    assert len(probes.found) == 6
    stale = []
    for t, (first, last) in probes.found:
        older, now = run_to(small_training(**options), t - 1), run_to(small_training(**options), t)
        x, labels = now.task.batch(t - 1)
        applied = mlp_gradient(older.pipeline.params, x, labels)
        true = mlp_gradient(now.pipeline.params, x, labels)
        u, v = (np.concatenate([g["1.weight"].ravel(), g["1.bias"]]) for g in (applied, true))
        assert first == pytest.approx(u @ v / np.sqrt((u @ u) * (v @ v)), abs=1e-12)
        assert last == pytest.approx(1, abs=1e-12)
        stale.append(first)
    assert min(stale) < 0.999


def test_probing_leaves_the_run_as_it_is(everything):
    out, _ = everything
    probed, plain = (out / "runs" / f"digits-resnet-8-sgd-ddg-3-{kind}seed0" for kind in ("probed-", ""))
    assert bits(probed)[:2] == bits(plain)[:2]


def test_no_cosine_with_a_vector_of_zeros():
    a, b = {"w": np.array([3.0, 4.0])}, {"w": np.array([4.0, 3.0])}
    assert staleness.cosine(a, b) == pytest.approx(0.96)
    assert staleness.cosine(a, {"w": np.zeros(2)}) is None


# Times


def test_module_times_and_the_prediction():
    spans, phases = [], ("take activation", "forward", "take error", "backward", "update")
    for iteration in range(3):
        for k, lengths in ((1, (1, 2, 50, 4, 1)), (2, (60, 1, 1, 2, 1))):
            for phase, length in zip(phases, lengths, strict=True):
                spans.append(Span(k, phase, iteration, iteration, 0.0, float(length)))
    times = module_times(spans, 2)
    assert times == {"forward": [3, 2], "backward": [4, 2], "update": [1, 1]}
    assert predicted_speed_up(times) == pytest.approx(13 / 8)
    assert predicted_speed_up(times, 1) == 1
    with pytest.raises(ValueError, match="expected a whole iteration of 3 modules"):
        module_times(spans, 3)


def test_seconds_to_a_target():
    history = [Record(e, e, 1.0, 0.5, 1.0, accuracy, 10.0 * e) for e, accuracy in ((1, 0.3), (2, 0.7), (3, 0.6))]
    outcome = Outcome(PLANS["resnet8"](SMOKE)[0], history, 40.0, 1.0)
    assert [outcome.seconds_to(target) for target in (0.2, 0.6, 0.7, 0.8, None)] == [10, 20, 20, None, None]


# The command


def test_ctrl_c_says_how_to_go_on(tmp_path):
    out = tmp_path / "a place"
    command = [sys.executable, "-W", "error", "-m", "ddg_ref"]
    process = subprocess.Popen(
        [*command, "reproduce", "resnet8", "--scale", "smoke", "--out", str(out)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = monotonic() + 120
    while not list(out.glob("runs/*")) and process.poll() is None and monotonic() < deadline:
        sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    (line,) = stderr.splitlines()
    assert (
        line
        == f"ddg: stopped; go on with: python -m ddg_ref reproduce resnet8 --scale smoke --out {shlex.quote(str(out))}"
    )
    again = shlex.split(line.partition("python -m ddg_ref ")[2])
    done = subprocess.run([*command, *again], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"written to {out / 'resnet8' / 'result.md'}"
    assert done.stderr == ""
