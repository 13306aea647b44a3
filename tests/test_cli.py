"""The command line as a user meets it: in a process of its own, and by what it writes."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from command import in_process
from safetensors.numpy import load_file

from ddg_ref import Config

ROOT = Path(__file__).parents[1]
QUICK = ["--model", "mlp", "--width", "8", "--batch-size", "100", "--split", "count"]


def ddg(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "ddg_ref", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        stdin=subprocess.DEVNULL,
        **options,
    )


@pytest.fixture(scope="module")
def run_directory(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "deep" / "run"
    done = ddg("train", *QUICK, "--method", "ddg", "--modules", 3, "--epochs", 2, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, done


def test_train_prints_a_table_and_nothing_else(run_directory):
    out, done = run_directory
    lines = done.stdout.splitlines()
    assert lines[0].split("  ")[0].strip() == "epoch"
    assert len(lines) == 4
    assert lines[-1].startswith("ddg K=3: test accuracy ")
    assert str(out) in lines[-1]
    assert done.stderr == ""  # no progress bar where there is no terminal


def test_run_json(run_directory):
    out, _ = run_directory
    run = json.loads((out / "run.json").read_text())
    assert run["config"].keys() == {option.name for option in fields(Config)}
    assert run["config"]["modules"] == 3
    assert run["environment"].keys() >= {"ddg_ref", "python", "numpy", "blas", "cores"}
    names = ["epoch", "iteration", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "seconds"]
    assert [list(record) for record in run["history"]] == [names, names]
    assert run["history"][-1]["iteration"] == 30
    assert run["final_test_accuracy"] == run["history"][-1]["test_accuracy"]
    assert run["milliseconds_per_iteration"] > 0
    assert [module["layers"] for module in run["modules"]] == [[0, 1], [2, 3, 4], [5, 6, 7]]
    assert sum(module["parameters"] for module in run["modules"]) == 64 * 8 + 8 + 2 * (8 * 8 + 8) + 8 * 10 + 10


def test_weights(run_directory):
    out, _ = run_directory
    weights = load_file(out / "weights.safetensors")
    assert {name: array.shape for name, array in weights.items()} == {
        **{"1.weight": (64, 8), "1.bias": (8,), "3.weight": (8, 8), "3.bias": (8,)},
        **{"5.weight": (8, 8), "5.bias": (8,), "7.weight": (8, 10), "7.bias": (10,)},
    }


def test_figures(run_directory):
    out, _ = run_directory
    for name in ("loss.png", "timeline.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_same_seed_same_bytes(tmp_path):
    """With the default way of cutting, which measures: its result must not vary."""
    options = ["--model", "cnn", "--width", "4", "--modules", "3", "--iterations", "10"]
    for name in "ab":
        assert ddg("train", *options, "--out", tmp_path / name).returncode == 0
    a, b = ((tmp_path / name / "weights.safetensors").read_bytes() for name in "ab")
    assert a == b


def test_weight_names_do_not_depend_on_method_modules_or_engine(tmp_path):
    shapes = []
    for i, (method, K, engine) in enumerate((("bp", 1, "reference"), ("ddg", 4, "threads"), ("bp", 3, "threads"))):
        options = ["--method", method, "--modules", K, "--engine", engine, "--model", "cnn", "--width", 4]
        options += ["--split", "count", "--iterations", 1, "--out", tmp_path / str(i)]
        assert ddg("train", *options).returncode == 0
        weights = load_file(tmp_path / str(i) / "weights.safetensors")
        shapes.append({name: array.shape for name, array in weights.items()})
    assert shapes[0] == shapes[1] == shapes[2]
    assert shapes[0]["0.weight"] == (3, 3, 1, 4)
    assert shapes[0]["1.running_mean"] == (4,)


def test_no_epochs_write_the_initial_weights(tmp_path):
    assert ddg("train", *QUICK, "--epochs", 0, "--out", tmp_path / "a").returncode == 0
    assert (
        ddg("train", *QUICK, "--epochs", 0, "--modules", 1, "--method", "bp", "--out", tmp_path / "b").returncode == 0
    )
    a, b = (load_file(tmp_path / name / "weights.safetensors") for name in "ab")
    assert all(np.array_equal(a[name], b[name]) for name in a)
    run = json.loads((tmp_path / "a" / "run.json").read_text())
    assert run["history"] == []
    assert 0 <= run["final_test_accuracy"] < 0.5
    assert run["milliseconds_per_iteration"] is None


def test_a_finished_run_is_not_overwritten_unasked(tmp_path):
    out = tmp_path / "run"
    assert ddg("train", *QUICK, "--epochs", 0, "--out", out).returncode == 0
    before = (out / "run.json").read_bytes()
    again = ddg("train", *QUICK, "--epochs", 0, "--seed", 1, "--out", out)
    assert again.returncode == 2
    assert again.stderr == f"ddg: out: {out} holds a run already; choose another directory or say --overwrite\n"
    assert (out / "run.json").read_bytes() == before
    assert ddg("train", *QUICK, "--epochs", 0, "--seed", 1, "--out", out, "--overwrite").returncode == 0
    assert (out / "run.json").read_bytes() != before


def test_compare_removes_nothing_before_all_can_be_trained(tmp_path):
    out = tmp_path / "out"
    assert in_process("compare", *QUICK, "--epochs", 0, "--runs", "bp,ddg:2", "--out", out).returncode == 0
    before = (out / "bp-1" / "run.json").read_bytes()
    for runs in ("bp,ddg:99", "bp,ddg:2,ddg:2", "bp,nothing:2"):
        again = in_process("compare", *QUICK, "--epochs", 0, "--runs", runs, "--out", out, "--overwrite")
        assert again.returncode == 2
        assert again.stderr.count("\n") == 1
    assert (out / "bp-1" / "run.json").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "vgg"], "ddg: unknown model 'vgg': choose one of mlp, cnn, resnet"),
        (
            ["--modules", "99"],
            "ddg: modules: expected 1 to 15, one layer each at the most, got 99; choose another number",
        ),
        (["--lr", "0"], "ddg: lr: expected a finite number > 0, got 0.0; 0.05 is a start"),
        (["--lr", "1e30", "--iterations", "9", "--model", "mlp"], "ddg: the loss became nan at iteration "),
    ],
    ids=str,
)
def test_bad_input_gets_one_line(tmp_path, arguments, message):
    done = ddg("train", *arguments, "--out", tmp_path / "run")
    assert done.returncode in (1, 2)
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_unwritable_out(tmp_path):
    (tmp_path / "file").write_text("")
    done = ddg("train", *QUICK, "--out", tmp_path / "file" / "run")
    assert done.returncode == 2
    assert done.stderr.startswith("ddg: out: cannot create ")
    assert done.stderr.count("\n") == 1


def test_compare(tmp_path):
    done = ddg("compare", *QUICK, "--epochs", 1, "--runs", "bp,ddg:2,ddg:4", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    header, *rows, last = done.stdout.splitlines()
    assert header.split("  ")[0] == "method"
    assert [row.split()[:2] for row in rows] == [["bp", "1"], ["ddg", "2"], ["ddg", "4"]]
    assert str(tmp_path) in last
    table = json.loads((tmp_path / "compare.json").read_text())
    assert [(row["method"], row["modules"]) for row in table["runs"]] == [("bp", 1), ("ddg", 2), ("ddg", 4)]
    assert table["runs"][0]["speed_up"] == 1
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
    for name in ("bp-1", "ddg-2", "ddg-4"):
        assert (tmp_path / name / "run.json").exists()


@pytest.mark.parametrize("method", ["ddg-current", "fr", "fdg", "gpipe", "pipedream", "spectrain", "spike", "dni"])
def test_train_with_every_other_method(tmp_path, method):
    options = [*QUICK, "--method", method, "--modules", 3, "--iterations", 20, "--checkpoint-every", 7]
    done = in_process("train", *options, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"{method} K=3: test accuracy ")
    whole = (tmp_path / "weights.safetensors").read_bytes()
    (tmp_path / "run.json").unlink()
    done = in_process("train", "--resume", tmp_path, "--engine", "reference")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "weights.safetensors").read_bytes() == whole


def test_compare_gives_an_option_to_the_methods_that_have_it(tmp_path):
    options = ["--runs", "ddg:3,fdg:3,dni:2", "--shrink", 0.5, "--synthesizer-labels", "--iterations", 3]
    done = ddg("compare", *QUICK, *options, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    configs = {
        name: json.loads((tmp_path / name / "run.json").read_text())["config"] for name in ("ddg-3", "fdg-3", "dni-2")
    }
    assert {name: config["shrink"] for name, config in configs.items()} == {"ddg-3": None, "fdg-3": 0.5, "dni-2": None}
    assert configs["dni-2"]["synthesizer_labels"] is True
    assert json.loads((tmp_path / "compare.json").read_text())["config"]["shrink"] == 0.5


def test_compare_refuses_an_option_that_no_method_has(tmp_path):
    done = ddg("compare", *QUICK, "--runs", "bp,ddg:2", "--micro-batches", 3, "--out", tmp_path)
    assert done.returncode == 2
    message = "micro_batches: expected runs of a method that has this option, got bp,ddg:2; leave it out"
    assert done.stderr == f"ddg: {message}\n"


@pytest.mark.parametrize("runs", ["bp,bp", "dgd:2", "ddg:x", "ddg:0", ""])
def test_compare_refuses_bad_runs(tmp_path, runs):
    done = ddg("compare", *QUICK, "--runs", runs, "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("ddg: ")
    assert done.stderr.count("\n") == 1


def test_timeline(tmp_path):
    done = ddg("timeline", *QUICK, "--modules", 2, "--count", 3, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("module 1: busy ")
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len({event["args"]["iteration"] for event in events if event["ph"] == "X"}) == 3


def squeeze(text):
    return "".join(text.split())


@pytest.mark.parametrize("command", ["train", "compare", "timeline"])
def test_help_explains_every_option(command):
    done = ddg(command, "--help", env=os.environ | {"COLUMNS": "200", "TERM": "dumb"})
    omitted = {
        "compare": ("method", "modules", "schedule_file"),
        "timeline": ("engine", "epochs", "iterations", "checkpoint_every", "drain"),
    }.get(command, ())
    for option in fields(Config):
        flag = f"--{option.name.replace('_', '-')} "
        assert (flag in done.stdout) == (option.name not in omitted), flag
        assert option.name in omitted or squeeze(option.metadata["help"]) in squeeze(done.stdout)
