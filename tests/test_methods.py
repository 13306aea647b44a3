"""What is particular to each row of the table of methods; what all rows have in common is in test_engines.py."""

from collections import deque
from copy import copy
from dataclasses import replace
from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from networks import IN_PROCESS, OPTIMIZERS, Problem, assert_same_bits, problems, state
from strategies import seeds

from ddg_ref.arrays import added, joined, split
from ddg_ref.layers import Linear, ReLU, Sequential, Tanh
from ddg_ref.losses import softmax_cross_entropy
from ddg_ref.methods import METHOD_OPTIONS, METHODS, Method
from ddg_ref.modules import Module
from ddg_ref.optimizers import SGD
from ddg_ref.runs.engines import ENGINES
from ddg_ref.step_sizes import Constant
from ddg_ref.versions import versions

ENGINE = st.sampled_from(IN_PROCESS)


def test_the_options_of_the_rows_are_the_fields_that_a_run_may_choose():
    assert {option for row in METHODS.values() for option in row.options} == set(METHOD_OPTIONS)
    assert set(METHOD_OPTIONS) <= set(Method.__dataclass_fields__)
    assert all(row.title and name == row.name for name, row in METHODS.items())


@pytest.mark.parametrize("row", METHODS.values(), ids=METHODS)
def test_delays_never_rise_and_end_at_zero(row):
    """The proof that no worker waits for ever (ddg_ref/workers) counts on it."""
    for K in range(1, 9):
        delays = [row.delay(k, K) for k in range(1, K + 1)]
        assert delays == sorted(delays, reverse=True)
        assert delays[-1] == 0


# What a run does in each iteration, from outside


class Watch:
    """Notes, for every module, the weights before each iteration and all that goes in and out of it."""

    def __init__(self, pipeline, engine, task, end):
        self.inputs, self.dys, self.applied, self.weights = {}, {}, {}, {}
        for module in pipeline.modules:
            self._watch(module)
        for self.t in range(end):
            for module in pipeline.modules:
                self.weights[module.k, self.t] = module.params
            ENGINES[engine](pipeline, task, self.t, self.t + 1)

    def _watch(self, module):
        forward, backward, update = module.forward, module.backward, module.update

        def spy_forward(batch, x, gamma):
            self.inputs[module.k, batch] = x
            return forward(batch, x, gamma)

        def spy_backward(batch, dy):
            self.dys[module.k, batch] = dy
            return backward(batch, dy)

        def spy_update(grads, gamma):
            self.applied[module.k, self.t] = grads
            update(grads, gamma)

        module.forward, module.backward, module.update = spy_forward, spy_backward, spy_update


def flat(arrays):
    return np.concatenate([array.ravel() for _, array in sorted(arrays.items())])


# ddg-current: the gradient of nothing


def network_gradient(problem, params, batch):
    """The plain gradient of the loss of `batch` at `params`."""
    x, labels = problem.batch(batch)
    network = problem.network()
    y, cache = network.forward(params, x)
    return network.backward(params, cache, softmax_cross_entropy(y, labels)[1])[1]


def test_ddg_current_applies_the_gradient_neither_at_the_old_nor_at_the_present_weights():
    """With large steps it is far from both, where ddg is at the old ones to the last bit."""
    problem = Problem("cnn", cuts=(4,), optimizer="sgd", iterations=6)
    far = {}
    for method in ("ddg", "ddg-current"):
        pipeline, task = problem.pipeline(method), problem.task()
        task.gamma = Constant(0.5)
        watch = Watch(pipeline, "reference", task, problem.iterations + pipeline.delay)
        for t in range(2, problem.iterations + 1):
            names = pipeline.modules[0].params
            old, now = (watch.weights[1, t - late] | watch.weights[2, t - late] for late in (1, 0))
            applied = flat(watch.applied[1, t])
            for place, params in (("old", old), ("now", now)):
                exact = network_gradient(problem, params, t - 1)
                plain = flat({name: exact[name] for name in names})
                error = np.linalg.norm(applied - plain) / np.linalg.norm(plain)
                far.setdefault((method, place), []).append(error)
    assert max(far["ddg", "old"]) == 0
    assert min(far["ddg-current", "old"]) > 1e-3
    assert min(far["ddg-current", "now"]) > 1e-3
    assert max(far["ddg-current", "old"]) > 0.1


def applied_field(method, seed):
    """w -> what module 1 of 2 would apply at present weights w for a batch that went forward earlier, flattened."""
    rng = np.random.default_rng(seed)
    layers = Sequential([Linear(3, 4), Tanh(), Linear(4, 2)])
    old, x, dy = layers.init(rng, np.float64), rng.standard_normal((5, 3)), rng.standard_normal((5, 2))
    row, sizes = METHODS[method], {name: old[name].shape for name in old}

    def field(w):
        module = Module(1, 2, row, layers, old, {}, SGD())
        module.forward(0, x)
        parts, module.params = deque(np.split(w, np.cumsum([old[name].size for name in sorted(old)])[:-1])), {}
        for name in sorted(old):
            module.params[name] = parts.popleft().reshape(sizes[name])
        return flat(module.backward(0, dy)[1])

    return field, flat(old) + 0.3 * rng.standard_normal(flat(old).shape), rng


@given(st.sampled_from(["ddg-current", "fr"]), seeds)
@settings(max_examples=40)
def test_ddg_current_follows_the_gradient_of_nothing(method, seed):
    """A gradient's derivative is symmetric: u.J v = v.J u for all directions. That of features replay is, as it must
    be; that of ddg-current is not, so no function has it as its gradient."""
    field, w, rng = applied_field(method, seed)
    u, v = rng.standard_normal((2, len(w)))
    h = 1e-5
    uJv = u @ (field(w + h * v) - field(w - h * v)) / (2 * h)
    vJu = v @ (field(w + h * u) - field(w - h * u)) / (2 * h)
    gap = abs(uJv - vJu)
    if method == "fr":
        assert gap < 1e-6 * max(1, abs(uJv))
    else:
        assert gap > 1e-4


@given(problems(), ENGINE)
@settings(max_examples=20)
def test_ddg_current_is_ddg_in_the_last_module_until_the_others_have_moved(problem, engine):
    """Module K has no delay, so its weights of the moment are those of the forward pass."""
    iterations = min(1, problem.iterations)
    ddg, current = (problem.run(engine, method, drain=False) for method in ("ddg", "ddg-current"))
    assert current.modules[-1].optimizer_state.step == ddg.modules[-1].optimizer_state.step >= iterations
    if problem.iterations <= 2:
        assert_same_bits(current.modules[-1].params, ddg.modules[-1].params)


# fr


@given(problems(), ENGINE, st.booleans())
@settings(max_examples=40)
def test_features_replay_goes_back_through_the_present_weights_with_the_stored_input(problem, engine, drain):
    """What module k applies at t, and passes down, are the gradients of <dy, module k(h; w_k(t))>: of its own function
    at w_k(t), for the input h that it was given then and the error gradient dy that it is given now."""
    pipeline = problem.pipeline("fr")
    end = problem.iterations + (pipeline.delay if drain else 0)
    watch = Watch(pipeline, engine, problem.task(), end)
    for module in pipeline.modules:
        delay = problem.modules - module.k
        for t in range(delay, min(end, problem.iterations + delay)):
            params, batch = watch.weights[module.k, t], t - delay
            _, cache = module.layers.forward(params, watch.inputs[module.k, batch])
            dx, grads = module.layers.backward(params, cache, watch.dys[module.k, batch])
            assert_same_bits(watch.applied[module.k, t], grads)
            if module.k > 1 and (module.k - 1, batch) in watch.dys:
                assert watch.dys[module.k - 1, batch].tobytes() == dx.tobytes()


@given(problems(), ENGINE)
@settings(max_examples=40)
def test_features_replay_counts_a_batch_once_in_the_statistics(problem, engine):
    pipeline = problem.pipeline("fr")
    stats = [module.stats for module in pipeline.modules]
    watch = Watch(pipeline, engine, problem.task(), problem.iterations + pipeline.delay)
    for module, own in zip(pipeline.modules, stats, strict=True):
        for batch in range(problem.iterations):
            _, cache = module.layers.forward(watch.weights[module.k, batch], watch.inputs[module.k, batch])
            own = module.layers.advance(own, cache)
        assert_same_bits(module.stats, own)


@given(problems(), ENGINE, st.integers(0, 9))
@settings(max_examples=30)
def test_features_replay_keeps_inputs_and_nothing_else(problem, engine, stop):
    pipeline = problem.pipeline("fr")
    ENGINES[engine](pipeline, problem.task(), 0, stop)
    for module in pipeline.modules:
        assert not module.caches
        assert all(flight.params == {} for flight in module.queue)
        assert len(module.queue) == len(range(max(0, stop - module.delay), min(stop, problem.iterations)))


# fdg


def fully_decoupled(problem, shrink, gamma):
    """The schedule of the paper, tick by tick, with no module of ddg_ref in it.

    In each tick module k runs forward on batch t-(k-1) and backward on batch t-(k-1)-2(K-k). All messages were sent in
    earlier ticks: within one the modules could work in any order, and here go from the last to the first or back.
    """
    network, optimizer, K = problem.network(), OPTIMIZERS[problem.optimizer], problem.modules
    bounds = [0, *problem.cuts, len(network.steps())]
    parts = [network.part(bounds[k], bounds[k + 1]) for k in range(K)]
    whole = network.init(np.random.default_rng(problem.seed), problem.dtype)
    params = [{name: whole[name] for name in part.parameter_shapes()} for part in parts]
    moments = [optimizer.init(own) for own in params]
    activations, errors, flights = {}, {}, {}
    for t in range(problem.iterations + 2 * K - 2):
        sent_up, sent_down = {}, {}
        for i in reversed(range(K)) if t % 2 else range(K):
            lag, delay = i, 2 * (K - 1 - i)
            if 0 <= (b := t - lag) < problem.iterations:
                x = activations.pop((i, b)) if i else problem.batch(b)[0]
                y, cache = parts[i].forward(params[i], x)
                flights[i, b] = params[i], cache
                sent_up[i + 1, b] = y
            if 0 <= (b := t - lag - delay) < problem.iterations:
                used, cache = flights.pop((i, b))
                if i == K - 1:
                    dy = softmax_cross_entropy(sent_up.pop((K, b)), problem.batch(b)[1])[1]
                else:
                    dy = errors.pop((i, b))
                dx, grads = parts[i].backward(used, cache, dy)
                sent_down[i - 1, b] = dx * shrink
                params[i], moments[i] = optimizer.update(params[i], grads, moments[i], gamma(t - lag))
        activations |= sent_up
        errors |= {(i, b): dx for (i, b), dx in sent_down.items() if i >= 0}
    assert not activations | errors | flights
    return {name: array for own in params for name, array in own.items()}


@given(problems(), ENGINE, st.sampled_from([1.0, 0.5, 0.7]))
@settings(max_examples=80)
def test_fdg_is_the_schedule_in_which_every_message_has_an_iteration_to_arrive(problem, engine, shrink):
    """The lag of the forward pass is only another way of counting: the row, which has none, gives the same bits."""
    expected = fully_decoupled(problem, shrink, problem.task().gamma)
    assert_same_bits(problem.run(engine, "fdg", shrink=shrink).params, expected)


@given(problems(), ENGINE, st.sampled_from([0.5, 0.25]))
@settings(max_examples=30)
def test_module_k_applies_a_gradient_shrunk_once_for_each_boundary(problem, engine, shrink):
    pipeline = problem.pipeline("fdg", shrink=shrink)
    watch = Watch(pipeline, engine, problem.task(), problem.iterations + pipeline.delay)
    for module in pipeline.modules:
        for batch in range(problem.iterations):
            params = {}
            for other in pipeline.modules:
                params |= watch.weights[other.k, batch]
            grads = network_gradient(problem, params, batch)
            applied = watch.applied[module.k, batch + 2 * (problem.modules - module.k)]
            for name in module.params:
                np.testing.assert_allclose(
                    applied[name],
                    grads[name] * shrink ** (problem.modules - module.k),
                    rtol=1e-12 if problem.dtype == "float64" else 1e-4,
                    atol=1e-30 if problem.dtype == "float64" else 1e-12,
                )


# gpipe


def test_a_batch_is_split_evenly_and_put_together_again():
    x = np.arange(14).reshape(7, 2)
    for n in range(1, 8):
        parts = split(x, n)
        assert len(parts) == n
        assert {len(part) for part in parts} <= {7 // n, -(-7 // n)}
        assert (joined(parts) == x).all()
    assert added({"w": x}, {"w": 2 * x})["w"].tolist() == (3 * x).tolist()


@given(problems(models=("mlp",), dtypes=("float64",)), ENGINE, st.integers(1, 9))
@settings(max_examples=60)
def test_gpipe_is_backpropagation_up_to_rounding(problem, engine, micro_batches):
    """Whatever the number of parts, also above that of the samples (6), where there is one part for each."""
    bp, parts = problem.run(engine, "bp").params, problem.run(engine, "gpipe", micro_batches=micro_batches).params
    for name in bp:
        np.testing.assert_allclose(parts[name], bp[name], rtol=1e-6, atol=1e-9)
    if micro_batches == 1:
        assert_same_bits(parts, bp)


@pytest.mark.parametrize("engine", IN_PROCESS)
@pytest.mark.parametrize("micro_batches", [2, 4, 6, 50])
def test_the_gradient_of_gpipe_is_the_plain_one_to_rounding(engine, micro_batches):
    """At once, before differences could grow or fade: parts of 1 or 2 samples, each with its weight."""
    problem = Problem(cuts=(2, 4), iterations=1)
    pipeline = problem.pipeline("gpipe", micro_batches=micro_batches)
    watch = Watch(pipeline, engine, problem.task(), 1)
    params = {name: array for k in (1, 2, 3) for name, array in watch.weights[k, 0].items()}
    applied = {name: g for k in (1, 2, 3) for name, g in watch.applied[k, 0].items()}
    plain = network_gradient(problem, params, 0)
    for name, g in plain.items():
        np.testing.assert_allclose(applied[name], g, rtol=1e-12, atol=1e-15)


def test_batch_norm_takes_its_means_over_a_part():
    """That is why gpipe is another method where there is batch norm; with a single part it is not."""
    problem = Problem("cnn", cuts=(3,), iterations=3)
    bp = problem.run("reference", "bp").params
    assert_same_bits(problem.run("reference", "gpipe", micro_batches=1).params, bp)
    apart = problem.run("reference", "gpipe", micro_batches=2).params
    assert max(abs(apart[name] - bp[name]).max() for name in bp) > 1e-3


# 1f1b


def accumulated(problem, micro_batches, late=0):
    """Gradient accumulation on one device, with no module, schedule or engine in it: part after part, one update.

    w(t+1) = w(t) - gamma(t + late) * gradient of batch t at w(t - late).
    """
    network, optimizer, task = problem.network(), OPTIMIZERS[problem.optimizer], problem.task()
    present = network.init(np.random.default_rng(problem.seed), problem.dtype)
    versions, moments = [present], optimizer.init(present)
    for t in range(problem.iterations):
        params = versions[max(0, t - late)]
        x, labels = problem.batch(t)
        count = min(micro_batches, len(x))
        grads = []
        for part, own in zip(split(x, count), split(labels, count), strict=True):
            y, cache = network.forward(params, part)
            dy = softmax_cross_entropy(y, own)[1]
            grads.append(network.gradients(params, cache, dy if count == 1 else dy * (len(part) / len(x))))
        present, moments = optimizer.update(present, reduce(added, grads), moments, task.gamma(t + late))
        versions.append(present)
    return present


@given(problems(), ENGINE, st.integers(1, 9))
@settings(max_examples=60)
def test_1f1b_is_gradient_accumulation(problem, engine, micro_batches):
    pipeline = problem.run(engine, "1f1b", micro_batches=micro_batches)
    assert_same_bits(pipeline.params, accumulated(problem, micro_batches))


@given(problems(models=("mlp",), dtypes=("float64",)), ENGINE, st.integers(1, 9))
@settings(max_examples=30)
def test_1f1b_is_backpropagation_up_to_rounding(problem, engine, micro_batches):
    bp, parts = problem.pipeline("bp"), problem.pipeline("1f1b", micro_batches=micro_batches)
    results = {}
    for name, pipeline in (("bp", bp), ("1f1b", parts)):
        task = problem.task()
        ENGINES[engine](pipeline, task, 0, problem.iterations)
        results[name] = task.results
    for name in bp.params:
        np.testing.assert_allclose(parts.params[name], bp.params[name], rtol=1e-6, atol=1e-9)
    for a, b in zip(results["bp"], results["1f1b"], strict=True):
        assert (a.iteration, a.size) == (b.iteration, b.size)
        assert a.loss == pytest.approx(b.loss, rel=1e-6)


# 2bw and paci


@given(problems(), ENGINE, st.integers(1, 9))
@settings(max_examples=60)
def test_two_buffers_are_gradient_accumulation_one_update_late(problem, engine, micro_batches):
    """Later where there are fewer micro-batches than boundaries."""
    pipeline = problem.run(engine, "2bw", micro_batches=micro_batches)
    late = -(-(problem.modules - 1) // micro_batches)
    assert_same_bits(pipeline.params, accumulated(problem, micro_batches, late))


def crossing(problem, M):
    """PACI on K devices, slot by slot: in slot n all go forward on micro-batch n, and module k back on n - (K-k), with
    the weights of the moment; it updates as soon as it has been back on the last of a batch."""
    network, optimizer, task, K = problem.network(), OPTIMIZERS[problem.optimizer], problem.task(), problem.modules
    bounds = [0, *problem.cuts, len(network.steps())]
    parts = [network.part(a, b) for a, b in pairwise(bounds)]
    whole = network.init(np.random.default_rng(problem.seed), problem.dtype)
    w = [{name: whole[name] for name in part.parameter_shapes()} for part in parts]
    moments, sums = [optimizer.init(own) for own in w], [[] for _ in parts]
    caches, errors = {}, {}
    for n in range((problem.iterations + K) * M):
        t, m = divmod(n, M)
        x, labels = problem.batch(min(t, problem.iterations - 1))
        count = min(M, len(x))
        if t < problem.iterations and m < count:
            h = split(x, count)[m]
            for k, part in enumerate(parts):
                h, caches[k, n] = part.forward(w[k], h)
            share = len(h) / len(x)
            dy = softmax_cross_entropy(h, split(labels, count)[m])[1]
            errors[K - 1, n] = dy if count == 1 else dy * share
        for k in reversed(range(K)):
            back = n - (K - 1 - k)
            if (k, back) in caches:
                dx, grads = parts[k].backward(w[k], caches.pop((k, back)), errors.pop((k, back)))
                errors[k - 1, back] = dx
                sums[k].append(grads)
            if back % M == M - 1 and sums[k]:
                w[k], moments[k] = optimizer.update(w[k], reduce(added, sums[k]), moments[k], task.gamma(n // M))
                sums[k] = []
    return {name: array for own in w for name, array in own.items()}


@given(problems(), ENGINE, st.integers(1, 9))
@settings(max_examples=60)
def test_paci_is_the_rule_slot_by_slot(problem, engine, micro_batches):
    assume(problem.iterations)
    pipeline = problem.run(engine, "paci", micro_batches=micro_batches)
    assert_same_bits(pipeline.params, crossing(problem, micro_batches))


@given(problems(), ENGINE, st.booleans())
@settings(max_examples=20)
def test_paci_without_parts_is_ddg_with_current_weights(problem, engine, drain):
    paci, current = problem.pipeline("paci", micro_batches=1), problem.pipeline("ddg-current")
    for pipeline in (paci, current):
        ENGINES[engine](pipeline, problem.task(), 0, problem.iterations + (pipeline.delay if drain else 0))
    assert_same_bits(state(paci), state(current))


# spectrain, spike, async-nesterov, and steps divided by the delay


def written_out(problem, start, used, step):
    """DDG for K modules with no module, schedule or engine in it, whose two open lines the method says.

    `start(w)` gives what a module remembers, `used(w, memory, d, t)` the weights that batch t goes forward and back
    with, if its gradient comes d updates later, and `step(w, memory, g, d, t)` the new weights and memory of iteration
    t, in which the gradient g is d = K-k iterations old.
    """
    network, K, T = problem.network(), problem.modules, problem.iterations
    bounds = [0, *problem.cuts, len(network.steps())]
    parts = [network.part(a, b) for a, b in pairwise(bounds)]
    whole = network.init(np.random.default_rng(problem.seed), problem.dtype)
    w = [{name: whole[name] for name in part.parameter_shapes()} for part in parts]
    memory, flights, errors = [start(own) for own in w], {}, {}
    for t in range(T + K - 1):
        if t < T:
            h, labels = problem.batch(t)
            for k, part in enumerate(parts):
                weights = used(w[k], memory[k], min(t, K - 1 - k), t)
                h, cache = part.forward(weights, h)
                flights[k, t] = weights, cache
            errors[K - 1, t] = softmax_cross_entropy(h, labels)[1]
        for k in reversed(range(K)):
            if 0 <= (s := t - (K - 1 - k)) < T:
                dx, grads = parts[k].backward(*flights.pop((k, s)), errors.pop((k, s)))
                errors[k - 1, s] = dx
                w[k], memory[k] = step(w[k], memory[k], grads, K - 1 - k, t)
    return {name: array for own in w for name, array in own.items()}


def the_present(w, memory, d, t):
    return w


def assert_close(a, b):
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-6, atol=1e-9)


by_formula = problems(models=("mlp",), dtypes=("float64",))


def no_velocity(w):
    return {name: np.zeros_like(array) for name, array in w.items()}


def heavy_ball(m, gamma):
    """The plain step with momentum."""

    def step(w, v, g, d, t):
        v = {name: m * v[name] + g[name] for name in w}
        return {name: w[name] - gamma(t) * v[name] for name in w}, v

    return step


@given(problems(), ENGINE)
@settings(max_examples=60)
def test_spectrain_goes_forward_and_back_where_the_optimizer_is_going(problem, engine):
    optimizer, gamma = OPTIMIZERS[problem.optimizer], problem.task().gamma

    def used(w, moments, d, t):
        return optimizer.ahead(w, moments, d, gamma(t))

    def step(w, moments, g, d, t):
        return optimizer.update(w, g, moments, gamma(t))

    assert_same_bits(problem.run(engine, "spectrain").params, written_out(problem, optimizer.init, used, step))


@given(by_formula, ENGINE)
@settings(max_examples=30)
def test_spectrain_with_momentum_by_its_formula(problem, engine):
    """w - gamma (m + ... + m^d) v."""
    problem, gamma = replace(problem, optimizer="momentum"), problem.task().gamma

    def used(w, v, d, t):
        return {name: w[name] - gamma(t) * sum(0.9**i for i in range(1, d + 1)) * v[name] for name in w}

    expected = written_out(problem, no_velocity, used, heavy_ball(0.9, gamma))
    assert_close(problem.run(engine, "spectrain").params, expected)


@given(problems(), ENGINE)
@settings(max_examples=20)
def test_without_momentum_spectrain_expects_no_change(problem, engine):
    problem = replace(problem, optimizer="sgd")
    assert_same_bits(state(problem.run(engine, "spectrain")), state(problem.run(engine, "ddg")))


@pytest.mark.parametrize("engine", IN_PROCESS)
@pytest.mark.parametrize("optimizer", sorted(OPTIMIZERS))
def test_a_prediction_looks_as_many_updates_ahead_as_there_will_be(engine, optimizer):
    problem = Problem(cuts=(2, 4, 5), optimizer=optimizer, iterations=9)
    pipeline = problem.pipeline("spectrain")
    for module in pipeline.modules:
        module.optimizer, module.looked = copy(module.optimizer), []

        def ahead(params, state, d, gamma, module=module, own=module.optimizer.ahead):
            module.looked.append(d)
            return own(params, state, d, gamma)

        module.optimizer.ahead = ahead
    ENGINES[engine](pipeline, problem.task(), 0, 9)
    for module in pipeline.modules:
        delays = [applied.delay for applied in versions(METHODS["spectrain"].schedule, module.k, 4)]
        assert module.looked == delays[:9]


@given(by_formula, ENGINE)
@settings(max_examples=30)
def test_spike_compensation_by_its_formula(problem, engine):
    """v = m v + g, w - gamma (m^d v + (1-m^d)/(1-m) g)."""
    problem, gamma, m = replace(problem, optimizer="momentum"), problem.task().gamma, 0.9

    def step(w, v, g, d, t):
        v = {name: m * v[name] + g[name] for name in w}
        a, b = m**d, (1 - m**d) / (1 - m)
        return {name: w[name] - gamma(t) * (a * v[name] + b * g[name]) for name in w}, v

    assert_close(problem.run(engine, "spike").params, written_out(problem, no_velocity, the_present, step))


@given(problems(max_modules=1), ENGINE)
@settings(max_examples=20)
def test_one_module_has_nothing_to_predict_and_nothing_to_compensate(problem, engine):
    problem = replace(problem, optimizer=problem.optimizer if problem.optimizer != "nesterov" else "momentum")
    bp = state(problem.run(engine, "bp"))
    assert_same_bits(state(problem.run(engine, "spectrain")), bp)
    if problem.optimizer in ("sgd", "momentum"):
        assert_same_bits(state(problem.run(engine, "spike")), bp)


@given(by_formula, ENGINE, st.sampled_from([0.05, 0.3]))
@settings(max_examples=30)
def test_asynchronous_nesterov_is_the_method_of_the_paper(problem, engine, gamma):
    """As the paper writes it: w and the w before it. The module holds w + a."""
    problem, m = replace(problem, optimizer="momentum"), 0.9

    def ahead(w, before):
        return {name: w[name] + m * (w[name] - before[name]) for name in w}

    def step(w, before, g, d, t):
        leading = ahead(w, before)
        return {name: leading[name] - gamma * (1 - m) * g[name] for name in w}, w

    last = {}

    def kept(w, before, g, d, t):
        w, before = step(w, before, g, d, t)
        last.update(ahead(w, before))
        return w, before

    pipeline, task = problem.pipeline("async-nesterov"), problem.task()
    task.gamma = Constant(gamma)
    ENGINES[engine](pipeline, task, 0, problem.iterations + pipeline.delay)
    initial = written_out(problem, lambda w: w, lambda w, before, d, t: ahead(w, before), kept)
    assert_close(pipeline.params, last or initial)


@given(problems(), ENGINE)
@settings(max_examples=30)
def test_asynchronous_nesterov_is_ddg_with_its_form_and_a_shorter_step(problem, engine):
    problem = replace(problem, optimizer="nesterov")
    pipeline, task, optimizer = problem.pipeline("ddg"), problem.task(), OPTIMIZERS["nesterov"]
    task.gamma = lambda t: (1 - optimizer.momentum) * problem.task().gamma(t)
    ENGINES[engine](pipeline, task, 0, problem.iterations + pipeline.delay)
    assert_same_bits(state(problem.run(engine, "async-nesterov")), state(pipeline))


@given(problems(), ENGINE, st.sampled_from([0.5, 4.0, 100.0]))
@settings(max_examples=40)
def test_a_delayed_step_is_divided_by_the_delay_at_first(problem, engine, period):
    """gamma / d^p, p = 1 - min(t/T, 1)."""
    optimizer, gamma = OPTIMIZERS[problem.optimizer], problem.task().gamma

    def step(w, moments, g, d, t):
        p = 1 - min(t / period, 1)
        return optimizer.update(w, g, moments, gamma(t) / float(d) ** p if d > 1 else gamma(t))

    expected = written_out(problem, optimizer.init, the_present, step)
    assert_same_bits(problem.run(engine, "ddg", delay_scaling=period).params, expected)


DELAYED = [name for name, row in METHODS.items() if "delay_scaling" in row.options]


def test_the_rows_whose_steps_may_be_divided_are_those_with_a_delay():
    assert [name for name, row in METHODS.items() if row.staleness(1, 3)] == DELAYED


@pytest.mark.parametrize("method", DELAYED)
@pytest.mark.parametrize("K", [1, 2, 3])
def test_a_step_is_divided_in_every_delayed_method_whose_delay_is_more_than_one(method, K):
    problem = Problem(cuts=(2, 4)[: K - 1], iterations=5)
    plain, divided = (problem.run("reference", method, **given).params for given in ({}, {"delay_scaling": 3.0}))
    same = all(divided[name].tobytes() == w.tobytes() for name, w in plain.items())
    assert same == (METHODS[method].staleness(1, K) <= 1)


# pipedream


@given(problems(), ENGINE, st.booleans())
@settings(max_examples=40)
def test_pipedream_with_weight_stashing_is_ddg(problem, engine, drain):
    """The same bits in all that training changes. That a pipeline of one forward, one backward pass per stage has these
    delays is shown in tests/theory/test_pipedream.py."""
    pipedream, ddg = (problem.run(engine, method, drain=drain) for method in ("pipedream", "ddg"))
    assert_same_bits(state(pipedream), state(ddg))


# dni: see test_synthesizers.py


def test_rows_say_what_they_keep():
    layers = Sequential([Linear(2, 2), ReLU()])
    for row in METHODS.values():
        for k in (1, 2):
            module = Module(k, 2, row, layers, {}, {}, SGD())
            assert module.replays == (row.name == "fr" and k == 1)
            assert module.stashes == (not module.replays)
