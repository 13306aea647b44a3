"""A resumed run is the run that never stopped, bit for bit; a checkpoint is there as a whole or not at all."""

import errno
import os
import shutil
import subprocess
from dataclasses import replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import IN_PROCESS
from runs import PER_EPOCH, SMALL, TINY, assert_same_run, finish, run_to, small_training, tiny_images
from test_schedules import schedules

from ddg_ref import Config
from ddg_ref.deadlock import check
from ddg_ref.errors import CheckpointError, DamagedError, InputError, ScheduleError, WorkerError
from ddg_ref.layers import Flatten, Linear, Tanh
from ddg_ref.methods import METHODS
from ddg_ref.runs import checkpoints
from ddg_ref.runs.checkpoints import list_checkpoints, load, resume, save
from ddg_ref.runs.rundir import STATE, SUMS, TENSORS
from ddg_ref.runs.training import Training
from ddg_ref.schedules import Action
from ddg_ref.tools import files

OPTIMIZERS = [
    {"optimizer": "sgd", "momentum": 0.0},
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "nesterov": True, "weight_decay": 1e-3},
    {"optimizer": "adam", "weight_decay": 1e-3},
    {"optimizer": "nadam", "weight_decay": 1e-3},
]
PLAIN = OPTIMIZERS[:2]
"""Those that every method takes."""
MODELS = [
    {"model": "mlp", "width": 3, "depth": 4},
    {"model": "cnn", "width": 2, "depth": 3},
    {"model": "resnet", "width": 1, "depth": 8},
]
SCHEDULES = [{}, {"schedule": "harmonic", "period": 3.0, "warmup": 4}, {"schedule": "multi-step", "milestones": "1"}]


METHOD_OPTIONS = {
    "ddg": {"delay_scaling": 3.0},
    "spectrain": {"delay_scaling": 3.0},
    "fdg": {"shrink": 0.5},
    "gpipe": {"micro_batches": 3},
    "dni": {"synthesizer_width": 2, "synthesizer_labels": True, "synthesizer_lr": 0.1},
}


@st.composite
def options(draw):
    model = draw(st.sampled_from(MODELS))
    method = draw(st.sampled_from(sorted(METHODS)))
    layers = len(small_training(**model, modules=1).network.layers)
    return {
        **SMALL,
        **model,
        **draw(st.sampled_from(PLAIN if method in ("spike", "async-nesterov") else OPTIMIZERS)),
        **draw(st.sampled_from(SCHEDULES)),
        "method": method,
        **draw(st.sampled_from([{}, METHOD_OPTIONS.get(method, {})])),
        "modules": draw(st.integers(1, min(6, layers))),
        "dtype": draw(st.sampled_from(["float32", "float64"])),
        "loss": draw(st.sampled_from(["cross-entropy", "squared-error"])),
        "drain": draw(st.booleans()),
        "augment": draw(st.booleans()),
        "seed": draw(st.integers(0, 9)),
        "epochs": draw(st.integers(1, 3)),
        "iterations": draw(st.none() | st.integers(0, 2 * PER_EPOCH)),
    }


ENGINE = st.sampled_from(IN_PROCESS)
STOPS = st.lists(st.tuples(st.integers(0, 3 * PER_EPOCH), ENGINE), min_size=1, max_size=4)


def resumed(config, stops, last_engine):
    """A run that stops at each of the iterations, is written, read and taken up by the next engine."""
    training = Training(config, TINY)
    with TemporaryDirectory() as directory:
        for iteration, engine in sorted(stops):
            training.config = replace(config, engine=engine)
            run_to(training, iteration)
            save(training, Path(directory))
            training = resume(Path(directory), engine=last_engine, data=TINY)
    return finish(training)


@given(options(), STOPS, ENGINE)
@settings(max_examples=200)
def test_a_resumed_run_is_the_run_that_never_stopped(options, stops, last_engine):
    config = Config(data="tiny", **options)
    assert_same_run(resumed(config, stops, last_engine), finish(Training(config, TINY)))


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("stop", range(2 * PER_EPOCH + 1))
@pytest.mark.parametrize(("first", "second"), [("threads", "reference"), ("reference", "threads")])
def test_every_iteration_is_one_to_stop_at(method, stop, first, second):
    """Among them iteration 0, all of the warm-up t < K-1, and the ends of the epochs."""
    optimizer = {} if method in ("spike", "async-nesterov") else {"optimizer": "adam"}
    config = Config(data="tiny", **SMALL | MODELS[1] | optimizer | {"method": method, "modules": 4})
    assert_same_run(resumed(config, [(stop, first)], second), finish(Training(config, TINY)))


@pytest.mark.parametrize("stop", range(2 * PER_EPOCH + 1))
def test_predicted_weights_are_each_batchs_own(stop):
    """In the warm-up, too, where all went forward before the first update: weight decay tells them apart."""
    decaying = {"method": "spectrain", "modules": 4, "weight_decay": 0.5}
    config = Config(data="tiny", **SMALL | decaying)
    assert_same_run(resumed(config, [(stop, "reference")], "threads"), finish(Training(config, TINY)))


@st.composite
def rows(draw):
    """A row of `schedules`, in which some modules update an iteration later, and some go back in halves.

    Of those that do both, the second half may come an iteration later too.
    """
    row, K = draw(schedules())
    halved, late = draw(st.sets(st.integers(1, K))), draw(st.sets(st.integers(1, K)))
    wait, apart = draw(st.integers(1, 9)), draw(st.booleans())

    def actions(k, K, t, M):
        own = [
            Action(kind, n - 1) if kind == "U" and k in late else Action(kind, n)
            for kind, n in row.schedule(k, K, t, M)
        ]
        for number in [action.number for action in own if action.kind == "B" and k in halved]:
            place = own.index(Action("B", number))
            own[place] = Action("I", number)
            second = Action("W", number - M if apart and k in late else number)
            own.insert(min(place + wait, len(own) - 1), second)
        return own

    return replace(row, schedule=actions), K


@given(rows(), st.integers(0, 2 * PER_EPOCH), ENGINE, ENGINE)
@settings(max_examples=200)
def test_whatever_schedule_is_accepted_can_be_stopped_at_any_iteration(drawn, stop, first, second):
    row, K = drawn
    options = {"method": row.name, "modules": K, "momentum": 0.5}
    config = Config(data="tiny", **SMALL | options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(METHODS, row.name, row)
        try:
            check(config.make_method().schedule, K, config.make_method().micro_batches, inf)
        except ScheduleError:
            with pytest.raises(ScheduleError):
                Training(config, TINY)
            return
        assert_same_run(resumed(config, [(stop, first)], second), finish(Training(config, TINY)))


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_a_finished_run_can_be_written_and_read(engine, tmp_path):
    for drain in (True, False):
        whole = finish(small_training(engine=engine, drain=drain, iterations=6))
        save(whole, tmp_path / str(drain))
        again = resume(tmp_path / str(drain), data=TINY)
        assert_same_run(again, whole)
        assert list(again.epochs()) == []
        assert again.result().final_test_accuracy == whole.result().final_test_accuracy


@pytest.mark.parametrize("every", [1, 2, 3, 4, 5, 100])
def test_checkpoints_come_after_every_so_many_iterations_and_two_are_kept(every, tmp_path):
    training, written = small_training(checkpoint_every=every), []
    for _ in training.epochs(lambda: written.append(save(training, tmp_path))):
        pass
    end = 2 * PER_EPOCH
    assert [int(path.name) for path in written] == list(range(every, end, every))
    assert list_checkpoints(tmp_path) == written[-2:]
    assert sorted(tmp_path.glob("*/*")) == written[-2:]
    assert_same_run(training, finish(small_training(checkpoint_every=every)))
    for checkpoint in written[-2:]:
        assert_same_run(finish(load(checkpoint, data=TINY)), training)


def test_without_checkpoint_every_none_is_written(tmp_path):
    training = small_training()
    for _ in training.epochs(lambda: save(training, tmp_path)):
        pass
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_this_iteration_is_not_written_twice(tmp_path):
    training = run_to(small_training(), 3)
    first = save(training, tmp_path)
    written = (first / TENSORS).stat().st_mtime_ns
    assert save(training, tmp_path) == first
    assert (first / TENSORS).stat().st_mtime_ns == written


def test_sha256sum_accepts_the_sums(tmp_path):
    checkpoint = save(run_to(small_training(), 3), tmp_path)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", SUMS], cwd=checkpoint, check=True)
    with (checkpoint / TENSORS).open("ab") as file:
        file.write(b"x")
    assert subprocess.run(["sha256sum", "--check", "--status", SUMS], cwd=checkpoint).returncode == 1


class DiskFullError(OSError):
    pass


STEPS = [
    (Path, "mkdir"),
    (files, "save_file"),
    (Path, "touch"),
    (Path, "write_text"),
    (Path, "open"),
    (Path, "chmod"),
    (os, "open"),
    (os, "fsync"),
    (os, "close"),
    (Path, "replace"),
    (Path, "rename"),
    (Path, "unlink"),
    (Path, "rmdir"),
]


def failing(original, at, calls):
    """`original`, but its call number `at` fails, once half of what it does is done where it writes."""

    def call(*arguments, **options):
        calls.append(None)
        if len(calls) - 1 == at:
            if original is Path.write_text:
                original(arguments[0], arguments[1][: len(arguments[1]) // 2])
            raise DiskFullError(errno.ENOSPC, "No space left on device")
        return original(*arguments, **options)

    return call


@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[name for _, name in STEPS])
def test_whatever_step_of_writing_fails_what_was_there_can_be_resumed(owner, step, tmp_path):
    """And the next attempt writes the checkpoint and leaves nothing else behind."""
    whole, at = finish(small_training()), 0
    while True:
        directory, calls = tmp_path / str(at), []
        training = small_training()
        for stop in (1, 2, 3):
            save(run_to(training, stop), directory)
        run_to(training, 4)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, step, failing(getattr(owner, step), at, calls))
            message = attempt(lambda training=training, directory=directory: save(training, directory))
        if len(calls) <= at:
            assert message == ""
            break
        checkpoint = directory / "checkpoints" / "000000000004"
        assert message == f"checkpoint {checkpoint}: cannot be written: No space left on device"
        kept = list_checkpoints(directory)
        assert len(kept) >= 2
        for checkpoint in kept:
            assert_same_run(finish(load(checkpoint, data=TINY)), whole)
        save(run_to(training, 5), directory)
        left = [path.name for path in sorted((directory / "checkpoints").iterdir())]
        assert left == [f"{4 if 4 in map(int, [path.name for path in kept]) else 3:012d}", "000000000005"]
        assert_same_run(finish(resume(directory, data=TINY)), whole)
        at += 1
    assert at > 0


def test_all_is_on_the_disk_before_the_name_and_the_name_before_older_ones_go(tmp_path, monkeypatch):
    """What a loss of power may take away is only what comes after."""
    training, events, folder = small_training(), [], ".000000000003.tmp"
    for stop in (1, 2):
        save(run_to(training, stop), tmp_path)
    fsync, rename, rmdir = os.fsync, Path.rename, Path.rmdir

    def flushed(descriptor):
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        events.append(("flush", name.replace(f"{os.getpid()}.", "")))
        fsync(descriptor)

    def renamed(path, target):
        events.append(("rename", Path(target).name))
        return rename(path, target)

    def removed(path):
        events.append(("remove", Path(path).name))
        rmdir(path)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "rename", renamed)
    monkeypatch.setattr(Path, "rmdir", removed)
    save(run_to(training, 3), tmp_path)
    assert events == [
        *(("flush", name) for name in (".state.unfinished.json", folder)),
        *(("flush", name) for name in (".tensors.unfinished.safetensors", folder)),
        *(("flush", name) for name in (SUMS, folder)),
        ("rename", "000000000003"),
        *(("flush", name) for name in ("checkpoints", tmp_path.name)),
        ("rename", ".000000000001.tmp"),
        ("remove", ".000000000001.tmp"),
    ]


def one_line(error):
    message = str(error)
    assert "\n" not in message
    assert len(message) < 700
    return message


def attempt(action):
    """The message of the CheckpointError that the action raises, or nothing."""
    try:
        action()
    except CheckpointError as error:
        return one_line(error)
    return ""


@pytest.mark.parametrize("written", [(), (STATE,), (STATE, ".tensors.7.unfinished.safetensors"), (STATE, TENSORS)])
def test_an_unfinished_checkpoint_of_a_killed_process_is_cleared_away(written, tmp_path):
    training = run_to(small_training(), 3)
    checkpoint = save(training, tmp_path)
    unfinished = checkpoint.with_name(".000000000009.tmp")
    unfinished.mkdir()
    for name in written:
        whole = (checkpoint / (STATE if name == STATE else TENSORS)).read_bytes()
        (unfinished / name).write_bytes(whole if name == STATE else whole[: len(whole) // 2])
    assert list_checkpoints(tmp_path) == [checkpoint]
    save(run_to(training, 4), tmp_path)
    assert [path.name for path in sorted((tmp_path / "checkpoints").iterdir())] == ["000000000003", "000000000004"]


def test_a_folder_of_somebody_else_stays_where_it_is(tmp_path):
    """However it is named, and whatever else is removed around it."""
    folder = tmp_path / "checkpoints"
    theirs = [folder / "000000000000" / "model.pt", folder / ".000000000009.tmp" / STATE]
    for path in theirs:
        path.parent.mkdir(parents=True)
        path.write_text("precious")
    training = small_training()
    for stop in range(1, 6):
        save(run_to(training, stop), tmp_path)
    assert [path.read_text() for path in theirs] == ["precious", "precious"]


class PlantedError(Exception):
    pass


def strike_at_second_call(module, phase):
    original, calls = getattr(module, phase), []

    def strike(*arguments):
        calls.append(None)
        if len(calls) == 2:
            raise PlantedError
        return original(*arguments)

    setattr(module, phase, strike)


@pytest.mark.parametrize("engine", IN_PROCESS)
@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.parametrize("phase", ["forward", "backward", "update"])
def test_a_run_broken_off_within_an_iteration_is_not_written(engine, method, phase, tmp_path):
    """By an error or a Ctrl-C that raised where it struck: its modules need not stand at the same iteration."""
    for k in (1, 2, 3):
        training = small_training(engine=engine, method=method)
        save(training, tmp_path / str(k))
        strike_at_second_call(training.pipeline.modules[k - 1], phase)
        with pytest.raises((PlantedError, WorkerError)):
            finish(training)
        with pytest.raises(CheckpointError, match="broken off within an iteration; resume from"):
            save(training, tmp_path / str(k))
        assert len(list_checkpoints(tmp_path / str(k))) == 1


OWN_LAYERS = [Flatten(), Linear(20, 4), Tanh(), Linear(4, 3)]


def own_training():
    return Training(Config(data="own", model="custom", batch_size=5, epochs=2, split="count"), TINY, OWN_LAYERS)


def test_own_data_and_own_layers_are_given_again(tmp_path):
    whole = finish(own_training())
    save(run_to(own_training(), 5), tmp_path)
    assert_same_run(finish(resume(tmp_path, data=TINY, layers=OWN_LAYERS)), whole)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": OWN_LAYERS}, "resume: unknown data 'tiny'"),
        ({"data": TINY}, "CHECKPOINT: unknown model 'custom': if its layers were your own, give them again"),
        ({"data": tiny_images(1), "layers": OWN_LAYERS}, "CHECKPOINT: it was written with other data than tiny is now"),
        ({"data": TINY, "layers": [Flatten(), Linear(20, 3)]}, "CHECKPOINT: it holds another network"),
        (
            {"data": TINY, "layers": [Flatten(), Linear(20, 5), Tanh(), Linear(5, 3)]},
            "CHECKPOINT: it holds another network",
        ),
        ({"data": TINY, "layers": [Flatten(), Linear(17, 3)]}, "Linear(n_in=17, n_out=3): expected"),
        ({"data": TINY, "layers": OWN_LAYERS, "engine": "warp"}, "unknown engine 'warp'"),
        ({"data": TINY, "layers": OWN_LAYERS, "device": "cuda:0"}, "device cuda:0: "),
        ({"data": TINY, "layers": OWN_LAYERS, "lr": 0.1}, "lr: expected options that may change, engine, device, "),
        ({"data": "moved.npz", "layers": OWN_LAYERS}, "resume: data moved.npz: cannot be read ("),
    ],
    ids=str,
)
def test_what_is_not_damage_does_not_cost_a_checkpoint(given, message, tmp_path):
    """Nobody is told to remove a checkpoint because something around it is missing, or is not what it was."""
    training = own_training()
    save(run_to(training, 3), tmp_path)
    checkpoint = save(run_to(training, 5), tmp_path)
    with pytest.raises(InputError) as caught:
        resume(tmp_path, **given)
    assert one_line(caught.value).startswith(message.replace("CHECKPOINT", f"checkpoint {checkpoint}"))
    assert not isinstance(caught.value, DamagedError)
    assert "remove" not in str(caught.value)


@pytest.mark.parametrize("error", [MemoryError("planted"), ImportError("planted"), PermissionError("planted")])
def test_what_happens_around_a_checkpoint_passes_as_itself(error, tmp_path, monkeypatch):
    save(run_to(small_training(), 2), tmp_path)

    def fail(*arguments, **options):
        raise error

    monkeypatch.setattr(checkpoints.reading, "make_network", fail)
    with pytest.raises((type(error), CheckpointError)) as caught:
        resume(tmp_path, data=TINY)
    assert not isinstance(caught.value, DamagedError)
    assert "planted" in str(caught.value)


def test_without_a_checkpoint_there_is_nothing_to_resume(tmp_path):
    with pytest.raises(InputError, match=r"resume: no checkpoint under .*; train with --checkpoint-every"):
        resume(tmp_path)


def test_a_damaged_checkpoint_says_which_older_one_there_is(tmp_path):
    training = small_training()
    older, newer = (save(run_to(training, stop), tmp_path) for stop in (2, 5))
    (newer / STATE).write_text("{}")
    with pytest.raises(CheckpointError, match=f"checkpoint {newer}: .*; remove it to resume from {older.name}"):
        resume(tmp_path, data=TINY)
    shutil.rmtree(newer)
    assert_same_run(finish(resume(tmp_path, data=TINY)), finish(small_training()))


def test_overflown_moments_are_as_good_as_any_other_bits(tmp_path):
    """A second moment of infinity holds a weight still for ever; the run goes on, so must the resumed one."""
    data = tiny_images(scale=1e25)
    config = Config(data="huge", **SMALL | {"optimizer": "adam", "dtype": "float32", "lr": 1e-3})
    training = run_to(Training(config, data), 5)
    save(training, tmp_path)
    slots = [array for m in training.pipeline.modules for array in m.optimizer_state.slots["second_moment"].values()]
    assert any(np.isinf(array).any() for array in slots)
    assert_same_run(finish(resume(tmp_path, data=data)), finish(Training(config, data)))
