"""What the whole project rests on: the engines agree bit for bit, and what they compute is what the paper defines."""

from dataclasses import replace
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from checked import PLACES
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import IN_PROCESS, OPTIMIZERS, Problem, assert_agree, assert_same_bits, fitting, state
from networks import problems as problems_in

from ddg_ref.algorithm_1 import algorithm_1
from ddg_ref.arrays import hosted
from ddg_ref.losses import softmax_cross_entropy
from ddg_ref.methods import METHODS
from ddg_ref.runs.checkpoints.standing import standing
from ddg_ref.runs.engines import ENGINES
from ddg_ref.workers import one_thread

METHOD = st.sampled_from(sorted(METHODS))
PLAIN = ("bp", "ddg", "fdg", "pipedream")
"""The methods whose every module applies plain gradients of whole batches, at weights that the network has had."""
ENGINE = st.sampled_from(IN_PROCESS)
problems = partial(problems_in, places=[("cpu",), *PLACES])
pytestmark = pytest.mark.usefixtures("world")


@given(problems(), METHOD, st.booleans())
@settings(max_examples=150)
def test_threads_equal_reference(problem, method, drain):
    assert_same_bits(
        state(problem.run("threads", method, drain=drain)), state(problem.run("reference", method, drain=drain))
    )


@given(problems_in(), ENGINE, st.sampled_from(["ddg", "pipedream"]))
@settings(max_examples=100)
def test_the_engines_equal_algorithm_1(problem, engine, method):
    """As the paper writes it, in thirty lines that share no schedule, module, queue or channel with the engines."""
    network, bounds = problem.network(), [0, *problem.cuts, None]
    modules = [network.part(start, stop or len(network.steps())) for start, stop in pairwise(bounds)]
    initial = network.init(np.random.default_rng(problem.seed), problem.dtype)
    w = [{name: initial[name] for name in module.parameter_shapes()} for module in modules]
    optimizer, gamma = OPTIMIZERS[problem.optimizer], problem.task().gamma
    w = algorithm_1(modules, w, problem.batch, softmax_cross_entropy, optimizer, gamma, problem.iterations)
    assert_same_bits(problem.run(engine, method).params, {name: array for own in w for name, array in own.items()})


@given(problems(), METHOD, ENGINE, st.integers(0, 9))
@settings(max_examples=60)
def test_stopping_between_iterations_changes_nothing(problem, method, engine, pause):
    """Also when the other engine goes on: all that is in flight lies in the pipeline."""
    whole, halves = problem.pipeline(method), problem.pipeline(method)
    end = problem.iterations + whole.delay
    one_thread.run(whole, problem.task(), 0, end)
    other = next(name for name in IN_PROCESS if name != engine)
    ENGINES[engine](halves, problem.task(), 0, min(pause, end))
    ENGINES[other](halves, problem.task(), min(pause, end), end)
    assert_same_bits(state(halves), state(whole))


def exact(problem):
    """On devices in double precision, so that rounding stays small."""
    return problem if problem.devices == ("cpu",) else replace(problem, dtype="float64")


def plain_backpropagation(problem, optimizer):
    """Minibatch training with no module, no queue and no engine in it."""
    network, task = problem.network(), problem.task()
    params = network.init(np.random.default_rng(problem.seed), problem.dtype)
    optimizer_state = optimizer.init(params)
    for t in range(problem.iterations):
        x, labels = problem.batch(t)
        y, cache = network.forward(params, x)
        _, dy = softmax_cross_entropy(y, labels)
        _, grads = network.backward(params, cache, dy)
        params, optimizer_state = optimizer.update(params, grads, optimizer_state, task.gamma(t))
    return params


@given(problems(), ENGINE)
@settings(max_examples=60)
def test_bp_is_plain_backpropagation_however_cut(problem, engine):
    problem = exact(problem)
    assert_agree(
        problem, problem.run(engine, "bp").params, plain_backpropagation(problem, OPTIMIZERS[problem.optimizer])
    )


@given(problems(max_modules=1), st.sampled_from([name for name in METHODS if METHODS[name].micro_batches == 1]), ENGINE)
@settings(max_examples=60)
def test_with_one_module_every_method_is_plain_backpropagation(problem, method, engine):
    """But those that split batches, for which see test_methods.py. Without a delay no optimizer is corrected; that of
    asynchronous Nesterov has its own form in any case."""
    problem, row = exact(problem), METHODS[method]
    given = fitting(row, problem.optimizer)
    optimizer = row.correction(given, 0)
    assert optimizer is given or method == "async-nesterov"
    assert_agree(problem, problem.run(engine, method).params, plain_backpropagation(problem, optimizer))


@given(problems(), st.sampled_from(PLAIN), ENGINE, st.booleans())
@settings(max_examples=120)
def test_snapshot_oracle(problem, method, engine, drain):
    """What module k applies at t is the plain gradient of batch t-d_k at the weights of iteration t-d_k."""
    problem = exact(problem)
    pipeline, task, network = problem.pipeline(method), problem.task(), problem.network()
    snapshots, applied = [], {}
    end = problem.iterations + (pipeline.delay if drain else 0)
    for module in pipeline.modules:
        update = module.update

        def spy(grads, gamma, *, module=module, update=update):
            applied[module.k, t] = grads
            update(grads, gamma)

        module.update = spy
    for t in range(end):
        snapshots.append(hosted(pipeline.params))
        ENGINES[engine](pipeline, task, t, t + 1)
    expected = set()
    for module in pipeline.modules:
        for t in range(end):
            batch = t - METHODS[method].delay(module.k, problem.modules)
            if not 0 <= batch < problem.iterations:
                continue
            expected.add((module.k, t))
            x, labels = problem.batch(batch)
            y, cache = network.forward(snapshots[batch], x)
            _, grads = network.backward(snapshots[batch], cache, softmax_cross_entropy(y, labels)[1])
            assert_agree(problem, applied[module.k, t], {name: grads[name] for name in module.params})
    assert applied.keys() == expected


@given(problems(), METHOD, ENGINE)
@settings(max_examples=80)
def test_every_batch_counts_once_after_draining(problem, method, engine):
    pipeline = problem.run(engine, method)
    assert [module.optimizer_state.step for module in pipeline.modules] == [problem.iterations] * problem.modules
    assert not any(module.queue or module.caches for module in pipeline.modules)
    assert not any(pipeline.errors)
    for synthesizer in filter(None, pipeline.guessers):
        assert synthesizer.optimizer_state.step == problem.iterations
        assert not synthesizer.outputs


@given(problems(), METHOD, ENGINE)
@settings(max_examples=80)
def test_without_draining_module_k_is_its_delay_behind(problem, method, engine):
    pipeline, task = problem.run(engine, method, drain=False), problem.task()
    M = pipeline.method.micro_batches
    for module in pipeline.modules:
        count = partial(task.parts, micro_batches=M)
        now = standing(METHODS[method].schedule, module.k, module.K, M, problem.iterations, count, problem.iterations)
        assert module.optimizer_state.step == now.steps
        assert [flight.number for flight in module.queue] == list(now.in_flight)
    if method in ("2bw", "paci"):
        return  # their delays are no whole iterations
    delays = [METHODS[method].delay(k, problem.modules) for k in range(1, problem.modules + 1)]
    steps = [max(0, problem.iterations - delay) for delay in delays]
    assert [module.optimizer_state.step for module in pipeline.modules] == steps
    assert [len(module.queue) for module in pipeline.modules] == [problem.iterations - step for step in steps]


def test_module_does_not_move_before_its_first_gradient_arrives():
    problem = Problem(cuts=(2, 4), iterations=2)
    pipeline = problem.run("reference", "ddg", drain=False)
    start = problem.network().init(np.random.default_rng(problem.seed), problem.dtype)
    moved = [any((module.params[name] != start[name]).any() for name in module.params) for module in pipeline.modules]
    assert moved == [False, True, True]


@pytest.mark.parametrize("method", [name for name in METHODS if name not in ("ddg", "pipedream")])
def test_methods_differ(method):
    """Were the delay ignored, or any other field, everything above would still agree."""
    problem = Problem(cuts=(2, 4), iterations=6)
    ddg, other = problem.run("reference", "ddg").params, problem.run("reference", method).params
    assert not all((ddg[name] == other[name]).all() for name in ddg)


@pytest.mark.parametrize("method", METHODS)
def test_results_hold_each_batch_once_in_order(method):
    problem = Problem(cuts=(2, 4), iterations=6)
    for engine in IN_PROCESS:
        pipeline, task = problem.pipeline(method), problem.task()
        ENGINES[engine](pipeline, task, 0, problem.iterations + pipeline.delay)
        assert [result.iteration for result in task.results] == list(range(6))
        assert all(result.size == 6 for result in task.results)


@pytest.mark.parametrize("engine", IN_PROCESS)
@pytest.mark.parametrize("method", METHODS)
def test_messages_are_never_written_to(engine, method):
    """An activation is shared by the modules on both sides of a cut: freeze everything that a layer hands on."""
    problem = Problem("resnet", cuts=(1, 3, 5, 7), iterations=6)
    pipeline = problem.pipeline(method)
    for module in pipeline.modules:
        forward, backward = module.forward, module.backward

        def frozen_forward(batch, x, gamma, *, forward=forward):
            y = forward(batch, x, gamma)
            y.setflags(write=False)
            return y

        def frozen_backward(batch, dy, *, backward=backward):
            dx, grads = backward(batch, dy)
            if dx is not None:
                dx.setflags(write=False)
            return dx, grads

        module.forward, module.backward = frozen_forward, frozen_backward
    ENGINES[engine](pipeline, problem.task(), 0, problem.iterations + pipeline.delay)
    assert_same_bits(pipeline.params, problem.run("reference", method).params)
