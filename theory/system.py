"""The running system, ddg_ref, as the claims see it: a case on one line, its network as a function, a watched run.

All of it in the shapes of `theory.delayed`: weights are one flat vector w (d,), block k of it holds module k, and f_i
is the loss of minibatch i.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise

import numpy as np
from hypothesis import strategies as st

from ddg_ref import optimizers as reference_optimizers
from ddg_ref.arrays import Params
from ddg_ref.computing import computing
from ddg_ref.layers import Sequential
from ddg_ref.losses import Loss, softmax_cross_entropy
from ddg_ref.methods import METHODS
from ddg_ref.models import MODELS
from ddg_ref.modules import Module, Pipeline
from ddg_ref.runs.engines import ENGINES
from ddg_ref.task import Task
from theory.checks import integer
from theory.optimizers import SGD, Adam, Momentum, Rule
from theory.problems import Array
from theory.steps import KINDS, step_sizes
from theory.strategies import seeds

SHAPES = {"mlp": (6,), "cnn": (4, 4, 2), "resnet": (6, 6, 2)}
SIZES = {"mlp": {"depth": 4, "width": 5}, "cnn": {"width": 2}, "resnet": {"width": 2}}
SAMPLES, CLASSES, GAMMA = 6, 3, 0.05

OPTIMIZERS: dict[str, tuple[reference_optimizers.Optimizer, Callable[[Array], Rule]]] = {
    "sgd": (reference_optimizers.SGD(momentum=0), SGD),
    "weight decay": (
        reference_optimizers.SGD(momentum=0, weight_decay=0.1),
        lambda gammas: Momentum(float(gammas[0]), mu=0.0, decay=0.1),
    ),
    "momentum": (reference_optimizers.SGD(), lambda gammas: Momentum(float(gammas[0]))),
    "nesterov": (
        reference_optimizers.SGD(nesterov=True, weight_decay=1e-3),
        lambda gammas: Momentum(float(gammas[0]), decay=1e-3, nesterov=True),
    ),
    "adam": (reference_optimizers.Adam(), lambda gammas: Adam(float(gammas[0]))),
}
"""ddg_ref's optimizer, and the rule of `theory.optimizers` that stands for it, made from the step sizes.

The two do the same operations in the same order, so they agree bit for bit; except for Adam, whose bias correction
ddg_ref multiplies into the root and the rule divides by under it: these agree to rounding.
"""
BITWISE = tuple(name for name in OPTIMIZERS if name != "adam")


class NetworkFunction:
    """f_i(w), the loss of minibatch i on the whole, uncut network, by plain backpropagation."""

    def __init__(
        self,
        network: Sequential,
        cuts: Sequence[int],
        loss: Loss,
        batch: Callable[[int], tuple[Array, Array]],
        dtype: str,
    ) -> None:
        self.network, self.loss, self.batch, self.dtype = network, loss, batch, dtype
        self.shapes = network.parameter_shapes()
        parts = [network.part(start, stop) for start, stop in pairwise((0, *cuts, len(network.steps())))]
        sizes = [sum(int(np.prod(shape)) for shape in part.parameter_shapes().values()) for part in parts]
        edges = list(accumulate(sizes, initial=0))
        self.blocks = tuple(slice(a, b) for a, b in pairwise(edges))

    def flat(self, arrays: Params) -> Array:
        """Weights or gradients of the network, or of one module, as a vector."""
        return np.concatenate([np.zeros(0, self.dtype), *(arrays[n].ravel() for n in self.shapes if n in arrays)])

    def params(self, w: Array) -> Params:
        """The vector (d,) as named arrays."""
        named, start = {}, 0
        for name, shape in self.shapes.items():
            stop = start + int(np.prod(shape))
            named[name] = w[start:stop].reshape(shape).copy()
            start = stop
        return named

    def at(self, i: int, w: Array) -> tuple[float, Array]:
        """f_i(w) and grad f_i(w), (d,)."""
        x, labels = self.batch(i)
        params = self.params(w)
        with computing():
            y, cache = self.network.forward(params, x)
            value, dy = self.loss(y, labels)
            return float(value), self.flat(self.network.gradients(params, cache, dy))

    def gradient(self, i: int | Array, w: Array) -> Array:
        """grad f_i(w): (R,) batch numbers, (R, d) -> (R, d)."""
        return np.stack([self.at(int(number), row)[1] for number, row in zip(np.atleast_1d(i), w, strict=True)])


class Watched(Module):
    """A module as it is, that notes which weights each forward pass used, and which gradients were applied."""

    def __init__(self, module: Module, function: NetworkFunction, wanted: Callable[[int], bool]) -> None:
        vars(self).update(vars(module))
        self._flat, self._wanted = function.flat, wanted
        self.used: dict[int, Array] = {}
        self.applied: list[Array] = []

    def forward(self, number: int, x: Array, gamma: float = 0.0) -> Array:
        batch, part = divmod(number, self.method.micro_batches)
        if part == 0 and self._wanted(batch):
            self.used[batch] = self._flat(self.params)
        return super().forward(number, x, gamma)

    def update(self, grads: Params, gamma: float) -> None:
        if self._wanted(len(self.applied) + self.delay):
            self.applied.append(self._flat(grads))
        super().update(grads, gamma)


@dataclass(frozen=True)
class SystemCase:
    """A small training run of ddg_ref. Raises ValueError for iterations < 1."""

    model: str
    optimizer: str
    steps: str
    engine: str
    dtype: str
    cuts: tuple[int, ...]
    iterations: int
    seed: int

    def __post_init__(self) -> None:
        integer("iterations", self.iterations, 1)

    @property
    def K(self) -> int:  # noqa: N802
        """Number of modules."""
        return len(self.cuts) + 1

    @cached_property
    def gammas(self) -> Array:
        """One step size per iteration and per draining iteration, in the precision of the weights."""
        return step_sizes(self.steps, GAMMA, self.iterations + self.K - 1, self.seed).astype(self.dtype)

    @cached_property
    def function(self) -> NetworkFunction:
        """f_i, i = 0, 1, ..: random samples and labels."""
        network = Sequential(MODELS[self.model](SHAPES[self.model], CLASSES, **SIZES[self.model]))
        return NetworkFunction(network, self.cuts, softmax_cross_entropy, self.batch, self.dtype)

    def batch(self, i: int) -> tuple[Array, Array]:
        """Minibatch i."""
        rng = np.random.default_rng([self.seed, i, 1])
        x = rng.normal(size=(SAMPLES, *SHAPES[self.model])).astype(self.dtype)
        return x, rng.integers(CLASSES, size=SAMPLES)

    @property
    def optimizer_of_ddg_ref(self) -> reference_optimizers.Optimizer:
        """The optimizer that the engines use."""
        return OPTIMIZERS[self.optimizer][0]

    @property
    def rule(self) -> Rule:
        """The same optimizer, written independently."""
        return OPTIMIZERS[self.optimizer][1](self.gammas)

    def pipeline(self) -> Pipeline:
        """The network cut into modules, at its initial weights."""
        network = self.function.network
        params = network.init(np.random.default_rng([self.seed, 2]), self.dtype)
        stats = network.init_stats(self.dtype)
        return Pipeline.cut(network, self.cuts, METHODS["ddg"], self.optimizer_of_ddg_ref, params, stats)

    def run(self, *, drain: bool) -> list[Watched]:
        """Let the engine train, and drain if asked to; the modules as they are then."""
        pipeline = self.pipeline()
        watched = [Watched(module, self.function, lambda t: True) for module in pipeline.modules]
        task = Task(self.batch, softmax_cross_entropy, lambda t: float(self.gammas[t]), self.iterations)
        stop = self.iterations + (pipeline.delay if drain else 0)
        ENGINES[self.engine](Pipeline([*watched], pipeline.errors), task, 0, stop)
        return watched

    @cached_property
    def observed(self) -> Observed:
        """What the engine did, watched twice: stopped after the last batch, and drained."""
        stopped, drained = self.run(drain=False), self.run(drain=True)
        before = [[module.used[t] for module in stopped] for t in range(self.iterations)]
        after = [self.function.flat(module.params) for module in stopped]
        return Observed(
            w=np.stack([np.concatenate(blocks) for blocks in (*before, after)]),
            applied=[module.applied for module in stopped],
            drained=np.concatenate([self.function.flat(module.params) for module in drained]),
        )


@dataclass(frozen=True, eq=False)
class Observed:
    """w^0..w^T (T+1, d) of an engine, the gradients that module k applied until then, its weights after draining."""

    w: Array
    applied: list[list[Array]]
    drained: Array


@st.composite
def system_cases(draw: st.DrawFn, optimizers: tuple[str, ...] = tuple(OPTIMIZERS)) -> SystemCase:
    """Any model, K = 1..5, any cuts, any engine; fewer iterations than modules included."""
    model = draw(st.sampled_from(sorted(SHAPES)), label="model")
    layers = len(MODELS[model](SHAPES[model], CLASSES, **SIZES[model]))
    K = draw(st.integers(1, 5), label="K")
    optimizer = draw(st.sampled_from(optimizers), label="optimizer")
    return SystemCase(
        model=model,
        optimizer=optimizer,
        steps=draw(st.sampled_from(KINDS), label="steps") if optimizer == "sgd" else "constant",
        engine=draw(st.sampled_from(("threads", "reference")), label="engine"),
        dtype=draw(st.sampled_from(["float64", "float32"]), label="dtype"),
        cuts=tuple(sorted(draw(st.sets(st.integers(1, layers - 1), min_size=K - 1, max_size=K - 1), label="cuts"))),
        iterations=draw(st.integers(1, 9), label="iterations"),
        seed=draw(seeds, label="seed"),
    )
