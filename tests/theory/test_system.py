"""ddg_ref against the theory: the claims about the running system, and what must make them fail."""

from dataclasses import replace

import numpy as np
import pytest
from broken_engines import BROKEN
from networks import IN_PROCESS, Problem, assert_same_bits, state

from ddg_ref.experiments import staleness
from ddg_ref.losses import softmax_cross_entropy
from ddg_ref.methods import METHODS
from ddg_ref.modules import Pipeline
from ddg_ref.optimizers import OptimizerState
from ddg_ref.runs.engines import ENGINES
from theory.claims import CLAIMS
from theory.delayed import ddg
from theory.system import BITWISE, OPTIMIZERS, NetworkFunction, SystemCase, Watched
from theory.wrong import INTACT, MUTANTS

CASE = SystemCase("mlp", "sgd", "harmonic", "threads", "float64", cuts=(2, 4), iterations=7, seed=1)
NETWORKS = {"mlp": (1, 2, 4, 6), "cnn": (3, 6, 7, 10), "resnet": (3, 4, 7, 9)}
SYSTEM_CLAIMS = ("pipedream-networks", "running-view", "running-drain")


@pytest.mark.parametrize("claim", SYSTEM_CLAIMS)
@pytest.mark.parametrize("K", range(1, 6))
@pytest.mark.parametrize("model", NETWORKS)
def test_claims_hold_on_every_model_and_engine(model, K, claim):
    case = replace(CASE, model=model, cuts=NETWORKS[model][: K - 1])
    for engine in ("reference", "threads"):
        assert CLAIMS[claim].check(replace(case, engine=engine), ddg).measured == 0


@pytest.mark.parametrize(
    ("claim", "optimizer"),
    [
        (claim, optimizer)
        for claim in SYSTEM_CLAIMS
        for optimizer in (BITWISE if claim == "running-view" else OPTIMIZERS)
    ],
)
@pytest.mark.parametrize("iterations", [1, 2, 6])
def test_claims_hold_for_every_optimizer_and_for_fewer_iterations_than_modules(iterations, optimizer, claim):
    case = replace(CASE, optimizer=optimizer, steps="constant", cuts=(1, 3, 5), iterations=iterations)
    outcome = CLAIMS[claim].check(case, ddg)
    assert not outcome.violates(CLAIMS[claim].kind)
    assert outcome.measured == 0 or (claim == "running-drain" and optimizer == "adam")


@pytest.mark.parametrize("claim", SYSTEM_CLAIMS)
@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_engine_is_caught(claim, broken, monkeypatch):
    monkeypatch.setitem(ENGINES, "threads", BROKEN[broken])
    assert CLAIMS[claim].check(replace(CASE), ddg).violates(CLAIMS[claim].kind)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_the_engine_is_none_of_the_mutants(mutant):
    claim = CLAIMS["running-view"]
    assert not claim.check(CASE, INTACT).violates(claim.kind)
    assert claim.check(CASE, MUTANTS[mutant]).violates(claim.kind)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_rules_and_optimizers_are_the_same(optimizer):
    """Same bits in both precisions; Adam to rounding."""
    for dtype in ("float64", "float32"):
        rng = np.random.default_rng(0)
        theirs, make = OPTIMIZERS[optimizer]
        gammas = np.full(20, 0.05, dtype)
        rule, w = make(gammas), rng.normal(size=30).astype(dtype)
        ours, params = w[None], {"w": w}
        state, other = rule.start(ours), theirs.init(params)
        assert isinstance(other, OptimizerState)
        for t in range(20):
            g = rng.normal(size=30).astype(dtype)
            state, ours = rule.step(state, t, ours, g[None])
            params, other = theirs.update(params, {"w": g}, other, float(gammas[t]))
        assert ours.dtype == dtype
        if optimizer in BITWISE:
            assert np.array_equal(ours[0], params["w"])
        assert np.abs(ours[0] - params["w"]).max() <= 10 * np.finfo(dtype).eps


def test_gradients_of_the_plain_function():
    """Against central differences of its values, with blocks that cover all weights."""
    f, w = CASE.function, CASE.observed.w[0]
    assert [b.start for b in f.blocks] == [0, *(b.stop for b in f.blocks[:-1])]
    assert f.blocks[-1].stop == len(w)
    v = np.random.default_rng(3).normal(size=w.shape)
    slope = (f.at(2, w + 1e-6 * v)[0] - f.at(2, w - 1e-6 * v)[0]) / 2e-6
    assert f.gradient(2, w[None])[0] @ v == pytest.approx(slope, rel=1e-7)
    assert np.array_equal(f.flat(f.params(w)), w)


def test_no_iterations_are_refused():
    with pytest.raises(ValueError, match="iterations: expected an integer >= 1, got 0"):
        replace(CASE, iterations=0)


@pytest.mark.parametrize("engine", IN_PROCESS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_watched_module_does_what_it_did(model, method, engine):
    """Whatever its method asks of it: the same bits, and what was in flight when the watching began goes on."""
    problem = Problem(model, cuts=(2, 4), iterations=6)
    function = NetworkFunction(problem.network(), problem.cuts, softmax_cross_entropy, problem.batch, problem.dtype)
    watched, task = problem.pipeline(method), problem.task()
    ENGINES[engine](watched, task, 0, 2)
    watched.modules[:] = [Watched(module, function, lambda t: True) for module in watched.modules]
    ENGINES[engine](watched, task, 2, 4)
    watched.modules[:] = [staleness.Watched(module) for module in watched.modules]
    ENGINES[engine](watched, task, 4, 6 + watched.delay)
    assert_same_bits(state(watched), state(problem.run(engine, method)))
    assert vars(watched.modules[0]).keys() >= vars(problem.pipeline(method).modules[0]).keys()


@pytest.mark.parametrize("method", METHODS)
def test_what_a_watched_module_notes(method):
    """The weights of each forward pass and every gradient applied, also of batches that come in parts."""
    problem = Problem(cuts=(2, 4), iterations=6)
    function = NetworkFunction(problem.network(), problem.cuts, softmax_cross_entropy, problem.batch, problem.dtype)
    pipeline = problem.pipeline(method)
    watched = [Watched(module, function, lambda t: True) for module in pipeline.modules]
    ENGINES["reference"](
        Pipeline([*watched], pipeline.errors, pipeline.guessers), problem.task(), 0, 6 + pipeline.delay
    )
    for module in watched:
        assert list(module.used) == list(range(6))
        assert len(module.applied) == 6
