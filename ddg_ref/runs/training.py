"""Training from beginning to end: options in, a Run out."""

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from itertools import pairwise
from math import isfinite
from statistics import median
from time import perf_counter
from types import EllipsisType
from typing import Any
from uuid import uuid4

from ddg_ref.arrays import hosted
from ddg_ref.computing import keep_freed_memory
from ddg_ref.data import Batches, Dataset, download_data, load_data
from ddg_ref.data.door import Data, name_or_dataset
from ddg_ref.deadlock import check_form
from ddg_ref.errors import DivergenceError, InputError, choose, shown
from ddg_ref.guessers.synthesizers import synthesizers_for
from ddg_ref.layers import Layer, Sequential
from ddg_ref.layers.compose import as_layers
from ddg_ref.losses import LOSSES
from ddg_ref.methods import Method
from ddg_ref.models import MODELS, check_network
from ddg_ref.modules import Pipeline
from ddg_ref.runs.config import Config
from ddg_ref.runs.devices import make_device
from ddg_ref.runs.engines import ENGINES, Call
from ddg_ref.runs.evaluation import evaluate
from ddg_ref.runs.run import Record, Run
from ddg_ref.schedules import owners
from ddg_ref.seeds import Purpose, generator
from ddg_ref.splitting import balance, check_cuts, check_module_count
from ddg_ref.task import Task
from ddg_ref.timeline import SPANS_KEPT, Span

LARGE_INPUT = 10
"""Inputs of about 1 are what weights and steps are made for; pixels from 0 to 255 let the loss grow out of bounds."""


def make_network(config: Config, data: Dataset, layers: Iterable[Layer] | None = None) -> Sequential:
    """The network that `config` names, or the given layers, fitted to `data`. Raises InputError if it does not fit."""
    if layers is None:
        model = MODELS[choose("model", config.model, MODELS)]
        layers = model(data.input_shape, data.classes, **config.model_options())
    elif config.width is not None or config.depth is not None:
        raise InputError("width, depth: the layers of this model were given, so they have no effect; leave them out")
    return check_network(layers, data.input_shape, data.classes)


def check_config(config: Any) -> Config:
    """`config`, which must be one."""
    if not isinstance(config, Config):
        raise InputError(f"config: expected a Config, got {shown(config)}; give its options by their names")
    return config


class Training:
    """One run in progress: everything that `config` asks for, and how far it has come.

    `data` and `layers` replace what `config.data` and `config.model` name, and the `config` of this object then names
    them: the data by its name, the layers "custom". `cuts` replaces what `config.split` would give. Raises InputError
    for what does not fit. Where the engine runs in several processes, each of them has one of these and calls the same
    methods.
    """

    def __init__(
        self,
        config: Config,
        data: Data | None = None,
        layers: Iterable[Layer] | None = None,
        *,
        cuts: Sequence[int] | None = None,
    ) -> None:
        self.engine = ENGINES[check_config(config).engine]
        self.engine.prepare(len(config.programs()), config.stall_timeout)
        self.engine.agree(lambda: asdict(config))
        keep_freed_memory()
        if data is None:
            if config.download:
                self.engine.once(partial(download_data, config.data, config.data_dir))
            self.data = load_data(config.data, config.data_dir).astype(config.dtype)
        else:
            self.data = load_data(data, config.data_dir).astype(config.dtype)
            config = replace(config, data=self.data.name)
        if layers is not None:
            layers = as_layers("model", layers)
            config = replace(config, model="custom")
        self.config = config
        self.network = make_network(config, self.data, layers)
        self.engine.agree(
            lambda: {"data's digest": self.data.fingerprint, "layers": [repr(layer) for layer in self.network.layers]}
        )
        samples = self.data.x_train, self.data.y_train
        self.batches = Batches(*samples, config.batch_size, config.seed, augment=config.augment)
        self.task = Task(
            self.batches,
            LOSSES[config.loss],
            config.make_schedule(self.batches.per_epoch),
            config.total_iterations(self.batches.per_epoch),
            labels_alone=self.batches.labels,
            stall_timeout=config.stall_timeout,
            remedy=self._remedy,
        )
        method = config.make_method()
        check_form(method.schedule, config.modules, method.micro_batches)
        self._check_batches(method, self.network.fewest_samples(self.data.input_shape))
        rank_of = owners(config.programs())
        names = self.engine.own_devices(config.device_names(), [rank_of[k + 1] for k in range(config.modules)])
        self.devices = [make_device(name) for name in names]
        self.cuts = self.engine.once(self._find_cuts) if cuts is None else self._given_cuts(cuts)
        synthesizers = synthesizers_for(
            method, self.network, self.cuts, self.data.input_shape, config.seed, config.dtype
        )
        for synthesizer in synthesizers:
            if synthesizer is not None:
                self._check_batches(method, synthesizer.fewest_samples())
        self.pipeline = Pipeline.cut(
            self.network,
            self.cuts,
            method,
            config.make_optimizer(),
            self.network.init(generator(Purpose.WEIGHTS, config.seed), config.dtype),
            self.network.init_stats(config.dtype),
            guessers=synthesizers,
            devices=self.devices,
        )
        self.id = self.engine.once(lambda: uuid4().hex)
        self.iteration, self.seconds = 0, 0.0
        self.history: list[Record] = []
        self.durations = array("d")  # seconds of each iteration
        self.spans: deque[Span] = deque(maxlen=SPANS_KEPT * config.modules)

    def _check_batches(self, method: Method, fewest: int) -> None:
        """Raise InputError if a layer needs more samples at a time than will come."""
        if self.task.iterations == 0:
            return
        batch = self.batches.smallest(self.task.iterations)
        n = batch // min(method.micro_batches, batch)
        if n < fewest:
            split = f", each in up to {method.micro_batches} micro-batches" if method.micro_batches > 1 else ""
            raise InputError(
                f"batch_size: expected at least {fewest} samples at a time, for layers that take means over them, "
                f"got {n}: {len(self.batches.x)} samples in batches of {self.batches.size}{split}; choose another"
            )

    def _find_cuts(self) -> list[int]:
        n, K = len(self.network.steps()), self.config.modules
        check_module_count(K, n)
        cuts = self.config.cuts()
        if cuts is not None:
            return check_cuts(cuts, n)
        if K == 1:
            return []
        if self.config.split == "count":
            return balance([1.0] * n, K)
        from ddg_ref.runs.costs import (
            remembered_costs,  # whoever does not measure need not wait for what measuring imports
        )

        return balance(remembered_costs(self.network, self.batches.x[: self.batches.size], self.devices[0]), K)

    def _given_cuts(self, cuts: Sequence[int]) -> list[int]:
        cuts = check_cuts(cuts, len(self.network.steps()))
        if len(cuts) != self.config.modules - 1:
            raise InputError(
                f"cuts: expected {self.config.modules - 1} for {self.config.modules} modules, got {cuts}; "
                "change one of them"
            )
        return cuts

    def _remedy(self) -> str:
        """What helps against a loss that is not finite."""
        if self.data.largest > LARGE_INPUT:
            return f"scale the inputs, which reach {self.data.largest:.3g}, to about 1, or lower lr"
        return "lower lr, or train in float64"

    def epochs(self, on_checkpoint: Callable[[], None] = lambda: None) -> Iterator[Record]:
        """Train; yields a record after each epoch and after the last iteration.

        `on_checkpoint` is called after every `config.checkpoint_every` iterations, by the first process. Ends early,
        between two iterations, if `task.stop_requested` is set there.
        """
        every = self.config.checkpoint_every
        with self.engine.kept() as run:
            while self.iteration < self.task.iterations:
                epoch = self.iteration // self.batches.per_epoch + 1
                epoch_end = min(epoch * self.batches.per_epoch, self.task.iterations)
                stop = min(epoch_end, (self.iteration // every + 1) * every) if every else epoch_end
                self._advance(run, stop)
                if self.iteration < stop:
                    break
                if stop == epoch_end:
                    self.history.append(self._record(epoch))
                    yield self.history[-1]
                if every and stop % every == 0 and stop < self.task.iterations:
                    self.engine.once(on_checkpoint)
        for device in self.devices:  # not where an exception has come: a GPU that hangs would be waited for
            device.give_back()

    @property
    def clock(self) -> int:
        """The engine's time: `iteration`, and once the pipeline has been drained as much later as that took."""
        return self.iteration + self._drain(self.iteration)

    def _drain(self, stop: int) -> int:
        """Iterations that follow upon iteration `stop` to drain the pipeline."""
        return self.pipeline.delay if stop == self.task.iterations and self.config.drain else 0

    def _advance(self, run: Call, stop: int) -> None:
        """Let an engine run to iteration `stop`, and through the drain if that is the last one."""
        known, started = len(self.task.results), perf_counter()
        progress = run(self.pipeline, self.task, self.iteration, stop + self._drain(stop))
        with self.pipeline.modules[-1].device.opened():
            self.task.read_results()
        elapsed = perf_counter() - started
        self.seconds += elapsed
        self.iteration = min(progress.iteration, stop)
        self.spans.extend(progress.spans)
        new = self.task.results[known:]
        if set(self.config.device_names()) == {"cpu"}:
            self.durations.extend(after.finished - before.finished for before, after in pairwise(new))
        elif len(new) > 1:  # the host has queued each and waited for all
            self.durations.extend([elapsed / len(new)] * len(new))

    def _record(self, epoch: int) -> Record:
        """Sum up the batches since the last record, and evaluate."""
        results, self.task.results = self.task.results, []
        samples = sum(result.size for result in results)
        test_loss, test_accuracy = self.engine.once(self.evaluate)
        if not isfinite(test_loss):
            raise DivergenceError(
                f"the test loss became {test_loss} after iteration {self.iteration}: {self._remedy()}"
            )
        return Record(
            epoch,
            self.iteration,
            sum(result.loss * result.size for result in results) / samples,
            sum(result.correct for result in results) / samples,
            test_loss,
            test_accuracy,
            self.seconds,
        )

    def evaluate(self) -> tuple[float, float]:
        """Test loss and accuracy of the present weights."""
        pipeline, data = self.pipeline, self.data
        device = pipeline.modules[0].device
        return evaluate(self.network, pipeline.params, pipeline.stats, data.x_test, data.y_test, self.task.loss, device)

    def result(self) -> Run:
        """What has come of it so far, the same in every process."""
        history, weights, spans, milliseconds = self.engine.once(
            lambda: (
                list(self.history),
                hosted(self.pipeline.params | self.pipeline.stats),
                list(self.spans),
                1000 * median(self.durations) if self.durations else None,
            )
        )
        return Run(
            id=self.id,
            config=self.config,
            history=history,
            weights=weights,
            final_test_accuracy=history[-1].test_accuracy if history else self.engine.once(self.evaluate)[1],
            milliseconds_per_iteration=milliseconds,
            modules=[
                {
                    "layers": list(range(module.layers.first, module.layers.first + len(module.layers.layers))),
                    "parameters": sum(array.size for array in module.params.values()),
                }
                for module in self.pipeline.modules
            ],
            network=self.network,
            input_shape=self.data.input_shape,
            spans=spans,
        )


def train(
    config: Config | None = None,
    *,
    data: Data | EllipsisType = ...,
    model: str | Iterable[Layer] | EllipsisType = ...,
    on_epoch: Callable[[Record], None] = lambda record: None,
    **options: Any,
) -> Run:
    """Train a network and return the Run.

    Give a Config, or its fields as keywords; `data` may be a Dataset, arrays (x, y), or the path of an .npz file, and
    `model` a list of layers of your own:

        run = ddg_ref.train(model="cnn", method="ddg", modules=4, epochs=5)

    With engine "mpi" every rank of an MPI launch makes the same call and gets the same Run; `on_epoch` is called on
    rank 0 alone. Raises InputError for bad input, DivergenceError when the loss becomes NaN or infinite, WorkerError
    when a worker fails.
    """
    given: dict[str, Any] = {}
    if data is not ...:
        given["data"] = name_or_dataset(data)
    if model is not ...:
        given["model"] = model if isinstance(model, str) else as_layers("model", model)
    names = {name: value for name, value in given.items() if isinstance(value, str)}
    if config is None:
        unknown = sorted(set(options) - {option.name for option in fields(Config)})
        if unknown:
            known = ", ".join(option.name for option in fields(Config))
            raise InputError(f"unknown option {unknown[0]!r}: choose from {known}")
        config = Config(**(names | options))
    elif options:
        raise InputError(
            f"train: expected a Config or options, got both ({', '.join(options)}); change the Config instead"
        )
    for name, value in names.items():
        if getattr(check_config(config), name) != value:
            raise InputError(
                f"{name}: expected {getattr(config, name)}, as the Config says, got {value}; change the Config instead"
            )
    if check_config(config).checkpoint_every is not None:
        raise InputError("checkpoint_every: train writes no checkpoints, which the command line does; leave it out")
    if not callable(on_epoch):
        raise InputError(f"on_epoch: expected a function of a Record, got {shown(on_epoch)}; give one")
    own = {name: value for name, value in given.items() if name not in names}
    training = Training(config, own.get("data"), own.get("model"))
    for record in training.epochs():
        training.engine.once(partial(on_epoch, record))
    return training.result()
