"""A module: consecutive layers, their weights, and the batches that are in flight inside it."""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

from ddg_ref.arrays import Array, Params, added
from ddg_ref.corrections import divided
from ddg_ref.device import Cpu, Device
from ddg_ref.layers import Cache, Sequential
from ddg_ref.methods import Method
from ddg_ref.optimizers import Optimizer
from ddg_ref.schedules import Program
from ddg_ref.step_sizes import StepSizes
from ddg_ref.workers.neighbours import Guesser, Right


class InFlight(NamedTuple):
    """A micro-batch between its forward and its backward pass: its input and the weights its forward pass used.

    No weights where nobody will ask for them.
    """

    number: int
    x: Array
    params: Params


class HalfBack(NamedTuple):
    """A micro-batch between the two halves of its backward pass: the weights it goes back with, and what was kept.

    `kept` is emptied as it is used, so that nobody holds it meanwhile.
    """

    params: Params
    kept: list[Any]


class Module:
    """Module k of K: the state that one device holds.

    `queue` holds the micro-batches in flight, oldest first, `caches` what their backward passes need. A cache goes
    straight into backward and is kept by nobody else, so that it is freed layer by layer on the way. A module that
    `replays` keeps none: it computes them from the input, when it goes back. `gradients` holds what the update of each
    batch will apply, as far as it has come, `half_back` what the second halves of backward passes need. A batch that is
    not split is a micro-batch of the same number.
    """

    def __init__(
        self,
        k: int,
        K: int,
        method: Method,
        layers: Sequential,
        params: Params,
        stats: Params,
        optimizer: Optimizer,
        device: Device | None = None,
    ) -> None:
        self.k, self.K, self.method, self.layers = k, K, method, layers
        self.delay, self.lag, self.staleness = method.delay(k, K), method.lag(k, K), method.staleness(k, K)
        self.replays = method.stored == "inputs" and self.delay > 0  # else the weights are the same: nothing to replay
        self.stashes = method.weights == "forward" or not self.replays
        self.device = Cpu() if device is None else device
        with self.device.opened():
            self.params, self.stats = self.device.place_all(params), self.device.place_all(stats)
            self.optimizer = method.correction(optimizer, self.staleness)
            self.optimizer_state = self.optimizer.init(self.params)
        self.queue: deque[InFlight] = deque()
        self.caches: deque[Cache] = deque()
        self.half_back: dict[int, HalfBack] = {}
        self.gradients: dict[int, Params] = {}

    def step_size(self, gamma: StepSizes, t: int) -> float:
        """The module's own step size in iteration t."""
        return divided(gamma(t), self.staleness, t, self.method.delay_scaling)

    def forward(self, number: int, x: Array, gamma: float = 0.0) -> Array:
        """Output for `x`; what backward needs joins the queue. `gamma` is the step size, for methods that predict."""
        params = self.params
        if self.method.forward == "predicted":  # batch b's update is the one that is counted b
            updates = number // self.method.micro_batches - self.optimizer_state.step
            params = self.optimizer.ahead(params, self.optimizer_state, updates, gamma)
        y, cache = self.layers.forward(params, x)
        self.stats = self.layers.advance(self.stats, cache)
        self._keep(number, x, params, cache)
        return y

    def restore(self, number: int, x: Array, params: Params) -> None:
        """Put a micro-batch in flight as it was: `forward` with the weights of that time, counted by no statistic."""
        self._keep(number, x, params, None if self.replays else self.layers.forward(params, x)[1])

    def _keep(self, number: int, x: Array, params: Params, cache: Cache) -> None:
        self.queue.append(InFlight(number, x, params if self.stashes else {}))
        if not self.replays:
            self.caches.append(cache)

    def backward(self, number: int, dy: Array) -> tuple[Array | None, Params]:
        """Input and parameter gradients of the oldest micro-batch in flight, at the weights the method goes back with.

        Module 1 has no use for an input gradient and gives None.
        """
        x, params = self._oldest(number)
        if self.k == 1:
            return None, self.layers.gradients(params, self._cache(params, x), dy)
        dx, grads = self.layers.backward(params, self._cache(params, x), dy)
        return self._shrunk(dx), grads

    def input_gradient(self, number: int, dy: Array) -> Array | None:
        """The first half of `backward`; `weight_gradients` is the other one, at any time later.

        Module 1, which nobody waits for, leaves all of it to the second half.
        """
        x, params = self._oldest(number)
        if self.k == 1:
            self.half_back[number] = HalfBack(params, [dy, self._cache(params, x)])
            return None
        dx, kept = self.layers.input_gradient(params, self._cache(params, x), dy)
        self.half_back[number] = HalfBack(params, [kept])
        return self._shrunk(dx)

    def weight_gradients(self, number: int) -> Params:
        """The second half of `backward`: the parameter gradients, the same bits."""
        params, kept = self.half_back.pop(number)
        if self.k == 1:
            return self.layers.gradients(params, kept.pop(), kept.pop())
        return self.layers.weight_gradients(params, kept.pop())

    def _oldest(self, number: int) -> tuple[Array, Params]:
        """The input of the oldest micro-batch in flight, which leaves the queue, and the weights it goes back with."""
        oldest = self.queue.popleft()
        if oldest.number != number:
            raise RuntimeError(
                f"module {self.k}: error gradient of micro-batch {number} met the cache of {oldest.number}"
            )
        return oldest.x, oldest.params if self.method.weights == "forward" else self.params

    def _shrunk(self, dx: Array) -> Array:
        return dx if self.method.shrink == 1 else dx * self.method.shrink

    def _cache(self, params: Params, x: Array) -> Cache:
        """What backward needs, for the micro-batch whose input is `x`."""
        return self.layers.forward(params, x)[1] if self.replays else self.caches.popleft()

    def accumulate(self, batch: int, grads: Params) -> None:
        """Add to what the update of a batch will apply."""
        self.gradients[batch] = added(self.gradients[batch], grads) if batch in self.gradients else grads

    def update(self, grads: Params, gamma: float) -> None:
        """Step from the present weights along a gradient; the queue goes on referring to the old weights."""
        self.params, self.optimizer_state = self.optimizer.update(self.params, grads, self.optimizer_state, gamma)


@dataclass
class Pipeline:
    """A network cut into modules, between two iterations: everything that training changes.

    `errors[k-1]` holds the error gradients that wait above module k, oldest first: (number, dy). `guessers[k-1]`
    guesses them, if the method says so.
    """

    modules: list[Module]
    errors: list[deque[tuple[int, Array]]]
    guessers: list[Guesser | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.guessers = self.guessers or [None] * len(self.modules)

    @classmethod
    def cut(
        cls,
        network: Sequential,
        cuts: Sequence[int],
        method: Method,
        optimizer: Optimizer,
        params: Params,
        stats: Params,
        *,
        guessers: Sequence[Guesser | None] | None = None,
        devices: Sequence[Device] | None = None,
    ) -> "Pipeline":
        """Cut `network` before the steps numbered in `cuts`; every module gets its part of `params` and `stats`.

        `guessers` and `devices` have one entry for each module; without them nobody guesses, and all compute in host
        memory. Raises ScheduleError if workers that follow the method's schedule would block each other.
        """
        bounds = [0, *cuts, len(network.steps())]
        K = len(bounds) - 1
        modules = []
        for k, (start, stop) in enumerate(pairwise(bounds), 1):
            layers = network.part(start, stop)
            own_params = {name: params[name] for name in layers.parameter_shapes()}
            own_stats = {name: stats[name] for name in layers.stats_shapes()}
            device = devices[k - 1] if devices else None
            modules.append(Module(k, K, method, layers, own_params, own_stats, optimizer, device))
        placed: list[Guesser | None] = [None] * K
        for k, guesser in enumerate(guessers or [], 1):
            with modules[k - 1].device.opened():
                placed[k - 1] = guesser and guesser.placed(modules[k - 1].device.place)
        return cls(modules, [deque() for _ in modules], placed)

    def right(self, k: int, right: Right, labels: Callable[[int], Array]) -> Right:
        """What module k has to its right, where `right` is the next module or the loss."""
        guesser = self.guessers[k - 1]
        return right if guesser is None else guesser.beside(right, labels)

    @property
    def params(self) -> Params:
        """The weights of all modules as they are now."""
        return {name: array for module in self.modules for name, array in module.params.items()}

    @property
    def stats(self) -> Params:
        """The running statistics of all modules as they are now."""
        return {name: array for module in self.modules for name, array in module.stats.items()}

    @property
    def method(self) -> Method:
        """The row that all modules follow."""
        return self.modules[0].method

    @property
    def programs(self) -> Sequence[Program]:
        """What each worker does."""
        return self.method.workers(len(self.modules))

    def crew(self, program: Program) -> list[Module]:
        """The modules of the worker that does this."""
        return [self.modules[k - 1] for k in sorted({k for k, _ in program(0)})]

    @property
    def delay(self) -> int:
        """Iterations until all is used that is in flight once the last batch has been forward: a drain's length."""
        return max(module.lag for module in self.modules)
