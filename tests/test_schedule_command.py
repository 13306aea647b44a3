"""The command `schedule`: what it shows, what it proves, and training with a schedule from a file."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from runs import TINY, assert_same_run, finish, run_to, small_training
from safetensors.numpy import load_file
from test_mpi import ddg as ddg_on_ranks

from ddg_ref import Config, train
from ddg_ref.cli import main as cli
from ddg_ref.errors import CheckpointError, InputError, ScheduleError
from ddg_ref.methods import METHODS
from ddg_ref.runs import checkpoints, plots
from ddg_ref.runs.schedule_report import Subject, diagram, labels_of, times_of
from ddg_ref.runs.training import Training
from ddg_ref.schedule_files import flushed, parse, read
from ddg_ref.schedules import flush, one_forward_one_backward
from ddg_ref.simulation import simulate
from ddg_ref.tools.files import is_ours

ZERO_BUBBLE = "0F0,0F1,,0I0,0W0,0I1,0W1\n,1F0,1I0,1F1,1I1,1W0,1W1\n"
V = "0F0,,,3F0,3B0,,,0B0\n,1F0,2F0,,,2B0,1B0\n"
FILE = flushed(one_forward_one_backward, 3, 4).text()
BLOCKED = "0F0,0B0,0F1,0B1\n1F0,1F1,1B0,1B1\n"
SMALL = {"model": "mlp", "width": 8, "split": "count", "batch_size": 100, "iterations": 20}
OPTIONS = [text for name, value in SMALL.items() for text in (f"--{name.replace('_', '-')}", str(value))]


@pytest.fixture
def ddg(monkeypatch, capsys):
    """The command in this process: exit code, stdout, stderr."""

    def call(*arguments):
        monkeypatch.setattr("sys.argv", ["ddg", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        written = capsys.readouterr()
        return ended.value.code, written.out, written.err

    return call


@pytest.fixture
def path(tmp_path):
    """A file with 1F1B for three modules and four micro-batches."""
    place = tmp_path / "mine.csv"
    place.write_text(FILE)
    return place


def test_show_says_all_that_follows_from_a_schedule(ddg):
    code, out, err = ddg("schedule", "show", "1f1b", "--modules", 2, "--micro-batches", 2)
    assert (code, err) == (0, "")
    assert [line.rstrip() for line in out.splitlines()] == [
        "1f1b: K = 2, M = 2",
        "",
        "time     0",
        "module 1 |F0|F1|.....|B0   |..|B1",
        "module 2 ...|F0|B0   |F1|B1   |.....",
        "",
        "module        on  delay  weights kept  in flight  idle %",
        "     1  module 1      0             1          2    33.3",
        "     2  module 2      0             1          1    33.3",
        "",
        "an iteration takes 9, on one device 12: speed-up 1.33 with 2 workers, which are idle for 33.3% of the time",
        "no deadlock: every action of an iteration can happen, from iteration 0 on it is the same again, and the "
        "pipeline can be drained after each; at most 0 of 2 messages wait in a channel between two iterations",
    ]


def test_show_names_stages_where_a_rank_has_several(ddg, tmp_path):
    path = tmp_path / "v.csv"
    path.write_text(V)
    code, out, _ = ddg("schedule", "show", path, "--backward", "1")
    assert code == 0
    assert "rank 0 |0F0|.......|3F0|3B0|.......|0B0" in out
    assert "rank 1 ....|1F0|2F0|.......|2B0|1B0|..." in out
    assert "cannot run" not in out


def test_the_memory_of_delays_is_shown(ddg):
    _, out, _ = ddg("schedule", "show", "fdg", "--modules", 3)
    rows = [line.split() for line in out.splitlines() if line.strip()[:1] in "123" and "module" in line][-3:]
    assert [row[3:6] for row in rows] == [["4", "5", "5"], ["2", "3", "3"], ["0", "1", "1"]]


@pytest.mark.parametrize("name", METHODS)
def test_show_draws_every_row_of_the_table(ddg, name):
    code, out, err = ddg("schedule", "show", name, "--modules", 3, "--latency", "0.5", "--learn", "1")
    assert (code, err) == (0, "")
    assert "no deadlock" in out


def test_a_diagram_is_wrapped_and_true_to_scale():
    subject = Subject.of("gpipe", 3, 4)
    times = times_of(subject, 0.0, forward="1,2,3", backward="2", update="0.5", learn="0")
    bars = simulate(subject.programs, times, 2)
    whole = diagram(bars, labels_of(subject), 10_000)
    wrapped = diagram(bars, labels_of(subject), 60)
    assert len(whole) == 4
    rows = ["".join(part[9:] for part in wrapped if part.startswith(f"module {k}")) for k in (1, 2, 3)]
    assert rows == [line[9:] for line in whole[1:]]
    assert all(len(line) <= 60 for line in wrapped)
    end = max(bar.stop for own in bars for bar in own)
    scale = len(rows[0]) / end
    for row, own in zip(rows, bars, strict=True):
        for bar in own:
            assert row[round(bar.start * scale)] == "|"
        busy = sum(bar.stop - bar.start for bar in own) * scale
        assert len(row) - row.count(".") == pytest.approx(busy, abs=2 * len(own))


def test_a_diagram_stays_finite_where_times_differ_much():
    subject = Subject.of("ddg", 2)
    times = times_of(subject, 0.0, forward="1e-9", backward="1000", update="0", learn="0")
    rows = diagram(simulate(subject.programs, times, 5), labels_of(subject), 100)
    assert max(map(len, rows)) <= 100
    assert len(rows) < 200


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_a_schedule_is_drawn(ddg, tmp_path, path, suffix):
    out = tmp_path / f"drawing.{suffix}"
    assert ddg("schedule", "show", path, "--out", out)[0] == 0
    assert is_ours(out)
    assert ddg("schedule", "show", "ddg", "--out", out)[0] == 0  # what is ours is replaced
    foreign = tmp_path / f"foreign.{suffix}"
    foreign.write_text("mine")
    code, _, err = ddg("schedule", "show", "ddg", "--out", foreign)
    assert code == 1
    assert "is in the way" in err
    assert foreign.read_text() == "mine"


def test_each_bar_is_labelled():
    bars = simulate(Subject.of("gpipe", 2, 2).programs, ordinary_times("gpipe", 2, 2), 1)
    figure = plots.schedule(bars, ["a", "b"], lambda bar: f"{bar.action.kind}{bar.action.number}")
    labels = sorted(text.get_text() for text in figure.axes[0].texts)
    assert labels == sorted(["F0", "F1", "B0", "B1"] * 2)


def ordinary_times(name, K, M):
    return times_of(Subject.of(name, K, M), 0.0, forward="1", backward="2", update="0", learn="0")


def test_a_schedule_of_the_table_is_written_as_a_file(ddg, tmp_path):
    out = tmp_path / "gpipe.csv"
    assert ddg("schedule", "show", "gpipe", "--modules", 2, "--micro-batches", 3, "--out", out)[0] == 0
    assert read(out) == flushed(flush, 2, 3)
    code, _, err = ddg("schedule", "show", "gpipe", "--modules", 2, "--out", out)
    assert (code, "cannot be written (File exists)" in err) == (1, True)
    code, _, err = ddg("schedule", "show", "ddg", "--out", tmp_path / "ddg.csv")
    assert code == 2
    assert "expected a schedule of forward and backward passes with a flush" in err


def test_check_proves_or_says_why_not(ddg, tmp_path):
    path = tmp_path / "blocked.csv"
    path.write_text(BLOCKED)
    code, out, err = ddg("schedule", "check", path)
    assert (code, err) == (1, "")
    assert out == (
        "blocked.csv: 0B0 (module 1, iteration 0) can never happen: it waits for the error gradient of micro-batch 0 "
        "from module 2; correct the order\n"
    )
    path.write_text(ZERO_BUBBLE)
    code, out, _ = ddg("schedule", "check", path)
    assert code == 0
    assert out.splitlines()[0].startswith("blocked.csv: no deadlock: every action of a flush can happen")
    assert len(out.splitlines()) == 1
    path.write_text("0F0,0F1,0B1,0B0\n")
    code, out, _ = ddg("schedule", "check", path)
    assert code == 0
    assert "the engines cannot run it: 0B1 (module 1): micro-batch 0 went forward first" in out.splitlines()[1]
    assert ddg("schedule", "check", "fdg", "--capacity", 1)[0] == 1
    assert ddg("schedule", "check", "fdg", "--capacity", 2)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "nothing"], "unknown schedule 'nothing': choose one of bp, ddg,"),
        (["show", "nothing.csv"], "schedule nothing.csv: expected a file with a schedule, got none"),
        (["show", "x" * 5000 + ".csv"], ".csv: File name too long"),
        (["show", "ddg", "--micro-batches", "2"], "micro_batches: method ddg has no such option; leave it out"),
        (["show", "ddg", "--modules", "0"], "modules: expected a whole number >= 1, got 0"),
        (["show", "ddg", "--capacity", "0"], "capacity: expected a whole number >= 1, got 0"),
        (["check", "ddg", "--capacity", "0"], "capacity: expected a whole number >= 1, got 0"),
        (["show", "ddg", "--iterations", "0"], "iterations: expected a whole number >= 1, got 0"),
        (["show", "ddg", "--forward", "1,2"], "forward: expected one number, or 4 with commas between, got 1,2"),
        (["show", "ddg", "--backward", "many"], "backward: expected one number, or 4 with commas between, got many"),
        (["show", "ddg", "--update", "-1"], "update: expected a finite number >= 0, got -1"),
        (["show", "ddg", "--latency", "nan"], "latency: expected a finite number, got nan"),
        (["show", "ddg", "--forward", "0", "--backward", "0"], "times: expected some work, got none"),
        (["show", "ddg", "--out", "here.pdf"], "out: expected a name that ends in .png, .svg or .csv, got here.pdf"),
        (["run", "ddg", "--modules", "99", *OPTIONS], "modules: "),
    ],
)
def test_bad_input_is_refused_in_one_line(ddg, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    extra = ["--out", tmp_path / "run"] if arguments[0] == "run" else []
    code, out, err = ddg("schedule", *arguments, *extra)
    assert code == 2
    assert out == ""
    assert err.startswith(f"ddg: {message}") or message in err
    assert err.count("\n") == 1


def test_a_file_says_how_many_modules_and_parts(ddg, path):
    for option, own in (("modules", 3), ("micro-batches", 4)):
        code, _, err = ddg("schedule", "check", path, f"--{option}", own + 1)
        assert code == 2
        assert f"expected {own}, as in {path}, got {own + 1}; leave it out" in err
        assert ddg("schedule", "check", path, f"--{option}", own)[0] == 0


# Training


def weights(directory):
    return {name: array.tobytes() for name, array in load_file(directory / "weights.safetensors").items()}


def test_a_run_with_a_file_gives_the_bits_of_the_row_that_says_the_same(ddg, tmp_path, path):
    """Whatever engine: 1F1B from the table, from a file on `train`, from a file on `schedule run`."""
    row = [*OPTIONS, "--modules", 3, "--micro-batches", 4]
    assert ddg("schedule", "run", "1f1b", *row, "--out", tmp_path / "row")[0] == 0
    assert ddg("train", "--schedule-file", path, *OPTIONS, "--engine", "reference", "--out", tmp_path / "a")[0] == 0
    code, out, _ = ddg("schedule", "run", path, *OPTIONS, "--out", tmp_path / "b")
    assert code == 0
    assert "custom K=3: test accuracy" in out
    assert weights(tmp_path / "a") == weights(tmp_path / "row")
    assert weights(tmp_path / "b") == weights(tmp_path / "row")
    config = json.loads((tmp_path / "b" / "run.json").read_text())["config"]
    assert config["schedule_file"] == path.read_text()
    assert (config["method"], config["modules"]) == ("custom", 3)


def test_ranks_run_a_file(tmp_path, path):
    done = ddg_on_ranks("schedule", "run", path, *OPTIONS, "--engine", "mpi", "--out", tmp_path / "mpi", ranks=3)
    assert (done.returncode, done.stderr) == (0, "")
    done = ddg_on_ranks("schedule", "run", path, *OPTIONS, "--out", tmp_path / "threads")
    assert done.returncode == 0
    assert weights(tmp_path / "mpi") == weights(tmp_path / "threads")


STAGES = {
    "interleaved, in halves": "0F0,0F1,2F0,2F1,2I0,2W0,2I1,0I0,2W1,0I1,0W0,0W1\n"
    ",1F0,1F1,3F0,3I0,3F1,3I1,1I0,3W0,1I1,3W1,1W1,1W0\n",
    "V": V.replace("2B0,1B0", "2I0,1B0,2W0"),
}


@pytest.mark.parametrize("engine", ["reference", "threads"])
@pytest.mark.parametrize("content", [FILE, *STAGES.values()], ids=["1f1b", *STAGES])
def test_a_run_that_is_resumed_keeps_its_schedule(tmp_path, path, content, engine):
    """Though the file is another one by then, or gone."""
    path.write_text(content)
    options = {"schedule_file": str(path), "modules": parse(content).K, "method": "ddg", "engine": engine}
    straight, broken = finish(small_training(**options)), run_to(small_training(**options), 3)
    checkpoints.save(broken, tmp_path / "run")
    path.unlink()
    resumed = checkpoints.resume(tmp_path / "run", data=TINY)
    assert resumed.config == broken.config
    assert_same_run(finish(resumed), straight)


@pytest.mark.parametrize("content", STAGES.values(), ids=STAGES)
def test_files_with_several_stages_on_a_rank_are_run_alike_by_every_engine(ddg, tmp_path, content):
    """To rounding, as GPipe trains, whose parts are as many."""
    path = tmp_path / "stages.csv"
    path.write_text(content)
    for engine in ("reference", "threads"):
        code, out, err = ddg("schedule", "run", path, *OPTIONS, "--engine", engine, "--out", tmp_path / engine)
        assert (code, err) == (0, "")
        assert "custom K=4: test accuracy" in out
    done = ddg_on_ranks("schedule", "run", path, *OPTIONS, "--engine", "mpi", "--out", tmp_path / "mpi", ranks=2)
    assert (done.returncode, done.stderr) == (0, "")
    assert weights(tmp_path / "threads") == weights(tmp_path / "reference") == weights(tmp_path / "mpi")
    row = [*OPTIONS, "--modules", 4, "--micro-batches", parse(content).M]
    assert ddg("schedule", "run", "gpipe", *row, "--out", tmp_path / "gpipe")[0] == 0
    ours, theirs = (load_file(tmp_path / name / "weights.safetensors") for name in ("mpi", "gpipe"))
    for name, array in ours.items():
        np.testing.assert_allclose(array, theirs[name], rtol=2e-3, atol=2e-5)


def test_the_timeline_of_several_stages_shows_each_and_both_halves():
    run = train(schedule_file=STAGES["V"], modules=4, **SMALL)
    halves, own = {"input gradient", "weight gradients"}, {k: [] for k in (1, 2, 3, 4)}
    for span in run.spans:
        own[span.k].append(span)
    phases = {k: {span.phase for span in spans} for k, spans in own.items()}
    assert [halves <= phases[k] for k in own] == [False, False, True, False]
    for worker in ((1, 4), (2, 3)):  # which does one thing at a time
        spans = sorted((span for k in worker for span in own[k]), key=lambda span: span.start)
        assert all(earlier.stop <= later.start for earlier, later in pairwise(spans))
    labels = {label.get_text() for label in plots.plot_timeline(run).axes[0].get_yticklabels()}
    assert labels == {f"module {k}" for k in own}


def test_resume_on_the_command_line(ddg, tmp_path, path):
    out = tmp_path / "run"
    training = Training(Config(schedule_file=str(path), modules=3, **SMALL, checkpoint_every=5))
    checkpoints.save(run_to(training, 5), out)
    other = tmp_path / "other.csv"
    other.write_text(flushed(flush, 3, 4).text())
    code, _, err = ddg("train", "--resume", out, "--schedule-file", other)
    assert code == 2
    assert "schedule_file: the run was started with" in err
    assert len(err) < 1000
    assert ddg("train", "--resume", out, "--schedule-file", path)[0] == 0


def test_a_path_in_a_checkpoint_is_no_schedule(tmp_path, path):
    """What a file says is not read from another file."""
    training = small_training(schedule_file=str(path), modules=3)
    stored = training.config.stored() | {"schedule_file": str(path)}
    with pytest.raises(CheckpointError, match="expected the text of a schedule file, got something else"):
        checkpoints.reading._config(stored)


def test_a_config_reads_a_file_once(path):
    config = Config(schedule_file=path, modules=3)
    assert config.schedule_file == path.read_text()
    assert replace(config, lr=0.1).schedule_file == config.schedule_file
    method = config.make_method()
    assert (method.name, method.micro_batches, method.guesses) == ("custom", 4, False)
    assert [method.delay(k, 3) for k in (1, 2, 3)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modules": 2}, "modules: expected 3, as in the schedule file, got 2; say 3"),
        ({"method": "fr", "modules": 3}, "method: expected none beside a schedule file, got fr; leave one of them out"),
        ({"micro_batches": 4, "modules": 3}, "micro_batches: method custom has no such option; leave it out"),
        ({"schedule_file": "nowhere.csv"}, "schedule nowhere.csv: expected a file with a schedule, got none"),
        ({"schedule_file": "0F0,0X0\n"}, "schedule file: row 1, column 2: expected an action like 0F0"),
        ({"schedule_file": V}, "modules: expected 4, as in the schedule file, got 2; say 4"),
        ({"schedule_file": BLOCKED}, "0B0 (module 1, iteration 0) can never happen"),
        ({"schedule_file": "0F1,0F0,0B1,0B0\n", "modules": 1}, "module 1: expected iterations that begin with a forw"),
        ({"schedule_file": "0F0,0F1,0B1,0B0\n", "modules": 1}, "micro-batch 0 went forward first, so it goes back"),
        ({"schedule_file": 3}, "schedule_file: expected str or None, got int 3"),
        ({"schedule_file": None, "method": "custom"}, "unknown method 'custom': choose one of bp"),
    ],
)
def test_what_cannot_be_run_is_refused_before_it_starts(path, options, message):
    with pytest.raises((InputError, ScheduleError)) as caught:
        Config(**{"schedule_file": str(path), **options})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_method_beside_a_file_is_refused(ddg, tmp_path, path):
    """Even that which would be the default."""
    code, _, err = ddg("train", "--schedule-file", path, "--method", "ddg", "--out", tmp_path / "run")
    assert code == 2
    assert "method: expected none beside a schedule file, got ddg; leave one of them out" in err
    assert not (tmp_path / "run").exists()
