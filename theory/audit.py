"""A real training run of ddg_ref, measured against what the statements assume and what they promise.

What makes the theory apply: f_1..f_n are the losses of the n minibatches of one epoch, a fixed partition of the
training set, f is their mean, and i(t) is drawn from them independently and uniformly, or in epochs that use each of
them once, in random orders (`python -m ddg_ref` makes new minibatches every epoch: PROOFS.md section 10, fine print).
SGD with or without momentum, constant step, float64. With batch norm f_i is still a function of the weights, because
its minibatch is fixed; only the gradient of one sample is then undefined.

Certificates, up to rounding: f* >= 0, since losses are not negative; L >= the L that is seen, because every value of it
is a ratio ||grad f(b) - grad f(a)||/||b - a|| of two points, also in the power iteration; M >= the M that is seen. So
"gamma L > 1" is certain where it is found, and "gamma L <= 1" is not. Everything else is an estimate: no upper bound of
L or M is known for these networks (with ReLU or max pooling grad f even jumps), and S_T, a mean over all histories, is
seen on one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import astuple, dataclass, replace

import numpy as np

from ddg_ref.arrays import Params
from ddg_ref.computing import computing
from ddg_ref.errors import DivergenceError
from ddg_ref.modules import Pipeline
from ddg_ref.runs.config import Config
from ddg_ref.runs.engines import ENGINES, InProcess
from ddg_ref.runs.training import Training
from theory import recipe_bounds
from theory.checks import finite, integer
from theory.problems import Array
from theory.spectrum import curvature, secant_ratio
from theory.system import NetworkFunction, Watched

SAMPLING = ("independent", "epochs")
"""How i(t) is drawn."""
POWER_ITERATIONS = 3
"""Per point; each point starts from the direction that the one before it ended with."""


@dataclass(frozen=True)
class Plan:
    """What to train and how closely to look: `points` iterations for the gradient of f, `segments` of them for L.

    Raises ValueError for fewer iterations than modules or points, and for what ddg_ref refuses.
    """

    model: str = "mlp"
    data: str = "digits"
    modules: int = 4
    iterations: int = 400
    lr: float = 0.05
    batch_size: int = 64
    width: int | None = None
    depth: int | None = None
    loss: str = "cross-entropy"
    engine: str = "threads"
    seed: int = 0
    points: int = 40
    segments: int = 6
    momentum: float = 0.0
    nesterov: bool = False
    sampling: str = "independent"

    def __post_init__(self) -> None:
        if self.sampling not in SAMPLING:
            raise ValueError(
                f"sampling: expected one of {', '.join(SAMPLING)}, got {self.sampling!r}; choose one of these"
            )
        integer("modules", self.modules, 1)
        integer("segments", self.segments, 1)
        integer("points", self.points, self.segments)
        integer("iterations", self.iterations, self.modules + self.points - 1)
        seeing_all = [name for name, engine in ENGINES.items() if isinstance(engine, InProcess)]
        if self.engine not in seeing_all:
            raise ValueError(
                f"engine: expected {' or '.join(seeing_all)}, which see all modules, got {self.engine}; "
                "choose one of them"
            )

    def training(self) -> Training:
        """The run, before its first iteration."""
        return Training(
            Config(
                model=self.model,
                data=self.data,
                modules=self.modules,
                iterations=self.iterations,
                lr=self.lr,
                batch_size=self.batch_size,
                width=self.width,
                depth=self.depth,
                loss=self.loss,
                engine=self.engine,
                seed=self.seed,
                split="count",
                momentum=self.momentum,
                nesterov=self.nesterov or None,
                dtype="float64",
                drain=False,
            )
        )

    @property
    def eta(self) -> float:
        """The effective step gamma/(1-beta)."""
        return self.lr / (1 - self.momentum)

    def draws(self, n: int) -> Array:
        """i(0), i(1), ..: which of n minibatches each iteration takes."""
        rng = np.random.default_rng([self.seed, 1])
        if self.sampling == "independent":
            return rng.integers(n, size=self.iterations)
        epochs = -(-self.iterations // n)
        return np.concatenate([rng.permutation(n) for _ in range(epochs)])[: self.iterations]


@dataclass(frozen=True)
class Point:
    """At w^t: f, ||grad f||^2, max_i ||grad f_i||^2, and (1/n) sum_i ||grad f_i - grad f||^2."""

    t: int
    f: float
    grad2: float
    M: float
    variance: float

    def __post_init__(self) -> None:
        _expect_finite(self)


@dataclass(frozen=True)
class Segment:
    """From w^t to x^t: its length, L seen on it from below, f at its end, the largest squared gradient of one sample.

    `hessian` holds the power iteration's values at w^t, in the middle, and at x^t. `sample_M` is None where batch norm
    couples the samples.
    """

    t: int
    length: float
    secant: float
    hessian: tuple[float, float, float]
    f_x: float
    sample_M: float | None  # noqa: N815

    def __post_init__(self) -> None:
        _expect_finite(self)

    @property
    def L(self) -> float:  # noqa: N802
        """The largest lower bound of L on this segment."""
        return float(np.max([self.secant, *self.hessian]))


def _expect_finite(seen: Point | Segment) -> None:
    finite(f"audit at iteration {seen.t}", np.hstack([value for value in astuple(seen) if value is not None]))


@dataclass(frozen=True)
class Advised:
    """What happened at another step: f at its first and last point, and the mean of ||grad f(w^t)||^2."""

    why: str
    lr: float
    first: float
    last: float
    S: float


@dataclass(frozen=True)
class Audit:
    """What was seen. `n` minibatches, `d` weights."""

    plan: Plan
    n: int
    d: int
    points: list[Point]
    segments: list[Segment]
    advised: tuple[Advised, ...] = ()

    @property
    def A(self) -> float:  # noqa: N802
        """f(w^0) - f* with the certificate f* >= 0: losses are not negative."""
        return self.points[0].f

    @property
    def L(self) -> float:  # noqa: N802
        """Estimate from below of L on the segments."""
        return float(np.max([segment.L for segment in self.segments]))

    @property
    def M(self) -> float:  # noqa: N802
        """Estimate from below of M, i a minibatch."""
        return float(np.max([point.M for point in self.points]))

    @property
    def sample_M(self) -> float | None:  # noqa: N802
        """Estimate from below of M, i a sample."""
        seen = [segment.sample_M for segment in self.segments if segment.sample_M is not None]
        return float(np.max(seen)) if seen else None

    @property
    def variance(self) -> float:
        """Estimate from below of nu^2, i a minibatch."""
        return float(np.max([point.variance for point in self.points]))

    @property
    def S(self) -> float:  # noqa: N802
        """Estimate of S_T: the mean of ||grad f(w^t)||^2 over the points, one history."""
        return float(np.mean([point.grad2 for point in self.points]))


def evenly(last: int, count: int) -> list[int]:
    """`count` whole numbers from 0 to `last`, evenly spaced."""
    return [round(i * last / max(1, count - 1)) for i in range(count)]


def audit(plan: Plan, progress: Callable[[str], None] = lambda text: None) -> Audit:
    """Train and measure; then train at the step that the theory recommends with what was seen, and measure that. Raises
    ValueError for what ddg_ref refuses, or if a loss or gradient is not finite."""
    found, advised = measure(plan, progress), []
    for why, lr in recommended(found).items():
        progress(f"at the step {lr:.2g}")
        other = replace(plan, lr=lr, points=max(plan.segments, plan.points // 4))
        training, function, times = _prepared(other)
        w, _ = train(other, training, function, times)
        points = [point(function, found.n, t, w[t]) for t in times]
        S = float(np.mean([point.grad2 for point in points]))
        advised.append(Advised(why, lr, points[0].f, points[-1].f, S))
    return replace(found, advised=tuple(advised))


def recommended(found: Audit) -> dict[str, float]:
    """The steps gamma that the theory recommends with the L and M seen, by why."""
    plan, constants = found.plan, (found.A, found.L, found.M, found.plan.modules)
    momentum, rest = (plan.momentum, plan.nesterov), 1 - plan.momentum
    stable = recipe_bounds.momentum_threshold(plan.modules, *momentum) / found.L
    if plan.sampling == "epochs":
        steps = {"the largest that R1 and R4 admit": rest / (found.L * found.n)}
    else:
        best = recipe_bounds.momentum_lin_best_step(*constants, plan.iterations, *momentum)
        steps = {"where M1 (lin) is smallest": rest * best}
    return steps | {"half of what M3 allows quadratics": stable / 2}


def _prepared(plan: Plan) -> tuple[Training, NetworkFunction, list[int]]:
    """A run before its first iteration, its network as a function, and the iterations to look at."""
    training = plan.training()
    function = NetworkFunction(training.network, training.cuts, training.task.loss, training.batches, "float64")
    return training, function, evenly(plan.iterations - plan.modules, plan.points)


def point(function: NetworkFunction, n: int, t: int, w: Array) -> Point:
    """What a point needs, at w^t."""
    values, gradients = zip(*(function.at(i, w) for i in range(n)), strict=True)
    grad = np.mean(gradients, axis=0)
    norms = [float(g @ g) for g in gradients]
    grad2 = float(grad @ grad)
    variance = float(np.maximum(0, np.mean(norms) - grad2))  # which rounding may take below 0
    return Point(t, float(np.mean(values)), grad2, float(np.max(norms)), variance)


def measure(plan: Plan, progress: Callable[[str], None] = lambda text: None) -> Audit:
    """Train and measure."""
    training, function, times = _prepared(plan)
    n = training.batches.per_epoch
    progress("training")
    w, x = train(plan, training, function, times)

    def mean_gradient(v: Array) -> Array:
        return np.asarray(sum(function.at(i, v)[1] for i in range(n)) / n)

    direction = np.random.default_rng(plan.seed).normal(size=len(w[0]))
    inspected = {times[place] for place in evenly(plan.points - 1, plan.segments)}
    points, segments = [], []
    for t in times:
        progress(f"iteration {t}")
        points.append(point(function, n, t, w[t]))
        if t in inspected:
            hessian = []
            for place in (w[t], (w[t] + x[t]) / 2, x[t]):
                size, direction = curvature(mean_gradient, place, direction, POWER_ITERATIONS)
                hessian.append(size)
            segments.append(
                Segment(
                    t,
                    length=float(np.linalg.norm(w[t] - x[t])),
                    secant=secant_ratio(mean_gradient(x[t]) - mean_gradient(w[t]), x[t] - w[t]),
                    hessian=(hessian[0], hessian[1], hessian[2]),
                    f_x=float(np.mean([function.at(i, x[t])[0] for i in range(n)])),
                    sample_M=sample_bound(training, function.params(w[t])),
                )
            )
    return Audit(plan, n, len(w[0]), points, segments)


def train(
    plan: Plan, training: Training, function: NetworkFunction, times: Iterable[int]
) -> tuple[dict[int, Array], dict[int, Array]]:
    """Run the engine on minibatches drawn as the plan says; w^t and x^t at `times`.

    x_k^t is read off as w_k^{t+d_k}: with a constant step module k is the drained iterate, d_k iterations late, as the
    claim running-view verifies.
    """
    drawn = plan.draws(training.batches.per_epoch)
    training.task.batch = lambda t: training.batches(int(drawn[t]))
    training.task.labels_alone = lambda t: training.batches.labels(int(drawn[t]))
    wanted = {t + late for t in times for late in range(plan.modules)}
    pipeline = training.pipeline
    modules = [Watched(module, function, wanted.__contains__) for module in pipeline.modules]
    try:
        ENGINES[plan.engine](Pipeline([*modules], pipeline.errors), training.task, 0, plan.iterations)
    except DivergenceError as error:
        raise ValueError(f"audit: {error}") from error
    w = {t: np.concatenate([module.used[t] for module in modules]) for t in times}
    x = {t: np.concatenate([module.used[t + module.delay] for module in modules]) for t in times}
    return w, x


def sample_bound(training: Training, params: Params) -> float | None:
    """max over training samples of the squared norm of the sample's own gradient; None if batch norm couples them."""
    network, batches = training.network, training.batches
    if network.stats_shapes():
        return None
    squares = []
    with computing():
        for j in range(len(batches.x)):
            y, cache = network.forward(params, batches.x[j : j + 1])
            grads = network.gradients(params, cache, training.task.loss(y, batches.y[j : j + 1])[1])
            squares.append(sum(float((g * g).sum()) for g in grads.values()))
    return float(np.max(squares))
