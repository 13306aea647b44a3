"""How layers compute does not depend on what the caller has asked of NumPy and of BLAS, nor on who else computes."""

import asyncio
import warnings
from functools import partial

import numpy as np
import pytest
from networks import IN_PROCESS, Problem, assert_same_bits, state
from runs import SMALL, assert_same_run, finish, run_to, small_training, tiny_images
from threadpoolctl import ThreadpoolController, threadpool_limits

import ddg_ref
from ddg_ref import Config, Dataset
from ddg_ref.errors import DivergenceError
from ddg_ref.experiments.staleness import Probes
from ddg_ref.layers import Flatten, Linear, Tanh
from ddg_ref.methods import METHODS
from ddg_ref.runs.checkpoints import load, save
from ddg_ref.runs.costs import measure_costs
from ddg_ref.runs.engines import ENGINES
from ddg_ref.runs.evaluation import evaluate
from ddg_ref.runs.training import Training

engines = pytest.mark.parametrize("engine", IN_PROCESS)
OWN = {name: value for name, value in SMALL.items() if name not in ("width", "depth")}
BLAS = ThreadpoolController().select(user_api="blas")


def blas_threads():
    return {library.get_num_threads() for library in BLAS.lib_controllers}


class Witness(Tanh):
    """Notes the state in which it computes."""

    def __init__(self):
        self._seen = []

    def _look(self):
        self._seen.append((frozenset(np.geterr().values()), frozenset(blas_threads())))

    def forward(self, params, x):
        self._look()
        return super().forward(params, x)

    def backward(self, params, cache, dy):
        self._look()
        return super().backward(params, cache, dy)

    def seen(self):
        """What has been noted since the last call."""
        seen, self._seen[:] = set(self._seen), []
        return seen


@pytest.fixture
def demanding():
    """A caller for whom every floating-point error is an exception, and who has set a number of BLAS threads."""
    with threadpool_limits(2, user_api="blas"), np.errstate(all="raise"):
        yield
        assert blas_threads() == {2}
        assert set(np.geterr().values()) == {"raise"}


@engines
def test_wherever_layers_compute(engine, demanding, tmp_path):
    witness, data = Witness(), tiny_images()
    layers = [witness, Flatten(), Linear(20, 4), Linear(4, 3)]
    as_they_should = {(frozenset({"ignore"}), frozenset({1}))}
    training = Training(Config(data="tiny", **OWN | {"engine": engine}), data, layers)
    run_to(training, 3)
    assert witness.seen() == as_they_should
    save(training, tmp_path)
    assert not witness.seen()
    (checkpoint,) = (tmp_path / "checkpoints").iterdir()
    finish(load(checkpoint, data=data, layers=layers))
    assert witness.seen() == as_they_should
    training.evaluate()
    assert witness.seen() == as_they_should
    training.result().predict(data.x_test)
    assert witness.seen() == as_they_should
    measure_costs(training.network, data.x_train)
    assert witness.seen() == as_they_should


def test_where_true_gradients_are_taken(demanding, tmp_path):
    witness = Witness()
    layers = [witness, Flatten(), Linear(20, 4), Linear(4, 3)]
    training = Training(Config(data="tiny", **OWN), tiny_images(), layers)
    probes = Probes(training, 1, tmp_path)
    probes.begin(training.task.iterations - 2)
    for watched, module in zip(probes._watched, training.pipeline.modules, strict=True):
        watched.grads = module.params
    witness.seen()
    probes.finish()
    assert witness.seen() == {(frozenset({"ignore"}), frozenset({1}))}


def extreme():
    """Samples that underflow in single precision, in products and in exp."""
    data = tiny_images()
    scales = 10.0 ** np.array([-60, -39, -20, 0, 3])[np.arange(20) % 5].reshape(5, 4, 1)
    return Dataset("extreme", data.x_train * scales, data.y_train, data.x_test * scales, data.y_test, 3)


@engines
@pytest.mark.parametrize("model", ["mlp", "cnn", "resnet"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_rounding_to_zero_is_no_error(engine, model, optimizer, tmp_path):
    """The same bits, whatever the caller has asked."""
    options = {"model": model, "width": 4, "engine": engine, "modules": 2, "optimizer": optimizer, "lr": 1e-4}
    options |= {"depth": None} if model == "resnet" else {}
    data = extreme()

    def whole(name):
        training = Training(Config(data="extreme", **SMALL | options), data)
        save(run_to(training, 3), tmp_path / name)
        (checkpoint,) = (tmp_path / name / "checkpoints").iterdir()
        training = finish(load(checkpoint, data=data))
        return training, training.result().predict(data.x_test)

    with np.errstate(all="raise"):
        demanding, classes = whole("demanding")
    usual, expected = whole("usual")
    assert_same_run(demanding, usual)
    np.testing.assert_array_equal(classes, expected)


@engines
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_overflow_in_any_module_is_divergence(engine, method, k):
    """Also where warnings are errors, and where the caller wants every floating-point error raised."""
    problem = Problem(cuts=(2, 4), iterations=9, dtype="float32")
    pipeline = problem.pipeline(method)
    module = pipeline.modules[k - 1]
    module.params = {name: np.float32(1e38) * array for name, array in module.params.items()}
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        with pytest.raises(DivergenceError, match=r"the loss became (nan|inf) at iteration \d: "):
            ENGINES[engine](pipeline, problem.task(), 0, problem.iterations)


def test_evaluation_where_everything_overflows():
    network = Problem().network()
    params = {name: 1e200 * np.ones(shape) for name, shape in network.parameter_shapes().items()}
    with np.errstate(all="raise"):
        loss, _ = evaluate(network, params, {}, np.ones((3, 6)), np.arange(3), Problem().task().loss)
    assert not np.isfinite(loss)


def test_trainings_that_go_on_at_the_same_time(demanding):
    """In threads of an event loop: each gives its own bits, and BLAS is given back (which `demanding` checks)."""
    alone = [small_training(seed=seed, engine="threads") for seed in range(3)]
    together = [small_training(seed=seed, engine="threads") for seed in range(3)]

    async def all_at_once():
        await asyncio.gather(*(asyncio.to_thread(partial(finish, training)) for training in together))

    asyncio.run(all_at_once())
    for a, b in zip(alone, together, strict=True):
        assert_same_run(finish(a), b)


def test_a_training_that_is_left_alone_between_two_epochs(demanding):
    epochs = small_training().epochs()
    next(epochs)
    assert blas_threads() == {2}
    epochs.close()


def test_threads_that_compute_have_the_state_that_processes_have():
    """A worker thread begins with NumPy's own state, not with its caller's: both engines must set it themselves."""
    problem = Problem("resnet", cuts=(2, 4), iterations=6, dtype="float32")
    plain = state(problem.run("reference", "ddg"))
    for engine in IN_PROCESS:
        with np.errstate(all="raise"):
            assert_same_bits(state(problem.run(engine, "ddg")), plain)


def test_predicting_does_not_take_more_memory_for_more_samples():
    import tracemalloc

    run = ddg_ref.train(width=8, modules=1, epochs=0, split="count")
    x = np.zeros((2000, 8, 8, 1), np.float32)
    peaks = []
    for n in (250, 2000):
        tracemalloc.start()
        run.predict(x[:n])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
