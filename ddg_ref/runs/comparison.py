"""The same network trained in several ways, epoch by epoch in turn, each run kept as soon as it has ended."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ddg_ref.errors import InputError, WriteError, choose
from ddg_ref.methods import METHOD_OPTIONS, METHODS
from ddg_ref.runs import checkpoints, plots, rundir
from ddg_ref.runs.config import PATHS, SPLITS, Config, whole_numbers
from ddg_ref.runs.run import Run
from ddg_ref.runs.training import Training
from ddg_ref.tools.environment import environment
from ddg_ref.tools.files import write_figure, write_json

RESULT, FIGURE = "compare.json", "compare.png"


def parse_runs(text: str) -> list[tuple[str, int]]:
    """`bp,ddg:2` -> [("bp", 1), ("ddg", 2)]. Raises InputError for what is no such text, and for repetitions."""
    runs = []
    for part in text.split(","):
        method, _, K = part.strip().partition(":")
        runs.append((method, whole_numbers("runs", K, hint="method:K like ddg:4")[0] if K else 1))
    if len(set(runs)) < len(runs):
        raise InputError(f"runs: expected each method:K once, got {text}; leave the repetitions out")
    return runs


def configs_of(runs: Sequence[tuple[str, int]], options: Mapping[str, Any]) -> list[Config]:
    """The options of each run. What not all of the methods have goes to those that have it.

    A run of one module has nothing to cut, and uses the first device. Raises InputError as Config does, and for an
    option that no run has.
    """
    configs = []
    for method, K in runs:
        known = METHODS[choose("method", method, METHODS)].options
        own = {name: value for name, value in options.items() if name not in METHOD_OPTIONS or name in known}
        if K == 1:
            own["split"] = options["split"] if options["split"] in SPLITS else "count"
            own["device"] = options["device"].partition(",")[0]
        configs.append(Config(**own, method=method, modules=K))
    if all(K == 1 for _, K in runs):
        for name, idle in (("split", options["split"] not in SPLITS), ("device", "," in options["device"])):
            if idle:
                raise InputError(f"{name}: expected runs of several modules, got one for each; leave it out")
    for name in METHOD_OPTIONS:
        if options[name] is not None and all(getattr(config, name) is None for config in configs):
            named = ",".join(f"{method}:{K}" if K > 1 else method for method, K in runs)
            raise InputError(f"{name}: expected runs of a method that has this option, got {named}; leave it out")
    return configs


def trainings_of(configs: Sequence[Config]) -> list[Training]:
    """A training for each, all on the same data. Raises InputError for what cannot be trained."""
    first = Training(configs[0])
    return [first, *(Training(config, first.data) for config in configs[1:])]


def places_of(trainings: Sequence[Training], out: Path) -> list[rundir.Place]:
    """Where the comparison is kept, and after that where each of its runs is."""
    runs = [
        rundir.Place(out / f"{training.config.method}-{training.config.modules}", room=checkpoints.room(training))
        for training in trainings
    ]
    return [rundir.Place(out, (RESULT, FIGURE), checkpoints=False, room=sum(place.room for place in runs)), *runs]


@dataclass
class Entry:
    """One of the runs that are compared. In the end it has a `run`, or a `failure`, or was stopped.

    `unsaved` says where the run lies, if it could not be kept in its directory.
    """

    training: Training
    directory: Path
    run: Run | None = None
    failure: Exception | None = None
    unsaved: WriteError | None = None

    @property
    def label(self) -> str:
        """As `Run.label`."""
        return f"{self.training.config.method} K={self.training.config.modules}"

    def advance(self) -> Iterator[None]:
        """Train, an epoch with each step, and keep what has come of it."""

        def checkpoint() -> None:
            checkpoints.save_or_rescue(self.training, self.directory)

        try:
            for _ in self.training.epochs(checkpoint):
                yield
            if self.training.iteration < self.training.task.iterations:
                checkpoint()
                return
            self.run = self.training.result()
            rundir.save_or_rescue(self.run, self.directory)
        except WriteError as error:
            self.unsaved = error
        except Exception as error:  # whatever it is, the other runs go on
            self.failure = error


class Comparison:
    """Several runs side by side, under `out`: a run directory each, and in the end compare.json and compare.png.

    Setting `stop_requested` ends all of them after the iteration at hand, each with a checkpoint. Raises InputError,
    and has changed nothing, for what cannot be done.
    """

    def __init__(self, trainings: Sequence[Training], out: Path, *, overwrite: bool = False) -> None:
        self.out = out
        whole, *places = places_of(trainings, out)
        self.entries = [Entry(*pair) for pair in zip(trainings, (place.directory for place in places), strict=True)]
        rundir.claim_all([whole, *places], overwrite=overwrite)

    @property
    def stop_requested(self) -> bool:
        """Whether it was asked to end."""
        return self.entries[0].training.task.stop_requested

    @stop_requested.setter
    def stop_requested(self, value: bool) -> None:
        for entry in self.entries:
            entry.training.task.stop_requested = value

    @property
    def stopped(self) -> list[Entry]:
        """The runs that were broken off, and can be gone on with."""
        return [entry for entry in self.entries if entry.run is None and entry.failure is None]

    def train(self) -> None:
        """All runs, in turns of an epoch, each to its end or its failure."""
        turns = [entry.advance() for entry in self.entries]
        while turns:
            turns = [turn for turn in turns if next(turn, StopIteration) is not StopIteration]

    @property
    def baseline(self) -> Run | None:
        """What the others are compared with: backpropagation, or the first that has ended."""
        finished = [entry.run for entry in self.entries if entry.run is not None]
        return next((run for run in finished if run.config.method == "bp"), next(iter(finished), None))

    def rows(self) -> list[dict[str, Any]]:
        """A row for each run, in their order; what a failed one does not have is None."""
        base = self.baseline
        rows = []
        for entry in self.entries:
            run, config = entry.run, entry.training.config
            milliseconds = run and run.milliseconds_per_iteration
            own = base and base.milliseconds_per_iteration
            rows.append(
                {
                    "method": config.method,
                    "modules": config.modules,
                    "test_accuracy": run and run.final_test_accuracy,
                    "milliseconds_per_iteration": milliseconds,
                    "speed_up": own / milliseconds if own and milliseconds else None,
                    "failure": None if entry.failure is None else str(entry.failure),
                }
            )
        return rows

    def save(self, options: Mapping[str, Any]) -> None:
        """Write the rows and the figure, and what options were given. Raises WriteError."""
        stored = self.entries[0].training.config.stored()
        config = {name: stored[name] if name in PATHS else value for name, value in options.items()}
        write_json(self.out / RESULT, {"config": config, "environment": environment(), "runs": self.rows()})
        finished = [entry.run for entry in self.entries if entry.run is not None]
        if finished:
            write_figure(self.out / FIGURE, plots.comparison(finished))
