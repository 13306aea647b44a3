"""Experiments with the students' answers, beside what ddg_ref and theory make of the same inputs."""

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any
from unittest.mock import patch

import numpy as np

from ddg_ref.arrays import Array, Params
from ddg_ref.errors import StallError
from ddg_ref.layers import Layer, Linear, Sequential, Tanh
from ddg_ref.losses import softmax_cross_entropy
from ddg_ref.methods import METHODS
from ddg_ref.modules import Module, Pipeline
from ddg_ref.optimizers import SGD
from ddg_ref.splitting import balance, check_cuts
from ddg_ref.step_sizes import Constant
from ddg_ref.task import Task
from ddg_ref.workers import one_thread, threads, worker
from notebooks.exercises.grading import (
    expect,
    expect_close,
    expect_equal,
    expect_same_bits,
    numeric_gradient,
    own_work,
    unchanged,
)
from notebooks.exercises.suspects import disguised
from theory import delayed, optimizers
from theory.cases import Case
from theory.exact import given_history
from theory.families import make_problem
from theory.steps import step_sizes

STALL_SECONDS = 1.0
"""When no worker begins anything for so long, they wait for each other: what they have to do takes milliseconds."""

FORWARD_PASSES = 1
"""In one backward pass: enough to compute the cache again, too few for differences of losses."""


def gradients(layer: Layer, params: Params, x: Array, dy: Array) -> tuple[Array, Params]:
    """Exercise 1: dx and the parameter gradients as `layer` gives them, for the batch x and the error gradient dy."""
    _, cache = layer.forward(params, x)
    untouched = unchanged("backward", {"x": x, "dy": dy, **params})
    with own_work(numeric_gradient), patch.object(type(layer), "forward", limited(type(layer).forward)):
        dx, grads = layer.backward(params, cache, dy)
    untouched()
    return dx, grads


def check_layer(layer: Layer, params: Params, x: Array, dy: Array, hints: Mapping[str, str]) -> None:
    """Exercise 1: compare `layer.backward` with central differences of sum(dy * y), entry by entry.

    `hints` has a text for each parameter, and for "x".
    """
    dx, grads = gradients(layer, params, x, dy)
    expected = numeric_gradient(lambda moved: float((dy * layer.forward(params, moved)[0]).sum()), x)
    for name, value in params.items():
        found = numeric_gradient(
            lambda moved, name=name: float((dy * layer.forward(params | {name: moved}, x)[0]).sum()), value
        )
        expect_close(f"d loss/d {name}", grads.get(name), found, hints[name], tolerance=1e-6)
    expect_close("d loss/dx", dx, expected, hints["x"], tolerance=1e-6)


def limited(forward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward`, until it has been called FORWARD_PASSES times; then AnswerError."""
    calls = 0

    def counted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        expect(
            calls <= FORWARD_PASSES,
            f"backward: expected at most {FORWARD_PASSES} forward pass in it, got more. "
            "Hint: differences of losses cost two for each number; use the formula",
        )
        return forward(*arguments)

    return counted


def ddg_iterates(problem: delayed.Objective, w0: Array, samples: Array, gamma: float) -> Array:
    """Exercise 3: w^0..w^T of DDG for one sequence of samples, (T+1, d)."""
    gammas = np.full(len(samples) + len(problem.blocks) - 1, gamma)
    return delayed.ddg(problem, w0, samples[None], optimizers.SGD(gammas))[:, 0]


def tried(iterates: Callable[..., Array], problem: delayed.Objective, w0: Array, samples: Array, gamma: float) -> Array:
    """Exercise 3: what `iterates` gives without the library's loop."""
    with own_work(delayed.ddg):
        return iterates(problem, w0.copy(), samples, gamma)


def one_run(family: str, K: int, T: int, kind: str, seed: int) -> delayed.Run:
    """Exercise 4: a run of DDG over one random sequence of samples."""
    problem = make_problem(family, K, 3, seed)
    rng = np.random.default_rng(seed)
    gammas = step_sizes(kind, 0.1, T + K - 1, seed)
    return delayed.Run.of(problem, rng.normal(size=problem.d), rng.integers(3, size=(1, T)), gammas)


def small_training(
    K: int, iterations: int, seed: int, *, method: str = "ddg", deep: bool = True
) -> tuple[Pipeline, Task]:
    """K modules, plain SGD, batches that depend on the seed alone; the label says which of three inputs is largest.

    A module is Linear, Tanh, Linear, or a single Linear if not `deep`.
    """
    parts: list[list[Layer]] = [[Linear(3, 4), Tanh(), Linear(4, 3)] if deep else [Linear(3, 3)] for _ in range(K)]
    network = Sequential([layer for part in parts for layer in part])
    params = network.init(np.random.default_rng(seed), np.float64)
    cuts = [len(parts[0]) * k for k in range(1, K)]
    pipeline = Pipeline.cut(network, cuts, METHODS[method], SGD(momentum=0), params, {})

    def batch(t: int) -> tuple[Array, Array]:
        x = np.random.default_rng((seed, t)).normal(size=(5, 3))
        return x, x.argmax(axis=1)

    return pipeline, Task(batch, softmax_cross_entropy, Constant(0.1), iterations)


def run_workers(work: Callable[..., int], pipeline: Pipeline, task: Task, stop: int, hint: str) -> int:
    """ddg_ref's threads, each running the loop `work`; the iteration that they came to.

    Raises StallError with the hint when they wait for each other.
    """

    def steps(*arguments: Any) -> Generator[None, None, int]:
        """What the engine goes through: one step, and that is all of `work`."""
        yield
        return work(*arguments)

    task.stall_timeout = STALL_SECONDS
    with own_work(worker.work), patch.object(threads, "work", steps):
        try:
            return threads.run(pipeline, task, 0, stop).iteration
        except StallError as stall:
            raise StallError(f"{stall}. Hint: {hint}") from None


def measured_excess(
    case: Case,
    C: float,
    *,
    f_at: str = "x",
    gradient_at: str = "w",
    reduce: Callable[[Array, int, int], float] = lambda change, n, t: given_history(change, n, t).max(),
) -> float:
    """Exercise 6: the excess, or what somebody measures who mistakes one thing for another."""
    run, problem = case.run(), case.problem
    f = problem.f(getattr(run, f_at))
    grad2 = (problem.grad(getattr(run, gradient_at)) ** 2).sum(axis=-1)
    changes = [reduce(f[t + 1] - f[t] + case.gamma * grad2[t], case.n, t) for t in range(case.T)]
    return float(max(changes) - case.gamma**2 * problem.L * problem.gradient_bound() * C)


def tried_excess(excess: Callable[[Case, float], float], case: Case, C: float) -> float:
    """Exercise 6: what `excess` gives without ours."""
    with own_work(measured_excess):
        return excess(case, C)


def compare_loops(work: Callable[..., int], K: int, iterations: int, method: str, drain: bool, seed: int) -> None:
    """Exercise 5: train with `work` on threads and with one_thread; both must end with the same bits."""
    (mine, my_task), (theirs, task) = (small_training(K, iterations, seed, method=method) for _ in range(2))
    stop = iterations + (mine.delay if drain else 0)
    hint = "what a neighbour waits for must be handed over before you wait for anything yourself"
    reached = run_workers(work, mine, my_task, stop, hint)
    one_thread.run(theirs, task, 0, stop)
    expect_equal("iteration that module 1 came to", reached, stop, "return stop at the end of the loop")
    when = f"{method}, K = {K}, {iterations} batches, " + ("after the drain" if drain else "no drain")
    expect_same_bits(when, mine.params, theirs.params, "no batch may be left out, nor taken twice")
    waiting = [[[batch for batch, _ in queue] for queue in pipeline.errors] for pipeline in (mine, theirs)]
    hint = "an error gradient that nobody takes any more has to be in the channel all the same"
    expect_equal(f"{when}: batches in the error channels of modules 1..K", waiting[0], waiting[1], hint)


def check_best_cuts(best_cuts: Callable[[list[float], int], Sequence[int]], costs: Sequence[float], K: int) -> None:
    """Exercise 7: the cuts must be valid, and as good as those of ddg_ref."""
    with own_work(balance):
        cuts = best_cuts(list(costs), K)
    expect(isinstance(cuts, Sequence | np.ndarray), f"cuts for K = {K}: expected a list, got {cuts!r}. Hint: return it")
    cuts = [int(cut) for cut in cuts]
    expect(len(cuts) == K - 1, f"cuts for K = {K}: expected {K - 1}, got {cuts}. Hint: K - 1 cuts make K modules")
    reached, possible = slowest_module(costs, check_cuts(cuts, len(costs))), slowest_module(costs, balance(costs, K))
    expect_close(
        f"cost of the slowest module with cuts {cuts} of {list(costs)}",
        reached,
        possible,
        "neither equal numbers of layers nor filling up to the average is always best; compare all last parts",
    )


def slowest_module(costs: Sequence[float], cuts: Sequence[int]) -> float:
    """What the slowest module costs."""
    return float(max(map(sum, np.split(np.array(costs), cuts))))


def tried_slowest(slowest: Callable[..., float], costs: Sequence[float], cuts: Sequence[int]) -> float:
    """Exercise 7: what `slowest` gives without ours."""
    with own_work(slowest_module):
        return slowest(list(costs), list(cuts))


def interrogate(diagnose: Callable[..., str], name: str, seed: int) -> str:
    """Exercise 8: the verdict on a suspect with random weights and batches."""
    rng = np.random.default_rng(seed)
    layers = Sequential([Linear(3, 4), Tanh(), Linear(4, 3)])
    module = Module(2, 3, METHODS["ddg"], layers, layers.init(rng, np.float64), {}, SGD(momentum=0))
    return diagnose(disguised(module, name), rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 3)))


def bug_shows(name: str, K: int, *, deep: bool) -> bool:
    """Exercise 8: whether training with this suspect leads to other weights than with a healthy module."""
    ends = []
    for suspect in ("healthy", name):
        pipeline, task = small_training(K, 6, seed=1, deep=deep)
        pipeline.modules = [disguised(module, suspect) for module in pipeline.modules]
        one_thread.run(pipeline, task, 0, 6 + pipeline.delay)
        ends.append(np.concatenate([array.ravel() for array in pipeline.params.values()]))
    return not np.array_equal(*ends)
