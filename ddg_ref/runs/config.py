"""What a training run is asked to do: one record from which the command line is made and which `run.json` repeats."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from inspect import signature
from math import isfinite
from os import PathLike, fsdecode
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import numpy as np

from ddg_ref import schedule_files
from ddg_ref.data import DATASETS, OFFICIAL
from ddg_ref.errors import InputError, choose, shown
from ddg_ref.losses import LOSSES
from ddg_ref.methods import METHOD_OPTIONS, METHODS, Method
from ddg_ref.models import MODELS
from ddg_ref.optimizers import OPTIMIZERS, Optimizer
from ddg_ref.runs.devices import device_names
from ddg_ref.runs.engines import ENGINES
from ddg_ref.schedule_files import ScheduleFile
from ddg_ref.schedules import Program
from ddg_ref.step_sizes import Constant, Harmonic, InverseSqrt, MultiStep, StepSizes, WarmUp

DTYPES = ("float32", "float64")
SPLITS = ("cost", "count")
SCHEDULES = {"constant": Constant, "multi-step": MultiStep, "harmonic": Harmonic, "inverse-sqrt": InverseSqrt}
DEFAULT_EPOCHS = 15
PATHS = ("data", "data_dir", "schedule_file")
"""Options that may be paths."""
FROM_FILE = "custom"
"""The method whose schedule a file says."""


def _option(default: Any, help: str) -> Any:
    return field(default=default, metadata={"help": help})


def _names(names: Any) -> str:
    return ", ".join(names)


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options of one training run. None means: what the chosen model, optimizer or schedule does by itself.

    Raises InputError for unknown names, numbers out of range, and options that the chosen parts do not have.
    """

    data: str = _option(
        "digits", f"Data set: {_names([*DATASETS, *OFFICIAL])}, or the path of an .npz file with arrays x and y."
    )
    data_dir: str | None = _option(
        None, f"Directory with the published files of {_names(OFFICIAL)} (one in the user's cache)."
    )
    download: bool = _option(False, "Fetch the published files into that directory, if they are not there.")
    augment: bool = _option(False, "Shift images by up to 4 pixels and mirror half of them, anew in every iteration.")
    model: str = _option("cnn", f"Network: {_names(MODELS)}.")
    width: int | None = _option(None, "Hidden units (mlp, 256) or channels of the first stage (cnn 32, resnet 16).")
    depth: int | None = _option(None, "Linear layers (mlp, 4), convolutions (cnn, 4), or 6n+2 (resnet, 8).")
    loss: str = _option("cross-entropy", f"Loss: {_names(LOSSES)}.")
    method: str = _option("ddg", f"Training method: {_names(METHODS)}.")
    shrink: float | None = _option(None, "Factor of the error gradient at each boundary (fdg, 1).")
    micro_batches: int | None = _option(None, "Parts into which a batch is split (gpipe, 4).")
    delay_scaling: float | None = _option(
        None,
        "Iterations over which a step, at first divided by its gradient's delay, becomes whole (delayed methods, off).",
    )
    synthesizer_width: int | None = _option(
        None, "Hidden units (256 at least) or channels (16 at least) of a synthesizer (dni, as the module's output)."
    )
    synthesizer_lr: float | None = _option(None, "Its step size (dni, 0.003).")
    synthesizer_labels: bool | None = _option(None, "Tell it the labels (dni, off).")
    schedule_file: str | None = _option(
        None, "A file that says what each rank does between two updates, in PyTorch's CSV form, in place of a method."
    )
    modules: int = _option(
        2, "K, the number of modules the network is cut into; with a schedule file that of its stages, on fewer ranks."
    )
    split: str = _option(
        "cost",
        "Where to cut: balanced by measured 'cost', by 'count', or numbers of layers, also in blocks: 3,6,9.",
    )
    engine: str = _option("threads", f"What runs it: {_names(ENGINES)}.")
    device: str = _option("cpu", "Where it runs: cpu, cuda:0, ...; one for all modules, or one for each: cpu,cuda:0.")
    optimizer: str = _option("sgd", f"Optimizer: {_names(OPTIMIZERS)}.")
    lr: float = _option(0.05, "Step size gamma at the start.")
    momentum: float | None = _option(None, "Momentum (sgd, 0.9).")
    nesterov: bool | None = _option(None, "Nesterov's form of momentum (sgd, off).")
    beta1: float | None = _option(None, "Decay of the first moment (adam 0.9, nadam 0.99).")
    beta2: float | None = _option(None, "Decay of the second moment (adam, nadam; 0.999).")
    eps: float | None = _option(None, "Added to the root of the second moment (adam, nadam; 1e-8).")
    weight_decay: float | None = _option(None, "Multiple of the weights added to their gradient (0).")
    schedule: str = _option("constant", f"How the step size changes: {_names(SCHEDULES)}.")
    milestones: str | None = _option(None, "Epochs after which the step size falls (multi-step), like 150,225.")
    factor: float | None = _option(None, "By what it is multiplied there (multi-step, 0.1).")
    period: float | None = _option(None, "Iterations per unit of t (harmonic, inverse-sqrt), 1.")
    warmup: int = _option(0, "Iterations over which the step size first rises linearly.")
    epochs: int | None = _option(
        None, f"Passes over the training data ({DEFAULT_EPOCHS}, unless iterations are given)."
    )
    iterations: int | None = _option(None, "Stop after this many iterations.")
    batch_size: int = _option(64, "Samples per iteration.")
    seed: int = _option(0, "Seed of the initial weights and of the order of the samples.")
    dtype: str = _option("float32", f"Floating-point type of everything: {_names(DTYPES)}.")
    checkpoint_every: int | None = _option(None, "Write a checkpoint after every so many iterations (never).")
    stall_timeout: float | None = _option(None, "Seconds without any progress after which a run is given up (never).")
    drain: bool = _option(True, "Apply the gradients still in flight after the last batch.")

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(Config).items():
            object.__setattr__(self, name, plain(name, getattr(self, name), hint))
        if self.schedule_file is not None:
            self._adopt(schedule_files.from_text_or_path(self.schedule_file))
        for name, valid in (
            ("loss", LOSSES),
            ("method", METHODS if self.schedule_file is None else [FROM_FILE]),
            ("engine", ENGINES),
            ("optimizer", OPTIMIZERS),
            ("schedule", SCHEDULES),
            ("dtype", DTYPES),
        ):
            choose(name, getattr(self, name), valid)
        for name in ("data_dir", "download"):
            if getattr(self, name) and self.data not in OFFICIAL:
                raise InputError(f"{name}: data {self.data} has no such option; leave it out")
        if self.data_dir == "":
            raise InputError("data_dir: expected the name of a directory, got an empty one; say . for this one")
        if not (isfinite(self.lr) and self.lr > 0):
            raise InputError(f"lr: expected a finite number > 0, got {self.lr}; 0.05 is a start")
        for name in ("modules", "batch_size", "checkpoint_every", "micro_batches", "synthesizer_width"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}: expected a whole number >= 1, got {value}; choose a larger one")
        for name in ("epochs", "iterations", "warmup", "seed"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise InputError(f"{name}: expected a whole number >= 0, got {value}; choose a larger one")
        for name in ("factor", "period", "stall_timeout", "synthesizer_lr", "delay_scaling"):
            value = getattr(self, name)
            if value is not None and not (isfinite(value) and value > 0):
                raise InputError(f"{name}: expected a finite number > 0, got {value}; choose another")
        if self.stall_timeout is not None and not ENGINES[self.engine].watches:
            raise InputError(f"stall_timeout: engine {self.engine} has no such option; leave it out")
        if self.shrink is not None and not 0 < self.shrink <= 1:
            raise InputError(
                f"shrink: expected a number in (0, 1], got {self.shrink}; 1 leaves the gradients as they are"
            )
        self.cuts()
        device_names(self.device, self.modules)
        self.make_method().correction(self.make_optimizer(), 1)  # raises if it is not for that optimizer
        self.make_schedule(per_epoch=1)

    def _adopt(self, file: ScheduleFile) -> None:
        """The run keeps what the file says, not where it lies."""
        file.expect_runnable()
        if self.method not in (Config.method, FROM_FILE):
            raise InputError(f"method: expected none beside a schedule file, got {self.method}; leave one of them out")
        if self.modules != file.K:
            raise InputError(f"modules: expected {file.K}, as in the schedule file, got {self.modules}; say {file.K}")
        object.__setattr__(self, "schedule_file", file.text())
        object.__setattr__(self, "method", FROM_FILE)

    def on_engine(self, engine: str) -> "Config":
        """The same run on another engine, less what that one does not have."""
        watches = ENGINES[choose("engine", engine, ENGINES)].watches
        return replace(self, engine=engine, stall_timeout=self.stall_timeout if watches else None)

    def cuts(self) -> list[int] | None:
        """The explicit cut points, or None where `split` names a way of finding them."""
        if self.split in SPLITS:
            return None
        cuts = whole_numbers("split", self.split, hint=f"{_names(SPLITS)} or layer numbers like 3,6,9")
        if len(cuts) != self.modules - 1:
            raise InputError(
                f"split: expected {self.modules - 1} cut points for {self.modules} modules, got {len(cuts)} "
                f"({self.split:.40}); change one of them"
            )
        return cuts

    def stored(self) -> dict[str, Any]:
        """The options as they are written down: paths hold in every working directory."""
        options = asdict(self)
        for name in ("data_dir", *(("data",) if self.data.endswith(".npz") else ())):
            if options[name] is not None:
                options[name] = str(Path(options[name]).absolute())
        return options

    def device_names(self) -> list[str]:
        """The name of each module's device."""
        names = device_names(self.device, self.modules)
        return names * self.modules if len(names) == 1 else names

    def make_method(self) -> Method:
        """The method's row, with the numbers that were given."""
        if self.schedule_file is None:
            row = METHODS[self.method]
        else:
            file = schedule_files.parse(self.schedule_file)
            row = Method(FROM_FILE, "a schedule file", file, micro_batches=file.M, programs=file.programs)
        return replace(row, **self._given("method", METHOD_OPTIONS, row.options))

    def programs(self) -> Sequence[Program]:
        """What each worker does."""
        return self.make_method().workers(self.modules)

    def make_optimizer(self) -> Optimizer:
        """The optimizer, with the options that were given."""
        names = ("momentum", "nesterov", "beta1", "beta2", "eps", "weight_decay")
        return OPTIMIZERS[self.optimizer](**self._given("optimizer", names, _parameters(OPTIMIZERS[self.optimizer])))

    def make_schedule(self, per_epoch: int) -> StepSizes:
        """The step sizes by iteration; milestones, given in epochs, become iterations."""
        given = self._given("schedule", ("milestones", "factor", "period"), _parameters(SCHEDULES[self.schedule]))
        if self.schedule == "multi-step":
            if "milestones" not in given:
                raise InputError(
                    "milestones: expected epochs like 150,225 for schedule multi-step, got none; give them"
                )
            epochs = whole_numbers("milestones", given["milestones"], hint="epochs like 150,225")
            given["milestones"] = tuple(epoch * per_epoch for epoch in epochs)
        schedule: StepSizes = SCHEDULES[self.schedule](self.lr, **given)
        return WarmUp(schedule, self.warmup) if self.warmup else schedule

    def model_options(self) -> Mapping[str, int]:
        """The options given for the model."""
        return self._given("model", ("width", "depth"), _parameters(MODELS[choose("model", self.model, MODELS)]))

    def total_iterations(self, per_epoch: int) -> int:
        """How many batches the run has."""
        if self.epochs is None:
            return DEFAULT_EPOCHS * per_epoch if self.iterations is None else self.iterations
        by_epochs = self.epochs * per_epoch
        return by_epochs if self.iterations is None else min(by_epochs, self.iterations)

    def _given(self, kind: str, names: tuple[str, ...], known: Container[str]) -> dict[str, Any]:
        """Those of the named options that were given; each must be one that the chosen `kind` has."""
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        for name in given:
            if name not in known:
                raise InputError(f"{name}: {kind} {getattr(self, kind)} has no such option; leave it out")
        return given


def _parameters(maker: Any) -> Container[str]:
    return signature(maker).parameters


def plain(name: str, value: Any, hint: Any) -> Any:
    """`value` as a plain Python object of the hinted type: NumPy scalars are unwrapped, whole numbers pass as float.

    Raises InputError that names the option, what was expected and what came.
    """
    kinds = get_args(hint) or (hint,)
    value = value.item() if isinstance(value, np.generic) else value
    if name in PATHS and isinstance(value, PathLike):
        value = fsdecode(value)
    if float in kinds and type(value) is int and abs(value) < 1 << 53:
        return float(value)
    if type(value) not in kinds:
        wanted = " or ".join("None" if kind is NoneType else kind.__name__ for kind in kinds)
        raise InputError(f"{name}: expected {wanted}, got {type(value).__name__} {shown(value)}; convert it")
    return value


def whole_numbers(name: str, text: str, *, hint: str) -> list[int]:
    """Comma-separated whole numbers. Raises InputError that names the option and says what was expected."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"{name}: expected {hint}, got {shown(text)}; change it") from None
