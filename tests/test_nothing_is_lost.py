"""What a user has, trained or otherwise, is there afterwards: whatever was in the way, was full, or failed."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from command import in_process as ddg
from safetensors.numpy import load_file

import ddg_ref
from ddg_ref.errors import WriteError
from ddg_ref.runs import comparison, rundir
from ddg_ref.tools.files import read_json, write_json

TINY_RUN = {"model": "mlp", "width": 4, "split": "count", "batch_size": 500, "epochs": 1, "engine": "reference"}

ROOT = Path(__file__).parents[1]
QUICK = ["--model", "mlp", "--width", "8", "--batch-size", "500", "--split", "count", "--epochs", "1"]
COMMANDS = {
    "train": ["train", *QUICK],
    "compare": ["compare", *QUICK, "--runs", "bp,ddg:2"],
    "timeline": ["timeline", *QUICK[:-2], "--count", "1"],
}


def tree(directory):
    """Everything below a directory: names, kinds, contents."""
    found = {}
    for path in directory.rglob("*"):
        content = path.readlink() if path.is_symlink() else path.is_dir() or path.read_bytes()
        found[str(path.relative_to(directory))] = content
    return found


def put(path, content="precious"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


FOREIGN = {
    "a folder of models": ("train", "checkpoints/epoch-1.pt"),
    "a numbered folder": ("train", "checkpoints/000000000010/model.pt"),
    "a state of others": ("train", "checkpoints/000000000010/state.json"),
    "an unfinished one of others": ("train", "checkpoints/.000000000010.tmp/state.json"),
    "their checkpoint in a comparison": ("compare", "ddg-2/checkpoints/best.ckpt"),
    "their figure": ("train", "loss.png"),
    "their other figure": ("timeline", "timeline.png"),
    "their trace": ("timeline", "trace.json"),
    "their weights": ("train", "weights.safetensors"),
    "their result": ("train", "run.json"),
    "their comparison": ("compare", "compare.json"),
    "their picture": ("compare", "compare.png"),
    "a file named checkpoints": ("train", "checkpoints"),
    "their run in a comparison": ("compare", "bp-1/run.json"),
}


def test_tensors_of_others_beside_a_state_of_ours_stay(tmp_path):
    checkpoint = tmp_path / "checkpoints" / "000000000010"
    put(checkpoint / "state.json", '{"written_by": "ddg_ref"}')
    put(checkpoint / "tensors.safetensors")
    before = tree(tmp_path)
    done = ddg(*COMMANDS["train"], "--out", tmp_path, "--overwrite")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert tree(tmp_path) == before


def test_a_file_in_place_of_a_run_of_a_comparison_stays(tmp_path):
    put(tmp_path / "ddg-2")
    done = ddg(*COMMANDS["compare"], "--out", tmp_path, "--overwrite")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert (tmp_path / "ddg-2").read_text() == "precious"


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["unasked", "overwrite"])
@pytest.mark.parametrize("what", FOREIGN)
def test_what_ddg_ref_did_not_write_stays(what, overwrite, tmp_path):
    command, name = FOREIGN[what]
    put(tmp_path / name)
    before = tree(tmp_path)
    done = ddg(*COMMANDS[command], "--out", tmp_path, *overwrite)
    assert done.returncode == 2
    assert re.fullmatch(r"ddg: out: \S+ is in the way: ddg_ref did not write it; move it away or .*\n", done.stderr)
    assert str(tmp_path / name).startswith(done.stderr.split()[2])
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", ["checkpoints", "run.json", "loss.png"])
@pytest.mark.parametrize("target", ["there", "nowhere"])
def test_a_link_is_in_the_way_and_what_it_leads_to_stays(name, target, tmp_path):
    put(tmp_path / "there" / "000000000001" / "state.json", '{"written_by": "ddg_ref"}')
    out = tmp_path / "out"
    out.mkdir()
    (out / name).symlink_to(tmp_path / target)
    before = tree(tmp_path)
    done = ddg(*COMMANDS["train"], "--out", out, "--overwrite")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{out / name} is in the way" in done.stderr
    assert tree(tmp_path) == before


def test_files_beside_ours_stay(tmp_path):
    """Only what is ours goes when a run is replaced."""
    for name in ("notes.txt", "loss.csv", "data/train.npz"):
        put(tmp_path / name)
    for i in range(2):
        done = ddg(*COMMANDS["train"], "--checkpoint-every", 1, "--seed", i, "--out", tmp_path, "--overwrite")
        assert (done.returncode, done.stderr) == (0, "")
    assert [(tmp_path / name).read_text() for name in ("notes.txt", "loss.csv", "data/train.npz")] == ["precious"] * 3
    assert json.loads((tmp_path / "run.json").read_text())["config"]["seed"] == 1


def test_a_damaged_checkpoint_of_ours_does_not_stand_in_the_way(tmp_path):
    options = [*COMMANDS["train"], "--checkpoint-every", 1, "--out", tmp_path]
    assert ddg(*options).returncode == 0
    for file in (tmp_path / "checkpoints").glob("*/state.json"):
        file.write_text("")
    assert ddg(*options, "--overwrite").returncode == 0


def test_no_name_is_no_directory(tmp_path):
    put(tmp_path / "checkpoints" / "mine")
    before = tree(tmp_path)
    for command in COMMANDS.values():
        done = ddg(*command, "--out", "", cwd=tmp_path)
        assert done.returncode == 2
        assert "expected the name of a directory, got an empty one; say . for this one" in done.stderr
    assert tree(tmp_path) == before


REFUSED = {
    "a depth that does not exist": ["--model", "resnet", "--depth", "9"],
    "too many modules": ["--modules", "99"],
    "a missing file": ["--data", "missing.npz"],
    "a missing device": ["--device", "cuda:0"],
    "batches that are too large": ["--batch-size", "99999"],
    "a bad cut": ["--modules", "2", "--split", "99"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What each command leaves, made once."""
    found = {command: tmp_path_factory.mktemp(command) for command in COMMANDS}
    for command, out in found.items():
        assert ddg(*COMMANDS[command], "--out", out).returncode == 0
    return found


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("why", REFUSED)
def test_what_is_refused_is_refused_before_anything_is_removed(command, why, made, tmp_path):
    options = COMMANDS[command]
    shutil.copytree(made[command], tmp_path, dirs_exist_ok=True)
    before = tree(tmp_path)
    wrong = REFUSED[why]
    if command == "compare" and "--modules" in wrong:
        at = wrong.index("--modules")
        wrong = [*wrong[:at], "--runs", f"ddg:{wrong[at + 1]}", *wrong[at + 2 :]]
    done = ddg(*options, *wrong, "--out", tmp_path, "--overwrite")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert tree(tmp_path) == before


def test_one_bad_place_of_a_comparison_keeps_all_others(tmp_path):
    options = COMMANDS["compare"]
    assert ddg(*options, "--out", tmp_path).returncode == 0
    (tmp_path / "ddg-2" / "run.json").write_text("mine")
    before = tree(tmp_path)
    assert ddg(*options, "--out", tmp_path, "--overwrite").returncode == 2
    assert tree(tmp_path) == before


@contextmanager
def full_disk(directory, names):
    """Below `directory` there is no more room for files, except for those whose names begin so."""
    touch = Path.touch

    def full(path, *arguments, **options):
        if path.is_relative_to(directory) and not path.name.startswith(names):
            raise OSError(errno.ENOSPC, "No space left on device")
        touch(path, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "touch", full)
        yield


@pytest.mark.parametrize("command", ["train", "compare"])
@pytest.mark.parametrize("names", ["?", ".weights"], ids=["nothing", "weights"])
def test_a_run_that_cannot_be_kept_is_kept_elsewhere(command, names, tmp_path):
    """And what came of it is printed whatever happens."""
    out = tmp_path / "run"
    with full_disk(out, names):
        done = ddg(*COMMANDS[command], "--out", out)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("\n") == 1
    for place in map(Path, re.findall(r"the run has been written to (\S+) instead", done.stderr)):
        assert {"run.json", "weights.safetensors", "loss.png"} <= {path.name for path in place.iterdir()}
        shutil.rmtree(place)
    assert "instead" in done.stderr
    assert "test acc" in done.stdout


def test_a_checkpoint_that_cannot_be_kept_is_kept_elsewhere(tmp_path):
    options = ["train", *QUICK, "--batch-size", "100", "--checkpoint-every", "2"]
    with full_disk(tmp_path, "?"):
        done = ddg(*options, "--out", tmp_path)
    assert done.returncode == 2
    cause = f"ddg: checkpoint {tmp_path}/checkpoints/000000000002: cannot be written: No space left on device; "
    assert done.stderr.startswith(f"{cause}it lies elsewhere, go on with: python -m ddg_ref train --resume ")
    assert done.stderr.count("\n") == 1
    elsewhere = Path(done.stderr.split()[-1])
    assert ddg(*options, "--out", tmp_path / "whole").returncode == 0
    assert ddg("train", "--resume", elsewhere).returncode == 0
    weights = [(place / "weights.safetensors").read_bytes() for place in (elsewhere, tmp_path / "whole")]
    assert weights[0] == weights[1]
    shutil.rmtree(elsewhere)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize("command", ["train", "compare"])
def test_what_cannot_be_printed_has_been_kept(command, tmp_path):
    """As with a log on a full disk, or a reader that has gone."""
    arguments = [sys.executable, "-m", "ddg_ref", *COMMANDS[command], "--out", "run"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            arguments, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 1
    assert done.stderr.startswith(
        b"ddg: what has come of it cannot be printed (No space left on device), but has been "
    )
    assert done.stderr.count(b"\n") == 1
    run = tmp_path / "run" / ("bp-1" if command == "compare" else "")
    assert {"run.json", "weights.safetensors", "loss.png"} <= {path.name for path in run.iterdir()}


def test_a_run_is_not_saved_over_another(tmp_path):
    first, second = (ddg_ref.train(**TINY_RUN, seed=seed) for seed in (0, 1))
    rundir.save(first, tmp_path)
    before = tree(tmp_path)
    with pytest.raises(WriteError, match="holds another run; choose another directory"):
        rundir.save(second, tmp_path)
    assert tree(tmp_path) == before
    rundir.save(first, tmp_path)  # the same run once more
    put(tmp_path / "precious")
    with pytest.raises(WriteError, match="precious cannot be "):
        rundir.save(first, tmp_path / "precious")


def test_a_comparison_that_is_stopped_keeps_all_of_its_runs(tmp_path, monkeypatch):
    before = comparison.Comparison.train

    def stop_midway(comparing):
        for entry in comparing.entries:
            shown = entry.training.task.on_batch

            def on_batch(t, shown=shown):
                shown(t)
                comparing.stop_requested = comparing.stop_requested or t == 20

            entry.training.task.on_batch = on_batch
        before(comparing)

    monkeypatch.setattr(comparison.Comparison, "train", stop_midway)
    options = [*COMMANDS["compare"], "--batch-size", "50", "--epochs", "3"]
    out, whole = tmp_path / "out", tmp_path / "whole"
    done = ddg(*options, "--out", out)
    assert done.returncode == 130
    assert done.stderr.startswith("ddg: stopped; each of the runs goes on by itself; python -m ddg_ref train --resume ")
    monkeypatch.undo()
    assert ddg(*options, "--out", whole).returncode == 0
    for name in ("bp-1", "ddg-2"):
        assert str(out / name) in done.stderr
        assert ddg("train", "--resume", out / name).returncode == 0
        weights = [(place / name / "weights.safetensors").read_bytes() for place in (out, whole)]
        assert weights[0] == weights[1]


def test_a_result_is_not_taken_for_one_of_another_kind(tmp_path):
    write_json(tmp_path / "run.json", {"run": "mine"})
    with pytest.raises(
        WriteError, match=r"run\.json is in the way: expected a verification or nothing, got a run\.json"
    ):
        write_json(tmp_path / "run.json", {}, kind="verification")
    assert read_json(tmp_path / "run.json")["run"] == "mine"


def test_no_room_for_the_weights_is_said_before_training(tmp_path):
    limited = f"ulimit -f 20; {sys.executable} -m ddg_ref train --model mlp --epochs 9999 --split count --out run"
    path = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", limited], cwd=tmp_path, env=path, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"ddg: out: run has no room for \d+ bytes \(File too large\); make room or .*\n", done.stderr)
    assert [path.name for path in tmp_path.rglob("*")] == ["run"]


def test_a_run_that_fails_takes_no_other_with_it(tmp_path):
    done = ddg("compare", *QUICK, "--runs", "bp,dni:2,ddg:2", "--synthesizer-lr", "1e30", "--out", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("ddg: 1 of 3 runs failed: dni K=2: the ")
    assert done.stderr.count("\n") == 1
    rows = [line.split() for line in done.stdout.splitlines()[1:4]]
    assert [row[0] for row in rows] == ["bp", "dni", "ddg"]
    assert rows[1][2:] == ["failed", "-", "-"]
    assert "failed" not in rows[0] + rows[2]
    for name in ("bp-1", "ddg-2"):
        assert load_file(tmp_path / name / "weights.safetensors")
        assert (tmp_path / name / "run.json").exists()
    stored = json.loads((tmp_path / "compare.json").read_text())["runs"]
    assert [row["failure"] is None for row in stored] == [True, False, True]
    assert (tmp_path / "compare.png").exists()


def test_all_runs_of_a_comparison_may_fail(tmp_path):
    done = ddg("compare", *QUICK, "--runs", "bp,ddg:2", "--lr", "1e30", "--batch-size", "100", "--out", tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("ddg: 2 of 2 runs failed: bp K=1: the loss became ")


def test_a_comparison_writes_checkpoints_and_each_run_goes_on(tmp_path):
    options = [*COMMANDS["compare"], "--batch-size", "100", "--epochs", "2"]
    assert ddg(*options, "--checkpoint-every", "20", "--out", tmp_path).returncode == 0
    for name in ("bp-1", "ddg-2"):
        whole = (tmp_path / name / "weights.safetensors").read_bytes()
        (tmp_path / name / "run.json").unlink()
        assert ddg("train", "--resume", tmp_path / name).returncode == 0
        assert (tmp_path / name / "weights.safetensors").read_bytes() == whole
