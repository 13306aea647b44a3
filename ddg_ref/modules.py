"""A module: consecutive layers, their weights, and the batches that are in flight inside it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from ddg_ref.arrays import Array, Params
from ddg_ref.devices import Cpu, Device
from ddg_ref.layers import Cache, Sequential
from ddg_ref.methods import Method, Stored, Weights
from ddg_ref.optimizers import Optimizer
from ddg_ref.synthesizers import Synthesizer


class InFlight(NamedTuple):
    """A batch between its forward and its backward pass: its input and the weights its forward pass used.

    No weights where nobody will ask for them.
    """

    batch: int
    x: Array
    params: Params


class Module:
    """Module k of K: the state that one device holds.

    `queue` holds the batches in flight, oldest first, `caches` what their backward passes need. A cache goes straight
    into backward and is kept by nobody else, so that it is freed layer by layer on the way. A module that `replays`
    keeps none: it computes them from the input, when it goes back. What follows after `optimizer` is the method's.
    """

    def __init__(
        self,
        k: int,
        delay: int,
        layers: Sequential,
        params: Params,
        stats: Params,
        optimizer: Optimizer,
        *,
        weights: Weights = "forward",
        stored: Stored = "caches",
        shrink: float = 1.0,
        micro_batches: int = 1,
        synthesizer: Synthesizer | None = None,
        device: Device | None = None,
    ) -> None:
        self.k, self.delay, self.layers = k, delay, layers
        self._weights, self._shrink, self.micro_batches = weights, shrink, micro_batches
        self.replays = stored == "inputs" and delay > 0  # without a delay the weights are the same: nothing to replay
        self.stashes = weights == "forward" or not self.replays
        self.device = Cpu() if device is None else device
        with self.device.opened():
            self.params, self.stats = self.device.place_all(params), self.device.place_all(stats)
            self.optimizer, self.optimizer_state = optimizer, optimizer.init(self.params)
            self.synthesizer = synthesizer and synthesizer.placed(self.device.place)
        self.queue: deque[InFlight] = deque()
        self.caches: deque[Cache] = deque()

    def forward(self, batch: int, x: Array) -> Array:
        """Output for `x`, with the present weights; what backward needs joins the queue."""
        y, cache = self.layers.forward(self.params, x)
        self.stats = self.layers.advance(self.stats, cache)
        self._keep(batch, x, self.params, cache)
        if self.synthesizer is not None:
            self.synthesizer.outputs.append((batch, y))
        return y

    def restore(self, batch: int, x: Array, params: Params) -> None:
        """Put a batch in flight as it was: `forward` with the weights of that time, counted by no statistic."""
        self._keep(batch, x, params, None if self.replays else self.layers.forward(params, x)[1])

    def _keep(self, batch: int, x: Array, params: Params, cache: Cache) -> None:
        self.queue.append(InFlight(batch, x, params if self.stashes else {}))
        if not self.replays:
            self.caches.append(cache)

    def backward(self, batch: int, dy: Array) -> tuple[Array | None, Params]:
        """Input and parameter gradients of the oldest batch in flight, at the weights that the method goes back with.

        Module 1 has no use for an input gradient and gives None.
        """
        oldest = self.queue.popleft()
        if oldest.batch != batch:
            raise RuntimeError(
                f"module {self.k}: error gradient of batch {batch} met the cache of batch {oldest.batch}"
            )
        params = oldest.params if self._weights == "forward" else self.params
        if self.k == 1:
            return None, self.layers.gradients(params, self._cache(params, oldest.x), dy)
        dx, grads = self.layers.backward(params, self._cache(params, oldest.x), dy)
        return (dx if self._shrink == 1 else dx * self._shrink), grads

    def _cache(self, params: Params, x: Array) -> Cache:
        """What backward needs, for the batch whose input is `x`."""
        return self.layers.forward(params, x)[1] if self.replays else self.caches.popleft()

    def update(self, grads: Params, gamma: float) -> None:
        """Step from the present weights along a gradient; the queue goes on referring to the old weights."""
        self.params, self.optimizer_state = self.optimizer.update(self.params, grads, self.optimizer_state, gamma)

    @property
    def arrival(self) -> int:
        """Iterations between a batch's forward pass and the taking of its error gradient from above.

        The delay; a module that has gone back on a guess learns an iteration later what it should have been.
        """
        return self.delay + (self.synthesizer is not None)


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
        *,
        synthesizers: Sequence[Synthesizer | None] | None = None,
        devices: Sequence[Device] | None = None,
    ) -> "Pipeline":
        """Cut `network` before the steps numbered in `cuts`; every module gets its part of `params` and `stats`.

        `synthesizers` are those of `synthesizers_for`, one entry per module, and `devices` has one for each; without
        them no module has a synthesizer, and all compute in host memory.
        """
        assert synthesizers is not None or method.error == "above"
        bounds = [0, *cuts, len(network.steps())]
        K = len(bounds) - 1
        modules = []
        for k, (start, stop) in enumerate(pairwise(bounds), 1):
            layers = network.part(start, stop)
            own_params = {name: params[name] for name in layers.parameter_shapes()}
            own_stats = {name: stats[name] for name in layers.stats_shapes()}
            modules.append(
                Module(
                    k,
                    method.delay(k, K),
                    layers,
                    own_params,
                    own_stats,
                    optimizer,
                    weights=method.weights,
                    stored=method.stored,
                    shrink=method.shrink,
                    micro_batches=method.micro_batches,
                    synthesizer=synthesizers[k - 1] if synthesizers else None,
                    device=devices[k - 1] if devices else None,
                )
            )
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
    def micro_batches(self) -> int:
        """Into how many parts a batch is split."""
        return self.modules[0].micro_batches

    @property
    def delay(self) -> int:
        """Iterations until all is used that is in flight once the last batch has been forward: a drain's length."""
        return max(module.arrival for module in self.modules)
