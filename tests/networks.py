"""Small training problems for the engines: a network, batches, and everything an engine is given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ddg_ref.arrays import hosted
from ddg_ref.errors import InputError
from ddg_ref.guessers.synthesizers import synthesizers_for
from ddg_ref.layers import Sequential
from ddg_ref.losses import softmax_cross_entropy
from ddg_ref.methods import METHODS, Method
from ddg_ref.models import MODELS
from ddg_ref.modules import Pipeline
from ddg_ref.optimizers import SGD, Adam, NAdam, Optimizer
from ddg_ref.runs.devices import make_device
from ddg_ref.runs.engines import ENGINES, InProcess
from ddg_ref.step_sizes import Harmonic
from ddg_ref.task import Task

SHAPES = {"mlp": (6,), "cnn": (4, 4, 2), "resnet": (6, 6, 2)}
OPTIMIZERS = {
    "sgd": SGD(momentum=0),
    "nesterov": SGD(nesterov=True, weight_decay=1e-3),
    "momentum": SGD(),
    "adam": Adam(weight_decay=1e-3),
    "nadam": NAdam(weight_decay=1e-3),
}
SAMPLES, CLASSES = 6, 3
IN_PROCESS = sorted(name for name, engine in ENGINES.items() if isinstance(engine, InProcess))
"""The engines that a test can call as it is; `test_mpi.py` runs the other one."""


def fitting(row: Method, name: str) -> Optimizer:
    """The optimizer of that name, or momentum, which every row takes."""
    try:
        row.correction(OPTIMIZERS[name], 1)
    except InputError:
        return OPTIMIZERS["momentum"]
    return OPTIMIZERS[name]


@dataclass(frozen=True)
class Problem:
    """One training run, described by names and a seed so that it can be drawn, shrunk and repeated."""

    model: str = "mlp"
    optimizer: str = "momentum"
    dtype: str = "float64"
    cuts: tuple[int, ...] = ()
    iterations: int = 5
    seed: int = 0
    devices: tuple[str, ...] = ("cpu",)
    """Of the modules, in turn."""

    @property
    def modules(self) -> int:
        return len(self.cuts) + 1

    def network(self) -> Sequential:
        size = {"depth": 4, "width": 5} if self.model == "mlp" else {"width": 2}
        return Sequential(MODELS[self.model](SHAPES[self.model], CLASSES, **size))

    def pipeline(self, method: str, **options: Any) -> Pipeline:
        network, row = self.network(), replace(METHODS[method], **options)
        params = network.init(np.random.default_rng(self.seed), self.dtype)
        stats = network.init_stats(self.dtype)
        return Pipeline.cut(
            network,
            self.cuts,
            row,
            fitting(row, self.optimizer),
            params,
            stats,
            guessers=synthesizers_for(row, network, self.cuts, SHAPES[self.model], self.seed, self.dtype),
            devices=[make_device(self.devices[k % len(self.devices)]) for k in range(self.modules)],
        )

    def batch(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng((self.seed, t))
        x = rng.standard_normal((SAMPLES, *SHAPES[self.model])).astype(self.dtype)
        return x, rng.integers(CLASSES, size=SAMPLES)

    def task(self) -> Task:
        return Task(self.batch, softmax_cross_entropy, Harmonic(0.1, period=10), self.iterations)

    def run(self, engine: str, method: str, *, drain: bool = True, **options: Any) -> Pipeline:
        pipeline = self.pipeline(method, **options)
        ENGINES[engine](pipeline, self.task(), 0, self.iterations + (pipeline.delay if drain else 0))
        return pipeline


@st.composite
def problems(
    draw: st.DrawFn,
    max_modules: int = 7,
    max_iterations: int = 9,
    models: Sequence[str] = sorted(SHAPES),
    dtypes: Sequence[str] = ("float32", "float64"),
    places: Sequence[tuple[str, ...]] = (("cpu",),),
) -> Problem:
    model = draw(st.sampled_from(models))
    n = len(Problem(model).network().steps())
    K = draw(st.integers(1, min(n, max_modules)))
    cuts = draw(st.sets(st.integers(1, n - 1), min_size=K - 1, max_size=K - 1))
    return Problem(
        model,
        draw(st.sampled_from(sorted(OPTIMIZERS))),
        draw(st.sampled_from(dtypes)),
        tuple(sorted(cuts)),
        draw(st.integers(0, max_iterations)),
        draw(st.integers(0, 2**16)),
        draw(st.sampled_from(places)),
    )


def evenly(network: Sequential, K: int) -> tuple[int, ...]:
    """Cuts into K modules with about as many layers."""
    return tuple(round(len(network.layers) * k / K) for k in range(1, K))


def assert_same_bits(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert a[name].tobytes() == b[name].tobytes(), f"{name} differs by {abs(a[name] - b[name]).max()}"


def assert_agree(problem: Problem, a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    """The same bits; on devices, whose kernels round otherwise, up to that."""
    a, b = hosted(a), hosted(b)
    if problem.devices == ("cpu",):
        assert_same_bits(a, b)
        return
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-6, atol=1e-9, err_msg=name)


def state(pipeline: Pipeline) -> dict[str, np.ndarray]:
    """Everything that training has changed, by name."""
    slots = {
        f"{slot}.{name}": array
        for module in pipeline.modules
        for slot, arrays in module.optimizer_state.slots.items()
        for name, array in arrays.items()
    }
    synthesizers = {
        f"synthesizer.{k}.{kind}.{name}": array
        for k, guesser in enumerate(pipeline.guessers, 1)
        if guesser is not None
        for kind, arrays in ({"params": guesser.params} | guesser.optimizer_state.slots).items()
        for name, array in arrays.items()
    }
    return hosted(pipeline.params | pipeline.stats | slots | synthesizers)
