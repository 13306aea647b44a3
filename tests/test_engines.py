"""What the whole project rests on: the engines agree bit for bit, and what they compute is what the paper defines."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import IN_PROCESS, OPTIMIZERS, Problem, assert_same_bits, problems, state

from ddg_ref import reference
from ddg_ref.engines import ENGINES
from ddg_ref.losses import softmax_cross_entropy
from ddg_ref.methods import METHODS

METHOD = st.sampled_from(sorted(METHODS))
ENGINE = st.sampled_from(IN_PROCESS)


@given(problems(), METHOD, st.booleans())
@settings(max_examples=150)
def test_threads_equal_reference(problem, method, drain):
    assert_same_bits(
        state(problem.run("threads", method, drain=drain)), state(problem.run("reference", method, drain=drain))
    )


@given(problems(), METHOD, ENGINE, st.integers(0, 9))
@settings(max_examples=60)
def test_stopping_between_iterations_changes_nothing(problem, method, engine, pause):
    """Also when the other engine goes on: all that is in flight lies in the pipeline."""
    whole, halves = problem.pipeline(method), problem.pipeline(method)
    end = problem.iterations + whole.delay
    reference.run(whole, problem.task(), 0, end)
    other = next(name for name in IN_PROCESS if name != engine)
    ENGINES[engine](halves, problem.task(), 0, min(pause, end))
    ENGINES[other](halves, problem.task(), min(pause, end), end)
    assert_same_bits(state(halves), state(whole))


def plain_backpropagation(problem):
    """Minibatch training with no module, no queue and no engine in it."""
    network, optimizer, task = problem.network(), OPTIMIZERS[problem.optimizer], problem.task()
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
    assert_same_bits(problem.run(engine, "bp").params, plain_backpropagation(problem))


@given(problems(max_modules=1), ENGINE)
@settings(max_examples=30)
def test_ddg_with_one_module_is_plain_backpropagation(problem, engine):
    assert_same_bits(problem.run(engine, "ddg").params, plain_backpropagation(problem))


@given(problems(), ENGINE, st.booleans())
@settings(max_examples=60)
def test_snapshot_oracle(problem, engine, drain):
    """What module k applies at t is the plain gradient of batch t-K+k at the weights of iteration t-K+k."""
    pipeline, task, network = problem.pipeline("ddg"), problem.task(), problem.network()
    snapshots, applied = [], {}
    end = problem.iterations + (pipeline.delay if drain else 0)
    for module in pipeline.modules:
        update = module.update

        def spy(grads, gamma, *, module=module, update=update):
            applied[module.k, t] = grads
            update(grads, gamma)

        module.update = spy
    for t in range(end):
        snapshots.append(pipeline.params)
        ENGINES[engine](pipeline, task, t, t + 1)
    expected = set()
    for module in pipeline.modules:
        for t in range(end):
            batch = t - problem.modules + module.k
            if not 0 <= batch < problem.iterations:
                continue
            expected.add((module.k, t))
            x, labels = problem.batch(batch)
            y, cache = network.forward(snapshots[batch], x)
            _, grads = network.backward(snapshots[batch], cache, softmax_cross_entropy(y, labels)[1])
            assert_same_bits(applied[module.k, t], {name: grads[name] for name in module.params})
    assert applied.keys() == expected


@given(problems(), ENGINE)
@settings(max_examples=40)
def test_every_batch_counts_once_after_draining(problem, engine):
    pipeline = problem.run(engine, "ddg")
    assert [module.optimizer_state.step for module in pipeline.modules] == [problem.iterations] * problem.modules
    assert not any(module.queue for module in pipeline.modules)
    assert not any(pipeline.errors)


@given(problems(), ENGINE)
@settings(max_examples=40)
def test_without_draining_module_k_is_its_delay_behind(problem, engine):
    pipeline = problem.run(engine, "ddg", drain=False)
    steps = [max(0, problem.iterations - (problem.modules - module.k)) for module in pipeline.modules]
    assert [module.optimizer_state.step for module in pipeline.modules] == steps
    assert [len(module.queue) for module in pipeline.modules] == [problem.iterations - step for step in steps]


def test_module_does_not_move_before_its_first_gradient_arrives():
    problem = Problem(cuts=(2, 4), iterations=2)
    pipeline = problem.run("reference", "ddg", drain=False)
    start = problem.network().init(np.random.default_rng(problem.seed), problem.dtype)
    moved = [any((module.params[name] != start[name]).any() for name in module.params) for module in pipeline.modules]
    assert moved == [False, True, True]


def test_methods_differ():
    """Were the delay ignored, everything above would still agree."""
    problem = Problem(cuts=(2, 4))
    ddg, bp = problem.run("reference", "ddg").params, problem.run("reference", "bp").params
    assert not all((ddg[name] == bp[name]).all() for name in ddg)


def test_results_hold_each_batch_once_in_order():
    problem = Problem(cuts=(2, 4), iterations=6)
    for engine in IN_PROCESS:
        pipeline, task = problem.pipeline("ddg"), problem.task()
        ENGINES[engine](pipeline, task, 0, problem.iterations + pipeline.delay)
        assert [result.iteration for result in task.results] == list(range(6))
        assert all(result.size == 6 for result in task.results)


@pytest.mark.parametrize("engine", IN_PROCESS)
def test_messages_are_never_written_to(engine):
    """An activation is shared by the modules on both sides of a cut: freeze everything that a layer hands on."""
    problem = Problem("resnet", cuts=(1, 3, 5, 7), iterations=6)
    pipeline = problem.pipeline("ddg")
    for module in pipeline.modules:
        forward, backward = module.forward, module.backward

        def frozen_forward(batch, x, *, forward=forward):
            y = forward(batch, x)
            y.setflags(write=False)
            return y

        def frozen_backward(batch, dy, *, backward=backward):
            dx, grads = backward(batch, dy)
            if dx is not None:
                dx.setflags(write=False)
            return dx, grads

        module.forward, module.backward = frozen_forward, frozen_backward
    ENGINES[engine](pipeline, problem.task(), 0, problem.iterations + pipeline.delay)
    assert_same_bits(pipeline.params, problem.run("reference", "ddg").params)
