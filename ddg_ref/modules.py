"""A module: consecutive layers, their weights, and the batches that are in flight inside it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ddg_ref.arrays import Array, Params
from ddg_ref.devices import Cpu, Device
from ddg_ref.layers import Cache, Sequential
from ddg_ref.methods import Method
from ddg_ref.optimizers import Optimizer


class InFlight(NamedTuple):
    """A batch between its forward and its backward pass: its input and the weights its forward pass used."""

    batch: int
    x: Array
    params: Params


class Module:
    """Module k of K: the state that one device holds.

    `queue` holds the batches in flight, oldest first, `caches` what their backward passes need. A cache goes straight
    into backward and is kept by nobody else, so that it is freed layer by layer on the way.
    """

    def __init__(
        self,
        k: int,
        delay: int,
        layers: Sequential,
        params: Params,
        stats: Params,
        optimizer: Optimizer,
        device: Device | None = None,
    ) -> None:
        self.k, self.delay, self.layers = k, delay, layers
        self.device = Cpu() if device is None else device
        with self.device.opened():
            self.params, self.stats = self.place(params), self.place(stats)
            self.optimizer, self.optimizer_state = optimizer, optimizer.init(self.params)
        self.queue: deque[InFlight] = deque()
        self.caches: deque[Cache] = deque()

    def place(self, arrays: Params) -> Params:
        """The arrays on the module's device, which is open."""
        return {name: self.device.place(array) for name, array in arrays.items()}

    def forward(self, batch: int, x: Array) -> Array:
        """Output for `x`, with the present weights; what backward needs joins the queue."""
        y, cache = self.layers.forward(self.params, x)
        self.stats = self.layers.advance(self.stats, cache)
        self.queue.append(InFlight(batch, x, self.params))
        self.caches.append(cache)
        return y

    def replay(self, batch: int, x: Array, params: Params) -> None:
        """Put a batch in flight as it was: `forward` with the weights of that time, counted by no statistic."""
        self.queue.append(InFlight(batch, x, params))
        self.caches.append(self.layers.forward(params, x)[1])

    def backward(self, batch: int, dy: Array) -> tuple[Array | None, Params]:
        """Input and parameter gradients of the oldest batch in flight, at the weights its forward pass used.

        Module 1 has no use for an input gradient and gives None.
        """
        oldest = self.queue.popleft()
        if oldest.batch != batch:
            raise RuntimeError(
                f"module {self.k}: error gradient of batch {batch} met the cache of batch {oldest.batch}"
            )
        if self.k == 1:
            return None, self.layers.gradients(oldest.params, self.caches.popleft(), dy)
        return self.layers.backward(oldest.params, self.caches.popleft(), dy)

    def update(self, grads: Params, gamma: float) -> None:
        """Step from the present weights along an old gradient; the queue goes on referring to the old weights."""
        self.params, self.optimizer_state = self.optimizer.update(self.params, grads, self.optimizer_state, gamma)


@dataclass
class Pipeline:
    """A network cut into modules, between two iterations: everything that training changes.

    `errors[k-1]` holds the error gradients that wait above module k, oldest first: (batch, dy).
    """

    modules: list[Module]
    errors: list[deque[tuple[int, Array]]]

    @classmethod
    def cut(
        cls,
        network: Sequential,
        cuts: Sequence[int],
        method: Method,
        optimizer: Optimizer,
        params: Params,
        stats: Params,
        devices: Sequence[Device] | None = None,
    ) -> "Pipeline":
        """Cut `network` before the steps numbered in `cuts`; every module gets its part of `params` and `stats`.

        `devices` has one for each module; without it all compute in host memory.
        """
        bounds = [0, *cuts, len(network.steps())]
        K = len(bounds) - 1
        modules = []
        for k, (start, stop) in enumerate(pairwise(bounds), 1):
            layers = network.part(start, stop)
            own_params = {name: params[name] for name in layers.parameter_shapes()}
            own_stats = {name: stats[name] for name in layers.stats_shapes()}
            device = devices[k - 1] if devices else None
            modules.append(Module(k, method.delay(k, K), layers, own_params, own_stats, optimizer, device))
        return cls(modules, [deque() for _ in modules])

    @property
    def params(self) -> Params:
        """The weights of all modules as they are now."""
        return {name: array for module in self.modules for name, array in module.params.items()}

    @property
    def stats(self) -> Params:
        """The running statistics of all modules as they are now."""
        return {name: array for module in self.modules for name, array in module.stats.items()}

    @property
    def delay(self) -> int:
        """Iterations that the slowest gradient still needs once the last batch has been forward: a drain's length."""
        return max(module.delay for module in self.modules)
