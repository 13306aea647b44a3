"""The reference, run on what a trace began with: a row of METHODS, and what is wrong with it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ddg_ref.arrays import Array, Params
from ddg_ref.computing import computing
from ddg_ref.conformance.faults import Fault
from ddg_ref.conformance.trace import Trace, same_bits
from ddg_ref.errors import DivergenceError
from ddg_ref.methods import Method
from ddg_ref.modules import Module, Pipeline
from ddg_ref.optimizers import OptimizerState
from ddg_ref.seeds import Purpose, generator
from ddg_ref.task import Task
from ddg_ref.workers import one_thread


@dataclass(frozen=True)
class Variant:
    """A method, and what is wrong with it."""

    row: Method
    faults: tuple[Fault, ...] = ()

    @property
    def text(self) -> str:
        """In words."""
        return self.rule + (f" with {' and '.join(f.text for f in self.faults)}" if self.faults else "")

    @property
    def rule(self) -> str:
        """The name of the method, with the numbers that were chosen for it."""
        numbers = [f"M = {self.row.micro_batches}"] if self.row.micro_batches > 1 else []
        numbers += [f"shrink = {self.row.shrink:g}"] if self.row.shrink != 1 else []
        return self.row.name + (f" ({', '.join(numbers)})" if numbers else "")

    @cached_property
    def drains(self) -> bool:
        """Whether gradients in flight are applied at the end."""
        return all(fault.drains for fault in self.faults)


class Update(NamedTuple):
    """An update that has changed a module's weights: the `number`-th of it (from 0) in iteration `t`."""

    k: int
    number: int
    t: int
    batch: int
    """Whose gradient it applied."""
    params: Params
    grads: Params


Watch = Callable[[Update], None]
"""Told of each update; what it raises ends the run."""


class Noise:
    """Disturbs what is computed by about as much as rounding does: by parts of the largest entry. Zeros stay zero."""

    def __init__(self, seed: int, dtype: np.dtype[np.floating]) -> None:
        self._rng, self._size = generator(Purpose.NOISE, seed), float(np.finfo(dtype).eps)

    def __call__(self, x: Array) -> Array:
        if not x.size:
            return x
        scale = self._size * float(abs(x).max())
        noise = scale * self._rng.uniform(-1, 1, x.shape)
        disturbed: Array = x + (noise * (x != 0)).astype(x.dtype)
        return disturbed

    def all(self, arrays: Params) -> Params:
        """Each array by itself."""
        return {name: self(array) for name, array in arrays.items()}


class Altered(Module):
    """A module that follows a variant, and tells of its updates.

    Its "step size" is the iteration: so it knows when it is, and finds the step size itself.
    """

    def __init__(self, k: int, run: "Running", layers: Any) -> None:
        trace, variant, optimizer = run.trace, run.variant, run.trace.optimizer
        row = variant.row
        for fault in variant.faults:
            row, optimizer = fault.row(row, k, trace.K), fault.optimizer(optimizer)
        params = {name: trace.initial[name] for name in layers.parameter_shapes()}
        super().__init__(k, trace.K, row, layers, params, layers.init_stats(trace.dtype), optimizer)
        self._run, self._noise = run, run.noise
        self._memories: list[dict[str, Any]] = [{} for _ in variant.faults]
        self.batches = self.number = 0

    def forward(self, number: int, x: Array, gamma: float = 0.0) -> Array:
        old, sizes = self.stats, self._run.trace.step_sizes
        y = super().forward(number, x, sizes[min(int(gamma), len(sizes) - 1)])
        if old and self._run.variant.faults:

            def again(stats: Params) -> Params:
                return self.layers.advance(stats, self.layers.forward(self.params, x)[1])

            for fault in self._run.variant.faults:
                self.stats = fault.statistics(old, self.stats, again)
        return self._noise(y) if self._noise else y

    def backward(self, number: int, dy: Array) -> tuple[Array | None, Params]:
        dx, grads = super().backward(number, dy)
        for fault in self._run.variant.faults:
            sizes = self._run.sizes
            share = fault.share(number % self.method.micro_batches, sizes)
            grads = grads if share == 1 else {name: g * share for name, g in grads.items()}
        if self._noise:
            return None if dx is None else self._noise(dx), self._noise.all(grads)
        return dx, grads

    def update(self, grads: Params, gamma: float) -> None:
        batch, applied = self.batches, [grads]
        self.batches += 1
        for fault, memory in zip(self._run.variant.faults, self._memories, strict=True):
            applied = [new for old in applied for new in fault.applied(self.k, batch, old, memory)]
        for each in applied:
            self.step(int(gamma), batch, each)

    def step(self, t: int, batch: int, grads: Params) -> None:
        """An update in iteration t."""
        clock, steps = t, self.optimizer_state.step
        for fault in self._run.variant.faults:
            clock, steps = fault.clock(clock, batch), fault.count(t, steps)
        if steps != self.optimizer_state.step:
            self.optimizer_state = OptimizerState(steps, self.optimizer_state.slots)
        sizes, before = self._run.trace.step_sizes, self.params
        super().update(grads, sizes[min(clock, len(sizes) - 1)])
        if self._noise:
            self.params = self._noise.all(self.params)
        if not same_bits(self.params, before):
            self._run.watch(Update(self.k, self.number, t, batch, self.params, grads))
            self.number += 1


class Running:
    """One run of a variant on what a trace began with, and all batches of it."""

    def __init__(self, trace: Trace, variant: Variant, watch: Watch, noise: Noise | None = None) -> None:
        self.trace, self.variant, self.watch, self.noise = trace, variant, watch, noise
        N, M = trace.x.shape[1], variant.row.micro_batches
        parts = min(N, M)
        self.sizes = [N // parts + (part < N % parts) for part in range(parts)]
        bounds = [0, *trace.cuts, len(trace.network.steps())]
        self.modules = [
            Altered(k, self, trace.network.part(start, stop)) for k, (start, stop) in enumerate(pairwise(bounds), 1)
        ]
        self._first: Params | None = None

    def run(self) -> Params:
        """To the end of the drain; returns the running statistics. Raises DivergenceError, and what `watch` raises."""
        trace = self.trace
        pipeline = Pipeline(list(self.modules), [deque() for _ in self.modules])
        task = Task(lambda t: (trace.x[t], trace.labels[t]), trace.loss_function, float, trace.T)
        end = trace.T + (pipeline.delay if self.variant.drains else 0)
        with computing():
            for t in range(end):  # so that updates come in the order of iterations
                one_thread.run(pipeline, task, t, t + 1)
                for module in reversed(self.modules):
                    self._idle(module, t)
        return pipeline.stats

    def _idle(self, module: Altered, t: int) -> None:
        if module.lag <= t < self.trace.T + module.lag:
            return
        for fault in self.variant.faults:
            grads = fault.idle(
                t, module.lag, self.trace.T + module.lag, module.params, lambda: self._of_batch_0(module)
            )
            if grads is not None:
                module.step(t, 0, grads)

    def _of_batch_0(self, module: Altered) -> Params:
        if self._first is None:
            trace = self.trace
            y, cache = trace.network.forward(trace.initial, trace.x[0])
            self._first = trace.network.gradients(trace.initial, cache, trace.loss_function(y, trace.labels[0])[1])
        return {name: self._first[name] for name in module.params}


def history(trace: Trace, variant: Variant, noise: Noise | None = None) -> list[Update] | None:
    """All updates of a run, in the order in which they happen; None if its loss does not stay finite."""
    found: list[Update] = []
    try:
        Running(trace, variant, found.append, noise).run()
    except DivergenceError:
        return None
    return found
