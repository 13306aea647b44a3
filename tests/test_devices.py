"""Modules on GPUs. Without one: on a checked CuPy, which raises at whatever would go wrong on real devices.

Where there is a GPU these tests run on it (`make gpu-check`), but for those that say something of the checked one.
"""

import re
import sys
from dataclasses import replace
from os import environ
from pathlib import Path
from time import sleep
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from checked import GPUS, PLACES, REAL, Stream, Violation, askew, installed
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import input_error
from networks import IN_PROCESS, Problem, assert_same_bits, problems, state
from runs import TINY, assert_same_run, finish, run_to, small_training
from test_engines import METHOD
from test_layers import CASES

from ddg_ref import Config, Dataset, layers
from ddg_ref.arrays import added, hosted, to_host
from ddg_ref.corrections import spike_compensation
from ddg_ref.device import Cpu, Device
from ddg_ref.experiments import staleness
from ddg_ref.gpu import kernels
from ddg_ref.gpu.cuda import INSTALL, LAUNCHING, LEAD, WORKSPACE, Cuda, _check_libraries
from ddg_ref.gpu.packing import packed
from ddg_ref.guessers.synthesizers import Guessing
from ddg_ref.layers import Sequential
from ddg_ref.losses import LOSSES
from ddg_ref.modules import Module
from ddg_ref.optimizers import SGD, Adam, NAdam
from ddg_ref.runs import checkpoints
from ddg_ref.runs.costs import measure_costs
from ddg_ref.runs.devices import device_names, make_device
from ddg_ref.runs.engines import ENGINES
from ddg_ref.runs.training import Training
from ddg_ref.task import Task
from ddg_ref.workers.channel import Channel

of_the_checked_one = pytest.mark.skipif(REAL > 0, reason="says something of the checked CuPy, and a real one is here")
pytestmark = pytest.mark.usefixtures("world")


# Engines


@given(problems(), METHOD, st.sampled_from(PLACES), st.sampled_from(IN_PROCESS))
@settings(max_examples=40)
def test_devices_agree_with_the_host(problem, method, places, engine):
    """Kernels add in another order, so up to rounding."""
    problem = replace(problem, dtype="float64")
    there, here = state(replace(problem, devices=places).run(engine, method)), state(problem.run(engine, method))
    for name in here:
        np.testing.assert_allclose(there[name], here[name], rtol=1e-6, atol=1e-9, err_msg=name)


@of_the_checked_one
@pytest.mark.parametrize("method", ["bp", "ddg"])
def test_the_host_never_waits_within_an_iteration(world, method):
    """Losses stay where they are until somebody reads them."""

    def waits(iterations):
        problem = Problem("cnn", cuts=(2, 5), iterations=iterations, devices=("cuda:0", "cuda:0", "cuda:1"))
        pipeline, task, before = problem.pipeline(method), problem.task(), world.waits
        ENGINES["threads"](pipeline, task, 0, iterations)
        waited = world.waits - before
        assert not any(isinstance(result.loss, float) for result in task.results)
        with pipeline.modules[-1].device.opened():
            task.read_results()
        assert all(isinstance(result.loss, float) for result in task.results)
        return waited

    assert waits(3) == waits(12) == 6  # at the end: each worker, and for what then still waits above each module


RESNET_20 = 556
"""Operations that an iteration of backpropagation asks of a GPU, on ResNet-20 with momentum."""


@of_the_checked_one
def test_an_iteration_of_resnet_20_asks_for_no_more_than_it_did(world):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 8, 8, 3), dtype=np.float32), np.arange(8) % 10
    config = Config(
        model="resnet", depth=20, method="bp", modules=1, batch_size=4, lr=1e-3, device="cuda:0", engine="reference"
    )
    training = Training(config, Dataset("noise", x, y, x[:2], y[:2], 10))

    def operations(start, stop):
        before = world.operations
        ENGINES["reference"](training.pipeline, training.task, start, stop)
        return world.operations - before

    operations(0, 1)  # the first packs the weights
    once = operations(1, 2)
    assert operations(2, 12) == 10 * once
    assert once <= RESNET_20


@of_the_checked_one
def test_windows_are_gathered_a_few_images_at_a_time_where_they_do_not_all_fit(world, monkeypatch):
    rng, device, layer = np.random.default_rng(0), Cuda(0), layers.Conv2d(2, 3, 3, padding=1)
    x, dy, params = rng.standard_normal((5, 4, 4, 2)), rng.standard_normal((5, 4, 4, 3)), layer.init(rng, np.float64)
    monkeypatch.setattr(kernels, "WINDOW_BYTES", 2 * 4 * 4 * 18 * 8)
    with device.opened():
        y, cache = layer.forward(placed := device.place_all(params), device.place(x))
        dx, grads = layer.backward(placed, cache, device.place(dy))
        there = hosted({"y": y, "dx": dx} | grads)
    y, cache = layer.forward(params, x)
    dx, grads = layer.backward(params, cache, dy)
    for name, array in ({"y": y, "dx": dx} | grads).items():
        np.testing.assert_allclose(there[name], array, rtol=1e-12, atol=1e-12, err_msg=name)


# How launching goes


@of_the_checked_one
@pytest.mark.parametrize("method", ["ddg", "gpipe", "dni"])
def test_one_worker_launches_at_a_time_and_waits_for_nobody_meanwhile(monkeypatch, method):
    """Whatever computes holds the lock; what takes, gives and waits does not."""
    computed, passed = [], []

    def seen(where, original):
        def step(*arguments, **options):
            where.append(LAUNCHING.locked())
            return original(*arguments, **options)

        return step

    for owner, names, where in (
        (Module, ("forward", "backward", "input_gradient", "weight_gradients", "update"), computed),
        (Task, ("error_gradient",), computed),
        (Guessing, ("guess", "learn"), computed),
        (Channel, ("take", "give"), passed),
    ):
        for name in names:
            monkeypatch.setattr(owner, name, seen(where, getattr(owner, name)))
    Problem("mlp", cuts=(2, 4), iterations=4, devices=("cuda:0",)).run("reference", method)
    assert computed
    assert passed
    assert all(computed)
    assert not any(passed)
    computed.clear()
    Problem("mlp", cuts=(2, 4), iterations=4).run("reference", method)
    assert computed
    assert not any(computed)  # on a CPU nobody waits for anybody


@of_the_checked_one
def test_the_host_runs_ahead_of_the_device_by_so_many_iterations_and_no_more(world):
    def waits(iterations):
        problem = Problem("mlp", iterations=iterations, devices=("cuda:0",))
        pipeline, task, before = problem.pipeline("bp"), problem.task(), world.waits
        ENGINES["threads"](pipeline, task, 0, iterations)
        return world.waits - before

    assert waits(LEAD + 5) - waits(LEAD) == 5
    assert waits(LEAD) == waits(2)


@of_the_checked_one
@pytest.mark.parametrize("chosen", [None, ":16:8"])
def test_cublas_is_told_to_add_alike_on_all_streams_before_it_is_used(monkeypatch, chosen):
    monkeypatch.delenv(WORKSPACE, raising=False)
    if chosen:
        monkeypatch.setenv(WORKSPACE, chosen)
    told = []
    _check_libraries.cache_clear()
    monkeypatch.setattr(sys.modules["cupy"], "matmul", lambda *operands: told.append(environ.get(WORKSPACE)))
    make_device("cuda:0")
    assert told == [chosen or ":4096:8"]


@of_the_checked_one
@pytest.mark.parametrize("stops", [False, True])
def test_memory_is_given_back_at_the_end_of_a_run(world, stops):
    """Of each device, once for each of its modules, and not between two epochs."""
    training = small_training(device="cuda:0,cpu,cuda:1", engine="threads", epochs=2)
    before = dict(world.given_back)
    for record in training.epochs():
        assert record
        assert world.given_back == before
        training.task.stop_requested = stops
    assert {index: n - before.get(index, 0) for index, n in world.given_back.items()} == {0: 1, 1: 1}


# What the checked devices find


def on(index):
    device = Cuda(index)
    with device.opened():
        return device, device.place(np.ones((4, 3)))


@of_the_checked_one
def test_devices_do_not_mix(world):
    (zero, x), (_, y) = on(0), on(1)
    with zero.opened(), pytest.raises(Violation, match="device 1's array in an operation of device 0"):
        x + y
    with zero.opened(), pytest.raises(Violation, match="an array of the host"):
        x + np.ones(3)
    with zero.opened(), pytest.raises((Violation, TypeError)):
        np.ones(3) + x
    with pytest.raises(Violation, match="taken for one of the host"):
        np.asarray(x)


@of_the_checked_one
def test_reading_without_waiting_is_found(world):
    sender, receiver = Cuda(0), Cuda(0)
    with sender.opened():
        y = sender.place(np.ones(3)) * 2
        with receiver.opened(), pytest.raises(Violation, match="does not wait for the one that writes"):
            y + 1
        message = sender.hand_over(y)
        with receiver.opened():
            assert float((receiver.receive(message) + 1).sum()) == 9


@of_the_checked_one
def test_memory_that_is_given_back_too_early_is_found(world):
    sender, receiver = Cuda(0), Cuda(0)

    def pass_on(keep):
        with sender.opened():
            message = sender.hand_over(sender.place(np.ones(3)) * 2)
            if not keep:
                sender._given.clear()
            stream = receiver._stream
            with stream:  # opened, but without the wait at its end
                receiver.receive(message)
            del message
            sender.place(np.ones(3))

    pass_on(keep=True)
    with pytest.raises(Violation, match="memory is allocated again"):
        pass_on(keep=False)


@of_the_checked_one
def test_a_product_depends_on_where_its_operands_lie(world):
    device, x = Cuda(0), np.random.default_rng(0).standard_normal((4, 3))
    with device.opened():
        whole, part, w = (device.place(array) for array in (x, x[2:], x.T[:, :2]))
        apart, together = to_host(part @ w), to_host(whole[2:] @ w)
        assert apart.tobytes() != together.tobytes()
        np.testing.assert_allclose(apart, together, rtol=1e-15)
        assert to_host(whole[:2] @ w).tobytes() == (x[:2] @ x.T[:, :2]).tobytes()


@pytest.mark.parametrize("places", PLACES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parts_of_a_batch_lie_alike_in_all_engines(places, dtype):
    problem = Problem("mlp", dtype=dtype, cuts=(2, 4), iterations=3, devices=places)
    assert_same_bits(state(problem.run("threads", "gpipe")), state(problem.run("reference", "gpipe")))


def test_what_is_handed_over_is_kept_until_it_has_been_taken_and_no_longer(world):
    sender, receiver = Cuda(0), Cuda(1 % GPUS)
    with sender.opened():
        for _ in range(5):
            message = sender.hand_over(sender.place(np.ones(3)))
            with receiver.opened():
                receiver.receive(message)
            assert len(sender._given) == 1


@of_the_checked_one
@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("receive", lambda self, message: message.array if hasattr(message, "array") else self.place(message)),
        ("receive", lambda self, message: self._copy(getattr(message, "array", message))),
        ("hand_over", lambda self, x: x),
    ],
)
def test_engines_with_a_mistake_in_the_hand_over_are_found(monkeypatch, name, mistake):
    problem = Problem("mlp", cuts=(2, 4), iterations=9, devices=("cuda:0", "cuda:1"))
    problem.run("threads", "ddg")
    monkeypatch.setattr(Cuda, name, mistake)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever worker is first
        problem.run("threads", "ddg")
    assert isinstance(caught.value.__cause__ or caught.value, Violation)


# Layers, losses, optimizers


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_layers_agree_with_the_host(case):
    device, layer = Cuda(1 % GPUS), case.layer
    params, x, dy = case.draw(np.float64)
    stats = layer.init_stats(np.float64)

    def everything(params, stats, x, dy):
        y, cache = layer.forward(params, x)
        dx, grads = layer.backward(params, cache, dy)
        other = {"y": y, "dx": dx, "inferred": layer.infer(params, stats, x)}
        return hosted(other | grads | layer.advance(stats, cache))

    with device.opened():
        placed = [device.place_all(part) for part in (params, stats)]
        there = everything(*placed, device.place(x), device.place(dy))
    here = everything(params, stats, x, dy)
    assert there.keys() == here.keys()
    for name, array in here.items():
        np.testing.assert_allclose(there[name], array, rtol=1e-9, atol=1e-9, err_msg=name)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_losses_agree_with_the_host(loss):
    rng, device = np.random.default_rng(0), Cuda(0)
    y, labels = rng.standard_normal((6, 3)), rng.integers(3, size=6)
    value, dy = loss(y, labels)
    with device.opened():
        value2, dy2 = loss(device.place(y), device.place(labels))
    np.testing.assert_allclose([float(value2), *to_host(dy2).ravel()], [value, *dy.ravel()], rtol=1e-12)


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(momentum=0),
        SGD(weight_decay=0.1),
        SGD(nesterov=True, weight_decay=0.1),
        Adam(weight_decay=0.1),
        NAdam(weight_decay=0.1),
        spike_compensation(SGD(weight_decay=0.1), 3),
    ],
    ids=["plain", "momentum", "nesterov", "adam", "nadam", "spike"],
)
def test_optimizers_agree_with_the_host(optimizer):
    """The kernels' texts are read as Python here, as C on a GPU."""
    rng, device = np.random.default_rng(0), Cuda(0)
    params = {"w": rng.standard_normal((4, 3)), "b": rng.standard_normal(3)}
    grads = [{name: rng.standard_normal(w.shape) for name, w in params.items()} for _ in range(3)]
    with device.opened():
        there = device.place_all(params)
        state_here, state_there = optimizer.init(params), optimizer.init(there)
        for gradient in grads:
            gradient_there = device.place_all(gradient)
            params, state_here = optimizer.update(params, gradient, state_here, 0.1)
            there, state_there = optimizer.update(there, gradient_there, state_there, 0.1)
        expected_there = optimizer.ahead(there, state_there, 3, 0.1)
    expected = optimizer.ahead(params, state_here, 3, 0.1)
    for name, w in hosted(there).items():
        np.testing.assert_allclose(w, params[name], rtol=1e-12)
        np.testing.assert_allclose(to_host(expected_there[name]), expected[name], rtol=1e-12)


@of_the_checked_one
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_update_is_one_kernel_for_all_weights(world, dtype):
    """And each of them begins where an array of its own might, whatever lies before it; an order is not relied on."""
    rng, device, optimizer, counts = np.random.default_rng(0), Cuda(0), SGD(weight_decay=0.1), []
    shapes = [(4, 3), (128,), (1,), (2, 65), (7,), (64, 2)]
    for many in (3, 6):
        params = {f"w{i}": rng.standard_normal(shape).astype(dtype) for i, shape in enumerate(shapes[:many])}
        grads = {name: np.asarray(1 + w, dtype) for name, w in reversed(params.items())}
        with device.opened():
            there, slots = device.place_all(params), optimizer.init(device.place_all(params))
            gradient = device.place_all(grads)
            there, slots = optimizer.update(there, gradient, slots, 0.1)  # packs the weights
            before = world.operations
            there, slots = optimizer.update(there, gradient, slots, 0.1)
            counts.append(world.operations - before)
            kept = {name: to_host(w) for name, w in there.items()}
        here, slots_here = optimizer.update(params, grads, optimizer.init(params), 0.1)
        here, _ = optimizer.update(here, grads, slots_here, 0.1)
        assert list(there) == list(params)
        for name, w in here.items():
            assert (kept[name].shape, kept[name].dtype) == (w.shape, w.dtype)
            np.testing.assert_allclose(kept[name], w, rtol=1e-5)
        assert not any(map(askew, there.values()))
        assert packed(there, there) is there
        with device.opened():
            assert packed(there, reversed(there)) is not there
    assert counts == [3, 3]  # a gap, the gradient, the step


@of_the_checked_one
def test_micro_batches_add_up_in_one_kernel(world):
    rng, device, counts = np.random.default_rng(0), Cuda(0), []
    with device.opened():
        for many in (3, 30):
            one, two = ({f"w{i}": device.place(rng.standard_normal(4)) for i in range(many)} for _ in range(2))
            before = world.operations
            total = added(one, two)
            counts.append(world.operations - before)
            for name, w in total.items():
                np.testing.assert_array_equal(to_host(w), to_host(one[name]) + to_host(two[name]))
    assert counts == [5, 5]


# Whole runs


@pytest.mark.parametrize(
    "device", sorted({places[0] for places in PLACES} | {",".join(PLACES[2]), "cpu,cuda:0,cuda:0"})
)
@pytest.mark.parametrize("engine", IN_PROCESS)
def test_a_run_on_devices_is_stopped_and_resumed(device, engine, tmp_path):
    options = {"device": device, "engine": engine, "model": "cnn", "width": 2, "depth": 2, "dtype": "float64"}
    whole = finish(small_training(**options))
    part = run_to(small_training(**options), 5)
    checkpoints.save(part, tmp_path)
    resumed = finish(checkpoints.resume(tmp_path, data=TINY))
    assert_same_run(resumed, whole)
    run, on_host = whole.result(), finish(small_training(**options | {"device": "cpu"})).result()
    assert run.predict(TINY.x_test).shape == (4,)
    for name, array in on_host.weights.items():
        np.testing.assert_allclose(run.weights[name], array, rtol=1e-6, atol=1e-9)
    assert run.final_test_accuracy == on_host.final_test_accuracy
    assert [type(record.train_loss) for record in run.history] == [float] * len(run.history)


@pytest.mark.parametrize("device", sorted({",".join((places * 3)[:3]) for places in PLACES}))
def test_gradients_are_compared_on_devices(device, tmp_path):
    def cosines(**options):
        training = small_training(dtype="float64", lr=0.5, epochs=5, **options)
        probes = staleness.Probes(training, 3, tmp_path)
        training.task.on_batch = probes.begin
        for _ in training.epochs():
            pass
        probes.write()
        return np.array([probe.cosines for probe in staleness.read(tmp_path)], dtype=np.float64)

    assert cosines().shape == (3, 3)
    np.testing.assert_allclose(cosines(device=device), cosines(), rtol=1e-6)


@of_the_checked_one
@pytest.mark.parametrize("device", ["cuda:0", "cpu,cpu,cuda:0", "cuda:1,cpu,cpu"])
def test_the_time_of_an_iteration_is_that_of_the_device_not_of_queueing(device, monkeypatch):
    """A GPU that takes its time: whoever waits for it waits for 20 ms."""

    def synchronize(stream, original=Stream.synchronize):
        sleep(0.02)
        original(stream)

    monkeypatch.setattr(Stream, "synchronize", synchronize)
    once, thrice = (finish(small_training(device=device, engine="threads", epochs=epochs)) for epochs in (1, 3))
    (record,) = once.history
    assert once.result().milliseconds_per_iteration == pytest.approx(1000 * record.seconds / record.iteration)
    assert thrice.result().milliseconds_per_iteration > 1000 * 0.02 / record.iteration
    assert len(thrice.durations) == 3 * record.iteration


def test_on_the_host_the_time_of_an_iteration_is_a_median():
    training = finish(small_training(engine="threads", epochs=2))
    assert len(training.durations) == training.iteration - 2  # what lies between two of one epoch
    assert training.result().milliseconds_per_iteration == 1000 * np.median(training.durations)


def test_a_loss_that_is_not_finite_ends_the_run_when_it_is_read():
    with pytest.raises(ArithmeticError, match="the loss became nan at iteration"):
        finish(small_training(device="cuda:0", lr=1e200))


def test_costs_are_measured_on_the_device():
    network = Sequential([layers.Linear(3, 4), layers.ReLU(), layers.Linear(4, 2)])
    costs = measure_costs(network, np.ones((5, 3), np.float32), Cuda(0))
    assert len(costs) == 3
    assert min(costs) > 0


# Names, and what is missing

ADVICE = "pip install 'cupy-cuda12x[ctk]'"


def test_names():
    assert device_names("cuda:0", 3) == ["cuda:0"]
    assert Config(device="cuda:0", modules=3).device_names() == ["cuda:0"] * 3
    assert device_names("cpu, cuda:1", 2) == ["cpu", "cuda:1"]
    assert isinstance(make_device("cpu"), Cpu)
    assert isinstance(make_device("cuda:0"), Device)


@pytest.mark.parametrize("name", ["gpu", "cuda", "cuda:", "cuda:-1", "cuda:1e3", "cuda:0;1", "", "CPU"])
def test_names_that_mean_nothing(name):
    for text in (name, f"cuda:0,{name},cpu"):
        with input_error(expected="expected cpu or cuda:0", got=f"got {name!r}", advice="change it"):
            device_names(text, 3)


def test_as_many_names_as_modules():
    with input_error(expected="one for each of 3 modules", got="got 2", advice="change it"):
        device_names("cpu,cuda:0", 3)


@of_the_checked_one
def test_a_gpu_too_many(world):
    with input_error(expected="device cuda:3: expected a number below 3", got="the number", advice="choose another"):
        make_device("cuda:3")


@of_the_checked_one
def test_without_cupy(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with input_error(expected="device cuda:0: CuPy is not installed", got="", advice=ADVICE):
        make_device("cuda:0")


@of_the_checked_one
@pytest.mark.parametrize("message", ["libsomething.so.12: cannot open shared object file\nand more", "", "\n"])
@pytest.mark.parametrize("error", [ImportError, OSError, RuntimeError, Exception])
@pytest.mark.parametrize(("function", "library"), [("ElementwiseKernel", "NVRTC"), ("matmul", "cuBLAS")])
def test_without_a_library_of_cuda(function, library, error, message):
    """CuPy loads both on first use, which may be in the middle of a run."""

    def fail(*arguments):
        raise error(message)

    with installed(2):
        cupy = sys.modules["cupy"]
        working = getattr(cupy, function)
        setattr(cupy, function, (lambda *texts: fail) if function == "ElementwiseKernel" else fail)
        expected = f"device cuda:1: {library} cannot be used ({(message.splitlines() or [''])[0] or error.__name__});"
        with input_error(expected=expected, got="", advice=ADVICE):
            make_device("cuda:1")
        setattr(cupy, function, working)  # installed in the meantime
        make_device("cuda:1")


def test_what_is_to_be_installed_is_what_the_requirements_list():
    text = (Path(__file__).parents[1] / "requirements-gpu.txt").read_text()
    twelve, thirteen = re.findall("'(.*?)'", INSTALL)
    assert f"\n{twelve}>=" in text
    assert thirteen in text


@of_the_checked_one
def test_without_a_driver(monkeypatch):
    class CUDARuntimeError(RuntimeError):
        pass

    def fail():
        raise CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")

    cupy = ModuleType("cupy")
    cupy.cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=fail, CUDARuntimeError=CUDARuntimeError))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    with input_error(
        expected="no GPU can be used", got="cudaErrorInsufficientDriver", advice="install NVIDIA's driver"
    ):
        make_device("cuda:0")
