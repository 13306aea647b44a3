"""Synthesizers, and decoupled neural interfaces (dni) against an implementation with no module in it."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from messages import input_error
from networks import CLASSES, IN_PROCESS, OPTIMIZERS, SHAPES, Problem, assert_same_bits, problems

from ddg_ref.guessers.synthesizers import Synthesizer, synthesizers_for
from ddg_ref.layers import Sequential
from ddg_ref.losses import softmax_cross_entropy
from ddg_ref.methods import METHODS
from ddg_ref.optimizers import Adam

ENGINE = st.sampled_from(IN_PROCESS)
DNI = METHODS["dni"]
TOLD = replace(DNI, synthesizer_labels=True)


def make(shape, row=DNI, seed=0, dtype=np.float64):
    return Synthesizer(shape, CLASSES, row, np.random.default_rng(seed), dtype)


def no_labels(batch):
    raise AssertionError("nobody told it to ask")


@pytest.mark.parametrize("shape", [(5,), (4, 3), (6, 5, 2), (2, 6, 5, 3)], ids=str)
@pytest.mark.parametrize("row", [DNI, TOLD], ids=["not told", "told"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_guess_has_the_shape_of_the_output_and_begins_at_zero(shape, row, dtype):
    synthesizer, y = make(shape, row, dtype=dtype), np.random.default_rng(1).standard_normal((7, *shape)).astype(dtype)
    synthesizer.outputs.append((3, y))
    labels = (lambda batch: np.arange(7) % CLASSES) if row is TOLD else no_labels
    guess = synthesizer.predict(3, labels)
    assert guess.shape == y.shape
    assert guess.dtype == dtype
    assert not guess.any()
    synthesizer.train(3, y, labels)
    synthesizer.outputs.append((4, y))
    assert synthesizer.predict(4, labels).any()
    assert {array.dtype for array in synthesizer.params.values()} == {np.dtype(dtype)}


@pytest.mark.parametrize("shape", [(5,), (6, 5, 2), (2, 6, 5, 3)], ids=str)
def test_it_is_told_each_sample_its_own_class(shape):
    y, labels = np.zeros((4, *shape)), np.array([2, 0, 1, 2])
    told = make(shape, TOLD)._features(y, 0, lambda batch: labels)[..., -CLASSES:]
    for sample, label in zip(told, labels, strict=True):
        assert (sample == np.eye(CLASSES)[label]).all()
    for wrong, expected in ((labels - 1, "labels: expected 0 to 2"), (labels[:1], "labels: expected whole numbers of")):
        with input_error(expected=expected, got="got", advice=""):
            make(shape, TOLD)._features(y, 0, lambda batch, wrong=wrong: wrong)


@pytest.mark.parametrize("shape", [(5,), (6, 5, 2), (2, 6, 5, 3)], ids=str)
def test_it_learns_a_gradient_that_follows_from_the_output(shape):
    """Of a sample's own loss, whatever the size of the batch: targets are dy times the number of samples."""
    synthesizer, rng = make(shape), np.random.default_rng(2)
    errors = []
    for batch in range(300):
        y = rng.standard_normal((int(rng.integers(8, 40)), *shape))
        target = np.maximum(y, 0) - 0.4
        synthesizer.outputs.append((batch, y))
        guess = synthesizer.predict(batch, no_labels)
        errors.append(np.mean((len(y) * guess - target) ** 2) / np.mean(target**2))
        synthesizer.train(batch, target / len(y), no_labels)
    assert errors[0] == 1
    assert np.mean(errors[-20:]) < 0.2


@pytest.mark.parametrize("shape", [(5,), (4, 4, 2)], ids=str)
def test_labels_are_of_use_where_the_gradient_depends_on_them(shape):
    def last_errors(row):
        synthesizer, rng = make(shape, row), np.random.default_rng(3)
        errors = []
        for batch in range(300):
            y, labels = rng.standard_normal((20, *shape)), rng.integers(CLASSES, size=20)
            target = (labels - 1.0).reshape(-1, *(1,) * len(shape)) * np.ones(shape)
            synthesizer.outputs.append((batch, y))
            errors.append(np.mean((20 * synthesizer.predict(batch, lambda _, labels=labels: labels) - target) ** 2))
            synthesizer.train(batch, target / 20, lambda _, labels=labels: labels)
        return np.mean(errors[-20:])

    assert last_errors(TOLD) < 0.1 < 0.5 < last_errors(DNI)


def test_a_mispaired_gradient_is_an_error():
    synthesizer, y = make((5,)), np.zeros((2, 5))
    synthesizer.outputs.append((3, y))
    with pytest.raises(RuntimeError, match="error gradient of batch 4 met the output of batch 3"):
        synthesizer.train(4, y, no_labels)


def test_the_network_begins_with_the_same_weights_as_under_other_methods():
    problem = Problem(cuts=(2, 4), iterations=0)
    assert_same_bits(problem.run("reference", "dni").params, problem.run("reference", "ddg").params)


def decoupled_interfaces(problem, row):
    """Jaderberg et al. (2017), written down again: K modules, K-1 synthesizers, one loop."""
    network, optimizer, task, adam = problem.network(), OPTIMIZERS[problem.optimizer], problem.task(), Adam()
    bounds, K = [0, *problem.cuts, len(network.steps())], problem.modules
    parts = [network.part(bounds[k], bounds[k + 1]) for k in range(K)]
    whole = network.init(np.random.default_rng(problem.seed), problem.dtype)
    params = [{name: whole[name] for name in part.parameter_shapes()} for part in parts]
    moments = [optimizer.init(own) for own in params]
    drawn = synthesizers_for(row, network, problem.cuts, SHAPES[problem.model], problem.seed, problem.dtype)
    guessers = [(s.layers, s.params, adam.init(s.params)) for s in drawn[:-1]]

    def features(y, labels):
        x = y.reshape(len(y), -1)
        return np.concatenate([x, np.eye(CLASSES, dtype=y.dtype)[labels]], axis=1) if row.synthesizer_labels else x

    before = None
    for t in range(problem.iterations):
        x, labels = problem.batch(t)
        ys, caches = [], []
        for k in range(K):
            x, cache = parts[k].forward(params[k], x)
            ys.append(x)
            caches.append(cache)
        passed = {}
        for k in range(K):
            if k == K - 1:
                dy = softmax_cross_entropy(ys[k], labels)[1]
            else:
                layers, weights, _ = guessers[k]
                dy = layers.forward(weights, features(ys[k], labels))[0].reshape(ys[k].shape) / len(labels)
            passed[k - 1], grads = parts[k].backward(params[k], caches[k], dy)
            params[k], moments[k] = optimizer.update(params[k], grads, moments[k], task.gamma(t))
        if before is not None:
            guessers = learned(guessers, *before, features, adam, row.synthesizer_lr)
        before = ys, labels, passed
    if before is not None:
        guessers = learned(guessers, *before, features, adam, row.synthesizer_lr)
    return {name: array for own in params for name, array in own.items()}, [weights for _, weights, _ in guessers]


def learned(guessers, ys, labels, passed, features, adam, gamma):
    found = []
    for k, (layers, weights, moments) in enumerate(guessers):
        guess, cache = layers.forward(weights, features(ys[k], labels))
        difference = guess - (passed[k] * len(labels)).reshape(guess.shape)
        _, grads = layers.backward(weights, cache, difference * (2 / difference.size))
        found.append((layers, *adam.update(weights, grads, moments, gamma)))
    return found


@given(problems(models=("mlp",)), ENGINE, st.booleans(), st.integers(1, 9), st.sampled_from([1e-3, 0.1]))
@settings(max_examples=60)
def test_dni_is_the_algorithm_of_the_paper(problem, engine, told, width, lr):
    options = {"synthesizer_labels": told, "synthesizer_width": width, "synthesizer_lr": lr}
    params, guessers = decoupled_interfaces(problem, replace(DNI, **options))
    pipeline = problem.run(engine, "dni", **options)
    assert_same_bits(pipeline.params, params)
    for synthesizer, expected in zip(pipeline.guessers[:-1], guessers, strict=True):
        assert_same_bits(synthesizer.params, expected)
    assert pipeline.guessers[-1] is None


def test_only_the_last_module_moves_before_anything_has_been_learnt():
    """Guesses begin at zero, and the first lesson comes with the second batch."""
    for iterations, who in ((1, [False, False, True]), (2, [False, False, True]), (3, [False, True, True])):
        problem = Problem(cuts=(2, 4), iterations=iterations, optimizer="sgd")
        pipeline, start = problem.run("reference", "dni", drain=False), problem.pipeline("dni").params
        moved = [any((m.params[name] != start[name]).any() for name in m.params) for m in pipeline.modules]
        assert moved == who, iterations


def test_every_kind_of_boundary_has_its_layers():
    """In a ResNet cut everywhere: images, two images that cross together, and the mean over the pixels."""
    network = Problem("resnet").network()
    cuts = tuple(range(1, len(network.steps())))
    found = synthesizers_for(DNI, network, cuts, SHAPES["resnet"], 0, np.float32)
    assert found[-1] is None
    kinds = {type(s.layers.layers[0]).__name__ for s in found[:-1]}
    assert kinds == {"Conv2d", "Linear"}
    assert all(isinstance(s.layers, Sequential) for s in found[:-1])
