"""The tensors of a checkpoint: one table that says of each its name and shape, what it is, and how it is put back."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import NamedTuple, cast

import numpy as np

from ddg_ref.arrays import Array, Params, Shape
from ddg_ref.errors import DamagedError
from ddg_ref.guessers.synthesizers import Synthesizer
from ddg_ref.modules import Module
from ddg_ref.runs.checkpoints.standing import Standing, messages, standing
from ddg_ref.runs.run import Record
from ddg_ref.runs.training import Training
from ddg_ref.schedules import Schedule
from ddg_ref.task import BatchResult

DURATIONS = "durations"
"""The one tensor whose length does not follow from the iteration: float64 (n,)."""


class Group(NamedTuple):
    """Tensors of one kind, named "prefix/name": their shapes, and the two directions between them and the run.

    `get` gives what the run holds now. `put` takes what a checkpoint held, where the module computes; groups are put
    in the order of the table. All have the run's dtype, but tables of figures, which are float64.
    """

    prefix: str
    shapes: dict[str, Shape]
    get: Callable[[], Params]
    put: Callable[[Params], None]
    module: Module | None = None
    figures: bool = False

    def names(self) -> dict[str, Shape]:
        """The full name of each, and its shape."""
        return {f"{self.prefix}/{name}" if self.prefix else name: shape for name, shape in self.shapes.items()}

    def full(self, arrays: Params) -> Params:
        """The arrays under their full names."""
        return {f"{self.prefix}/{name}" if self.prefix else name: array for name, array in arrays.items()}

    def own(self, arrays: Params) -> Params:
        """This group's part of all arrays, under its own names."""
        return {name: arrays[full] for name, full in zip(self.shapes, self.names(), strict=True)}


def groups(training: Training) -> Iterator[Group]:
    """The table, for the checkpoint of this run at its iteration."""
    yield from _figures(training)
    sample = training.data.input_shape
    for module in training.pipeline.modules:
        yield from _module(training, module, sample)
        sample = module.layers.output_shape(sample)


# Figures


def records(training: Training) -> int:
    """How many records have been made: one at the end of each epoch, and one at the end of the run."""
    epochs, rest = divmod(training.iteration, training.batches.per_epoch)
    return epochs + 1 if rest and training.iteration == training.task.iterations else epochs


def unrecorded(training: Training) -> range:
    """The batches since the last record."""
    t = training.iteration
    return range(min(records(training) * training.batches.per_epoch, t), t)


def _figures(training: Training) -> Iterator[Group]:
    tables: dict[str, Shape] = {
        "history": (records(training), len(Record._fields)),
        "results": (len(unrecorded(training)), 2),
    }

    def get() -> Params:
        rows = {"history": training.history, "results": [(r.loss, r.correct) for r in training.task.results]}
        return {name: np.array(rows[name], dtype=np.float64).reshape(-1, tables[name][1]) for name in tables}

    def put(arrays: Params) -> None:
        training.history = list(_history(training, arrays["history"]))
        training.task.results = list(_results(training, arrays["results"]))

    yield Group("", tables, get, put, figures=True)


def _history(training: Training, rows: Array) -> Iterator[Record]:
    for i, (epoch, iteration, *figures) in enumerate(rows.tolist(), 1):
        end = min(i * training.batches.per_epoch, training.iteration)
        if (epoch, iteration) != (i, end) or not all(map(isfinite, figures)):
            raise DamagedError("history: expected a record for each epoch, with finite numbers")
        yield Record(i, end, *figures)


def _results(training: Training, rows: Array) -> Iterator[BatchResult]:
    for batch, (loss, correct) in zip(unrecorded(training), rows.tolist(), strict=True):
        size = len(training.batches.indices(batch))
        if not isfinite(loss) or correct not in range(size + 1):
            raise DamagedError("results: expected a finite loss and a count of samples for each batch")
        yield BatchResult(batch, loss, int(correct), size, finished=0.0)


# Modules


def place(training: Training, module: Module) -> Standing:
    """What has passed through `module` by now, as its schedule says."""
    return standing(*_asked(training, module), training.task.iterations)


def waiting(training: Training, module: Module) -> list[int]:
    """The micro-batches whose error gradients wait above `module`, oldest first."""
    return messages(*_asked(training, module))


def _asked(training: Training, module: Module) -> tuple[Schedule, int, int, int, int, Callable[[int], int]]:
    """What has to be known of the module and the run to say where it stands."""
    M = module.method.micro_batches
    count = partial(training.task.parts, micro_batches=M)
    return module.method.schedule, module.k, module.K, M, training.clock, count


def _module(training: Training, module: Module, sample: Shape) -> Iterator[Group]:
    k, now, method = module.k, place(training, module), module.method
    outputs = module.layers.output_shape(sample)
    own, rows = module.layers.parameter_shapes(), partial(training.task.rows, micro_batches=method.micro_batches)
    group = partial(Group, module=module)

    def put_stats(arrays: Params) -> None:
        module.stats = arrays

    def gradient_of(batch: int) -> Params:
        found = module.gradients.get(batch, {})
        return {name: found[name] for name in own if name in found}  # a backward pass ends with the first layer

    def put_weights(arrays: Params) -> None:
        module.params, module.optimizer_state = arrays, replace(module.optimizer_state, step=now.steps)

    yield group("params", own, lambda: module.params, put_weights)
    yield group("stats", module.layers.stats_shapes(), lambda: module.stats, put_stats)
    yield from _moments(group, "slots", own, module)
    for batch in dict.fromkeys(number // method.micro_batches for number in now.unapplied):
        yield group(
            f"gradient/{k}/{batch}",
            own,
            partial(gradient_of, batch),
            partial(module.gradients.__setitem__, batch),
        )

    # Weights that were predicted are each micro-batch's own; else those of a version are stored once.
    predicted = method.forward == "predicted"
    used = {number: number if predicted else version for number, version in now.in_flight.items()}
    stash: dict[int, Params] = {}
    stashed = sorted(set(used.values()) - (set() if predicted else {now.steps})) if module.stashes else []
    for label in stashed:
        first = next(number for number, met in used.items() if met == label)
        yield group(f"stash/{k}/{label}", own, partial(_weights_of, module, first), partial(stash.__setitem__, label))

    def put_in_flight(arrays: Params) -> None:
        known = stash if predicted else stash | {now.steps: module.params}
        for number, label in used.items():
            module.restore(number, arrays[str(number)], known.get(label, {}))

    inputs = {str(number): (rows(number), *sample) for number in now.in_flight}
    yield group(f"in_flight/{k}", inputs, lambda: {str(f.number): f.x for f in module.queue}, put_in_flight)

    above, errors = training.pipeline.errors[k - 1], waiting(training, module)
    yield group(
        f"errors/{k}",
        {str(number): (rows(number), *outputs) for number in errors},
        lambda: {str(number): dy for number, dy in above},
        lambda arrays: above.extend((number, arrays[str(number)]) for number in errors),
    )
    if (synthesizer := guesser(training, module)) is not None:
        yield from _synthesizer(group, synthesizer, k, now, {str(n): (rows(n), *outputs) for n in now.unlearned})


def guesser(training: Training, module: Module) -> Synthesizer | None:
    """The synthesizer of `module`, if it has one."""
    return cast("Synthesizer | None", training.pipeline.guessers[module.k - 1])


def _weights_of(module: Module, number: int) -> Params:
    """Those that the forward pass of a micro-batch in flight used."""
    return next((flight.params for flight in module.queue if flight.number == number), {})


def _moments(
    group: Callable[..., Group], prefix: str, own: dict[str, Shape], of: Module | Synthesizer
) -> Iterator[Group]:
    """The optimizer's moments, slot by slot."""

    def put(slot: str, arrays: Params) -> None:
        of.optimizer_state = replace(of.optimizer_state, slots=of.optimizer_state.slots | {slot: arrays})

    for slot in of.optimizer.slots:
        yield group(f"{prefix}/{slot}", own, lambda slot=slot: of.optimizer_state.slots[slot], partial(put, slot))


def _synthesizer(
    group: Callable[..., Group], synthesizer: Synthesizer, k: int, now: Standing, outputs: dict[str, Shape]
) -> Iterator[Group]:
    own, prefix = synthesizer.layers.parameter_shapes(), f"synthesizer/{k}"

    def put(arrays: Params) -> None:
        synthesizer.params = arrays
        synthesizer.optimizer_state = replace(synthesizer.optimizer_state, step=now.lessons)

    def put_outputs(arrays: Params) -> None:
        synthesizer.outputs.extend((number, arrays[str(number)]) for number in now.unlearned)

    yield group(f"{prefix}/params", own, lambda: synthesizer.params, put)
    yield from _moments(group, f"{prefix}/slots", own, synthesizer)
    yield group(f"outputs/{k}", outputs, lambda: {str(n): y for n, y in synthesizer.outputs}, put_outputs)
