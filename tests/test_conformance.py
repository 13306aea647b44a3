"""Traces: written, read as something that cannot be trusted, and explained by what made them."""

import json
import os
import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conformance import come_to_the_same, judge, planted
from foreign import Setting, Trainer
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import assert_same_bits
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from ddg_ref.cli.main import app
from ddg_ref.conformance import Recorder, Trace, identify, read, write
from ddg_ref.conformance import faults as f
from ddg_ref.conformance.catalogue import NOT_COMPARED
from ddg_ref.conformance.comparing import ULPS, Comparer
from ddg_ref.conformance.reference import Noise, Running, Variant, history
from ddg_ref.conformance.report import lines
from ddg_ref.errors import InputError
from ddg_ref.layers import BatchNorm, Conv2d, Flatten, Linear, MaxPool, ReLU, Sequential, Tanh
from ddg_ref.layers.base import Layer
from ddg_ref.methods import METHODS
from ddg_ref.modules import Pipeline
from ddg_ref.optimizers import SGD, Adam
from ddg_ref.step_sizes import Constant
from ddg_ref.task import Task
from ddg_ref.workers import one_thread

pytestmark = pytest.mark.slow

MEMORY = 8 << 20
DEEP = [Linear(3, 4), Tanh(), Linear(4, 4), BatchNorm(4), ReLU(), Linear(4, 3)]
IMAGES = [Conv2d(1, 2, padding=1), ReLU(), MaxPool(2), Flatten(), Linear(8, 3)]
COMPARED = [name for name in METHODS if name not in NOT_COMPARED]


def recorded(
    variant, layers=DEEP, cuts=(2, 5), optimizer=None, T=8, N=6, dtype="float64", steps=(0.1, 0.05), stats=False
):
    """The trace of a run of the reference itself."""
    network, rng = Sequential(layers), np.random.default_rng(0)
    optimizer = optimizer or SGD(weight_decay=0.01)
    recorder = Recorder(
        layers, network.init(rng, dtype), cuts=cuts, optimizer=optimizer, step_sizes=steps,
        micro_batches=variant.row.micro_batches if variant.row.micro_batches > 1 else None,
    )  # fmt: skip
    shape = (4, 4, 1) if isinstance(layers[0], Conv2d) else (3,)
    for _ in range(T):
        recorder.batch(rng.standard_normal((N, *shape)), rng.integers(3, size=N))
    empty = recorder.trace()
    running = Running(empty, variant, lambda update: recorder.update(update.params, update.grads))
    found = running.run()
    if stats:
        recorder.statistics(found)
    return recorder.trace()


# The format


@pytest.mark.parametrize(("layers", "cuts"), [(DEEP, (2, 5)), (IMAGES, (2,)), ([Linear(3, 3)], ())])
@pytest.mark.parametrize("optimizer", [SGD(nesterov=True, weight_decay=0.1), Adam(beta1=0.8)])
def test_what_is_written_is_read(layers, cuts, optimizer, tmp_path):
    trace = recorded(Variant(METHODS["ddg"]), layers, cuts, optimizer, dtype="float32", stats=layers is DEEP)
    write(trace, tmp_path / "trace")
    again = read(tmp_path / "trace")
    for kind in ("initial", "weights", "gradients", "stats"):
        assert_same_bits(getattr(trace, kind), getattr(again, kind))
    assert_same_bits({"x": trace.x, "labels": trace.labels}, {"x": again.x, "labels": again.labels})
    assert repr(again.network.layers) == repr(trace.network.layers)
    assert vars(again.optimizer) == vars(optimizer)
    same = ("cuts", "loss", "step_sizes", "micro_batches", "shrink")
    assert [getattr(again, name) for name in same] == [getattr(trace, name) for name in same]


def test_a_linear_layer_comes_either_way():
    w, b = np.arange(12.0).reshape(4, 3), np.zeros(3)
    options = {"optimizer": SGD(), "step_sizes": [0.1]}
    for layout, weight in (("in_out", w), ("out_in", w.T)):
        recorder = Recorder([Linear(4, 3)], {"0.weight": weight, "0.bias": b}, layout=layout, **options)
        recorder.batch(np.ones((2, 4)), [0, 1])
        recorder.update({"0.weight": weight, "0.bias": b})
        assert_same_bits(recorder.trace().initial, {"0.weight": w, "0.bias": b})
    with pytest.raises(InputError, match="layout"):
        Recorder([Linear(4, 3)], {"0.weight": w.T, "0.bias": b}, **options)


def test_what_is_recorded_may_be_written_into_afterwards():
    params = {"0.weight": np.ones((2, 2)), "0.bias": np.ones(2)}
    recorder = Recorder([Linear(2, 2)], params, optimizer=SGD(), step_sizes=[0.1])
    recorder.batch(np.ones((2, 2)), [0, 1])
    params["0.weight"] += 1
    recorder.update(params)
    params["0.weight"] += 1
    trace = recorder.trace()
    assert trace.initial["0.weight"][0, 0] == 1
    assert trace.weights["0.weight"][0, 0, 0] == 2


class Half(Layer):
    """A layer that no trace can describe."""

    def output_shape(self, input_shape):
        return input_shape

    def forward(self, params, x):
        return x / 2, None

    def backward(self, params, cache, dy):
        return dy / 2, {}


def test_own_layers_are_given_again(tmp_path):
    layers = [Linear(3, 4), Half(), Linear(4, 3)]
    write(recorded(Variant(METHODS["ddg"]), layers, (1,)), tmp_path / "trace")
    with pytest.raises(InputError, match="give them again"):
        read(tmp_path / "trace")
    assert {"ddg", "pipedream"} <= identify(read(tmp_path / "trace", layers=layers)).methods


# What is equal


@pytest.mark.parametrize("name", COMPARED)
def test_every_row_is_named_bit_for_bit(name):
    verdict = identify(recorded(Variant(METHODS[name]), [*DEEP[:3], ReLU(), DEEP[5]], (2, 4)))
    assert name in verdict.methods
    assert verdict.exact
    assert any("bit for bit" in line for line in lines(verdict))


def test_rows_that_are_the_same_on_a_trace_are_all_named():
    verdict = identify(recorded(Variant(METHODS["bp"]), cuts=()))
    assert {"bp", "ddg", "ddg-current", "fr", "fdg", "pipedream"} <= verdict.methods


def test_updates_that_change_nothing_do_not_count():
    """Who writes down all weights after every iteration writes those of modules that have not moved, too."""
    trace = Trainer(Setting(optimizer=("sgd", {"momentum": 0}))).train()
    doubled = {name: np.repeat(stack, 2, axis=0) for name, stack in trace.weights.items()}
    assert identify(replace(trace, weights=doubled)).methods == {"ddg", "pipedream"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_change_above_rounding_is_none_of_it(dtype):
    """A foreign trainer passes; the same with one weight a little off, by no more than 1e4 units, does not."""
    trace = Trainer(Setting(dtype=dtype)).train()
    verdict = identify(trace)
    assert verdict.methods == {"ddg", "pipedream"}
    assert not verdict.exact
    changed = {name: stack.copy() for name, stack in trace.weights.items()}
    changed["2.weight"][4:, 0, 0] += 1e4 * np.finfo(dtype).eps
    verdict = identify(replace(trace, weights=changed), faults=0)
    assert not verdict.methods
    first = verdict.nearest[0].first
    assert (first.k, first.parameter, first.number) == (2, "2.weight", 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_tolerance_holds_what_other_rounding_does(dtype):
    """Also where it grows: Adam divides by small numbers. A fixed number of units would not."""
    trace = recorded(Variant(METHODS["ddg"]), optimizer=Adam(), T=20, dtype=dtype, steps=(0.05,))
    variant, eps = Variant(METHODS["ddg"]), np.finfo(dtype).eps
    tolerance, far = Comparer(trace).tolerance(variant), 0.0
    plain = history(trace, variant)
    for a, b in zip(plain, history(trace, variant, Noise(100, np.dtype(dtype))), strict=True):
        for name, w in a.params.items():
            apart = abs(w - b.params[name]).max()
            assert apart <= tolerance[name][a.number]
            far = max(far, apart / (ULPS * eps * abs(w).max()))
    assert far > 2


# What differs


def test_the_answer_says_where_and_what():
    verdict = identify(Trainer(Setting(fault=("dropped", None, 1, 5))).train())
    first = verdict.nearest[0].first
    assert (first.t, first.k, first.parameter) == (7, 1, "0.weight")
    assert [comparison.variant.rule for comparison in verdict.nearest] == ["ddg", "pipedream"]
    assert verdict.names == [
        f"{name} with the gradient of batch 5 dropped in module 1" for name in ("ddg", "pipedream")
    ]


@pytest.mark.parametrize("number", range(12))
def test_random_trainers_are_told_apart(number):
    """A sample; `python -m tests.conformance` does 200 of them."""
    outcome = judge(number, seed=1, faults=1)
    assert outcome.result == "right", outcome


@pytest.mark.parametrize(
    "faults",
    [
        (f.NO_DECAY, f.OtherDelay((1,), 1, (2, 0))),
        (f.CurrentWeights((1,)), f.Dropped(2, 3)),
        (f.Doubled(1, 2), f.Swapped(2, 4)),
    ],
    ids=["everywhere", "one of each", "single ones"],
)
def test_two_faults_are_found(faults):
    layers, variant = [*DEEP[:3], ReLU(), DEEP[5]], Variant(METHODS["ddg"], faults)
    trace = recorded(variant, layers, (2,), SGD(momentum=0, weight_decay=0.1), T=6)
    verdict = identify(trace)
    assert not verdict.methods
    assert any(come_to_the_same(trace, variant, c.variant) for c in verdict.named), verdict.names


def test_what_the_catalogue_has_not_is_undecided():
    trace = Trainer(Setting()).train()
    rng = np.random.default_rng(0)
    noisy = {name: stack + 0.01 * rng.standard_normal(stack.shape) for name, stack in trace.weights.items()}
    verdict = identify(replace(trace, weights=noisy), faults=1)
    assert not verdict.named
    assert any("undecided" in line for line in lines(verdict))


@pytest.mark.parametrize("fault", [f.StaleStatistics(), f.StatisticsTwice()], ids=lambda fault: fault.text)
def test_running_statistics_count(fault):
    verdict = identify(recorded(Variant(METHODS["ddg"], (fault,)), stats=True))
    assert not verdict.methods
    assert {c.variant.faults for c in verdict.named} == {(fault,)}
    assert identify(recorded(Variant(METHODS["ddg"]), stats=True)).methods == {"ddg", "pipedream"}


@pytest.mark.parametrize(("fault", "same"), [(f.NO_DECAY, True), (f.Doubled(3, 0), False)])
def test_gradients_tell_the_optimizer_from_the_gradient(fault, same):
    """Weight decay belongs to the step, a gradient counted twice does not."""
    verdict = identify(recorded(Variant(METHODS["ddg"], (fault,))), faults=0)
    assert verdict.nearest[0].first.same_gradient is same


def test_a_planted_fault_is_the_one_of_the_catalogue():
    """The trainer's faults are written without the catalogue; up to rounding they come to the same."""
    setting = Setting(fault=("swapped", None, 2, 3))
    trace = Trainer(setting).train()
    comparer, variant = Comparer(trace), planted(setting, trace)
    assert comparer.compare(variant, comparer.tolerance(variant)).first is None
    other = replace(setting, fault=("swapped", None, 2, 4))
    assert comparer.compare(planted(other, trace), comparer.tolerance(variant)).first is not None


def test_the_reference_is_the_engine():
    """The run that a trace is compared with ends where the engine does, to the bit."""
    trace, row = recorded(Variant(METHODS["ddg"]), steps=(0.1,)), METHODS["ddg"]
    stats = trace.network.init_stats(trace.dtype)
    pipeline = Pipeline.cut(trace.network, trace.cuts, row, trace.optimizer, trace.initial, stats)
    task = Task(lambda t: (trace.x[t], trace.labels[t]), trace.loss_function, Constant(0.1), trace.T)
    one_thread.run(pipeline, task, 0, trace.T + pipeline.delay)
    ends = {update.k: update.params for update in history(trace, Variant(row))}
    assert_same_bits(pipeline.params, {name: w for params in ends.values() for name, w in params.items()})


def test_the_page_has_the_table_that_was_measured():
    root = Path(__file__).parents[1]
    folder = root / "benchmarks" / "results" / "conformance-2026-12-01"
    outcomes = json.loads((folder / "conformance.json").read_text())["outcomes"]
    rows = (folder / "table.md").read_text().partition("-->")[2].strip()
    assert rows in (root / "book" / "conformance.md").read_text()
    results = [outcome["result"] for outcome in outcomes]
    counts = " | ".join(str(results.count(result)) for result in ("right", "wrong", "undecided"))
    assert f"| all | {len(outcomes)} | {counts} |" in rows
    assert len(outcomes) == 200
    assert results.count("right") >= 0.95 * len(outcomes)
    assert "wrong" not in results


# The command


def test_the_command_answers_and_writes(tmp_path):
    path, out = tmp_path / "trace", tmp_path / "out"
    write(Trainer(Setting()).train(), path)
    done = CliRunner().invoke(app, ["identify", str(path), "--expect", "ddg", "--out", str(out)])
    assert done.exit_code == 0
    assert "equal to ddg = pipedream to within rounding" in done.output
    assert json.loads((out / "identify.json").read_text())["methods"] == ["ddg", "pipedream"]
    assert (out / "identify.png").stat().st_size > 1000
    assert (out / "identify.md").exists()
    assert CliRunner().invoke(app, ["identify", str(path), "--expect", "bp"]).exit_code == 1


# Traces that cannot be trusted


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "trace"
    write(recorded(Variant(METHODS["ddg"]), stats=True), path)
    return path.read_bytes()


def refused(content, folder):
    """The message if it is refused, else the trace; either way with little memory."""
    path = folder / "hostile"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        return read(path)
    except InputError as error:
        message = str(error)
        assert message.startswith(f"trace {path}: ")
        assert len(message.splitlines()) == 1
        assert len(message) < len(str(path)) + 350
        return message
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < MEMORY + 8 * len(content)


def changed(real, folder, change):
    path = folder / "real"
    path.write_bytes(real)
    arrays = load_file(path)
    about = json.loads(arrays["about"].tobytes())
    arrays = change(arrays, about) or arrays
    if about is not None and "about" in arrays:
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), np.uint8)
    save_file(arrays, path)
    return path.read_bytes()


def one(name, array):
    return lambda arrays, about: arrays.update({name: array(arrays.get(name))})


def told(name, value):
    return lambda arrays, about: about.update({name: value})


def with_layer(place, **options):
    return lambda arrays, about: about["layers"][place].update(options)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda arrays, about: arrays.pop("initial/0.weight") * 0 is None, "initial: expected"),
        (lambda arrays, about: arrays.pop("weights/0.bias") * 0 is None, "weights: expected"),
        (lambda arrays, about: arrays.pop("batches/x") * 0 is None, "batches"),
        (lambda arrays, about: arrays.pop("step_sizes") * 0 is None, "step_sizes"),
        (lambda arrays, about: arrays.pop("about").size == 0, "about"),
        (one("weights/0.weight", lambda a: np.ascontiguousarray(a[:, :2])), "weights/0.weight: expected"),
        (one("weights/0.weight", lambda a: a[:3].copy()), "module 1: expected all its parameters"),
        (one("weights/0.weight", lambda a: a * np.nan), "finite"),
        (one("initial/0.weight", lambda a: a * np.inf), "finite"),
        (one("weights/2.weight", lambda a: a.astype(np.float32)), "expected float64"),
        (one("weights/9.weight", lambda a: np.zeros(3)), "also 9.weight"),
        (one("other/0.weight", lambda a: np.zeros(3)), "leave it out"),
        (one("gradients/0.weight", lambda a: a.astype(np.float16)), "expected F32 or F64"),
        (one("batches/labels", lambda a: a + 5), "renumber"),
        (one("batches/labels", lambda a: a - 5), "renumber"),
        (one("batches/labels", lambda a: a[:2].copy()), "whole numbers of shape"),
        (one("batches/x", lambda a: a[:, :, :2].copy()), "expected samples"),
        (one("batches/x", lambda a: a[:0].copy()), "not empty"),
        (one("batches/x", lambda a: a * np.nan), "finite"),
        (one("step_sizes", lambda a: -a), "step_sizes"),
        (one("step_sizes", lambda a: a[:0].copy()), "step_sizes"),
        (told("version", 2), "version"),
        (told("version", True), "version"),
        (told("more", 2), "got others"),
        (told("layers", [{"type": "pickle"}]), "unknown layer"),
        (told("layers", [{"type": ["Linear"]}]), "unknown layer"),
        (told("layers", "Linear"), "expected a list"),
        (told("layers", [{"type": "ReLU"}] * 2000), "expected a list of at most"),
        (told("layers", [{"type": "ReLU"}]), "none"),
        (told("layers", None), "give them again"),
        (with_layer(0, n_in=10**12), "initial/0.weight: expected"),
        (with_layer(0, n_in="3"), "whole number"),
        (with_layer(0, init="x"), "has no"),
        (told("cuts", [5, 2]), "increasing"),
        (told("cuts", {"a": 1}), "expected a list"),
        (told("loss", "mine"), "unknown loss"),
        (told("optimizer", {"type": "sgd", "momentum": 2}), "momentum"),
        (told("optimizer", {"type": "sgd", "speed": 2}), "optimizer"),
        (told("optimizer", {"type": "sgd", "momentum": "a"}), "expected a number"),
        (told("optimizer", {"type": "lion"}), "unknown optimizer"),
        (told("micro_batches", 0), "micro_batches"),
        (told("shrink", 2), "shrink"),
        (told("shrink", float("nan")), "finite"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(real, change, word, tmp_path):
    message = refused(changed(real, tmp_path, lambda *both: change(*both) and None), tmp_path)
    assert isinstance(message, str), "it was taken"
    assert word in message


NOTHING = {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]}


def safetensors(header, content=b""):
    return struct.pack("<Q", len(header)) + header + content


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"abc",
        b"\x80\x04\x95" * 20,
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 10**9) + b" " * 100,
        safetensors(b"{" * 100_000),
        safetensors(b'{"a": ' * 50_000),
        safetensors(b'{"x": {"dtype": "F64", "shape": [1000000000000], "data_offsets": [0, 8]}}', b"\0" * 8),
        safetensors(b'{"x": {"dtype": "F64", "shape": [1000000000, 0], "data_offsets": [0, 0]}}'),
        safetensors(json.dumps({f"{i}": NOTHING for i in range(10**6)}).encode()),
    ],
    ids=["empty", "short", "pickle", "huge", "too long", "braces", "nested", "too large", "nothing", "a million"],
)  # fmt: skip
def test_no_trace_at_all(content, tmp_path):
    assert isinstance(refused(content, tmp_path), str)


def test_json_that_nests_for_ever(real, tmp_path):
    def nest(arrays, about):
        return arrays | {"about": np.frombuffer(b"[" * 100_000, np.uint8)}

    path = tmp_path / "real"
    path.write_bytes(real)
    save_file(nest(load_file(path), None), path)
    assert "cannot be read" in refused(path.read_bytes(), tmp_path)


def test_a_network_that_blows_up_is_refused(tmp_path):
    """Few weights, a small batch, and activations without end."""
    layers = [Linear(1, 4000), Tanh()] + [Linear(4000, 1), Tanh(), Linear(1, 4000), Tanh()] * 2 + [Linear(4000, 2)]
    network = Sequential(layers)
    recorder = Recorder(layers, network.init(np.random.default_rng(0)), optimizer=SGD(), step_sizes=[0.1])
    recorder.batch(np.ones((4000, 1)), np.zeros(4000, int))
    recorder.update(network.init(np.random.default_rng(1)))
    with pytest.raises(InputError, match="tiny network"):
        recorder.trace()


def test_what_is_no_file_is_refused(real, tmp_path):
    (tmp_path / "trace").write_bytes(real)
    (tmp_path / "link").symlink_to(tmp_path / "trace")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "folder", "pipe", "nothing"):
        with pytest.raises(InputError, match=f"trace {tmp_path / name}: "):
            read(tmp_path / name)
    assert isinstance(read(tmp_path / "trace"), Trace)


@given(st.data())
@settings(max_examples=60)
def test_damage_is_refused_or_read_as_it_stands(real, tmp_path_factory, data):
    content = bytearray(real)
    for _ in range(data.draw(st.integers(1, 8))):
        place = data.draw(st.integers(0, min(len(content), 3000) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    cut = data.draw(st.integers(0, len(content))) if data.draw(st.booleans()) else len(content)
    found = refused(bytes(content[:cut]), tmp_path_factory.mktemp("damaged"))
    assert isinstance(found, str | Trace)
