"""Runs as an experiment needs them: each in its own run directory, gone on with if it was stopped, never done twice."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ddg_ref.errors import DivergenceError, InputError, WriteError
from ddg_ref.experiments import prediction, staleness
from ddg_ref.runs import checkpoints, rundir
from ddg_ref.runs.config import Config
from ddg_ref.runs.training import Training
from ddg_ref.tools import locks, processes
from ddg_ref.tools.files import read_json, write_json

TIMES = "times.json"
DIVERGED = "diverged.json"
WHERE = ("data_dir", "download")
"""Options that say where the data comes from: they do not change a run."""


@dataclass(frozen=True)
class Job:
    """One training run of an experiment.

    `group` names what is trained on what, `series` the way; runs that differ in the seed alone share both. `probes`
    says how many times the applied gradients are compared with the true ones. One that is `timed` has the machine to
    itself. One that serves as a `ruler` is there for its modules' times alone.
    """

    name: str
    group: str
    series: str
    options: Mapping[str, Any]
    probes: int = 0
    timed: bool = False
    ruler: bool = False

    def config(self) -> Config:
        """The run's options. Raises InputError as Config does."""
        return Config(**self.options)


@dataclass
class Watch:
    """Told how far the work has come, as a number of runs; asked by setting `stop_requested` to end it."""

    progress: Callable[[float], None] = lambda runs: None
    stop_requested: bool = False
    runs: float = field(default=0.0, init=False)

    def advance(self, runs: float) -> None:
        """So much more of a run is done."""
        self.runs += runs
        self.progress(self.runs)


def stored_config(directory: Path) -> Config | Mapping[str, Any] | None:
    """The configuration of the run in `directory`, finished or not; None if there is none.

    Raises CheckpointError for a damaged checkpoint, InputError for a damaged run.json.
    """
    for path in (directory / rundir.RESULT, directory / DIVERGED):
        if path.exists():
            config = read_json(path).get("config")
            if not isinstance(config, Mapping):
                raise InputError(f"out: {path} is damaged; move it away to run it again")
            return config
    return checkpoints.stored_config(directory)


def check_stored(job: Job, directory: Path) -> bool:
    """Whether the run is there, and finished or diverged. Raises InputError if another one has its name."""
    stored = stored_config(directory)
    if stored is None:
        return False
    there = stored if isinstance(stored, Mapping) else asdict(stored)
    for name, value in asdict(job.config()).items():
        if name not in WHERE and there.get(name, value) != value:
            raise InputError(
                f"out: {directory} holds a run with {name} {there[name]}, expected {value}; choose another directory"
            )
    return (directory / rundir.RESULT).exists() or (directory / DIVERGED).exists()


def divergence(directory: Path) -> str | None:
    """How the run in `directory` diverged; None if it did not."""
    path = directory / DIVERGED
    return str(read_json(path).get("message")) if path.exists() else None


def perform(job: Job, directory: Path, stop: Callable[[], bool], advance: Callable[[float], None]) -> bool:
    """Do the run, or the rest of it; False if it was asked to stop, and has been stored.

    That a run diverges is a result, where its error is all that is asked. Raises DivergenceError, which names the run,
    where its times or its gradients are, and what training raises otherwise.
    """
    with locks.owned("out", rundir.make(directory)):
        return _perform(job, directory, stop, advance)


def _perform(job: Job, directory: Path, stop: Callable[[], bool], advance: Callable[[float], None]) -> bool:
    if checkpoints.list_checkpoints(directory):
        training = checkpoints.resume(rundir.reopen(directory))
    else:
        training = Training(job.config())
        place = rundir.Place(directory)
        files = (*place.files, TIMES, DIVERGED, staleness.FILE)
        rundir.claim_all([replace(place, files=files, room=checkpoints.room(training))], overwrite=True)
    total = training.task.iterations
    advance(training.iteration / total)
    probes = staleness.Probes(training, job.probes, directory) if job.probes else None

    def on_batch(t: int) -> None:
        if probes:
            probes.begin(t)
        advance(1 / total)
        training.task.stop_requested = stop()

    def checkpoint() -> None:
        try:
            if probes:
                probes.write()  # first: what it has too much of, a resumed run drops
        finally:
            checkpoints.save_or_rescue(training, directory)

    training.task.on_batch = on_batch
    try:
        for _ in training.epochs(checkpoint):
            pass
    except DivergenceError as error:
        if job.timed or job.probes:
            raise DivergenceError(f"{job.name}: {error}") from error
        write_json(directory / DIVERGED, {"config": training.config.stored(), "message": str(error)})
        return True
    if training.iteration < total:
        checkpoint()
        return False
    run = training.result()
    try:  # before the result, which says that all is there
        if probes:
            probes.write()
        if job.ruler:
            spans = [span for span in training.spans if span.iteration < total]
            write_json(directory / TIMES, prediction.module_times(spans, job.config().modules))
    except WriteError as error:
        raise rundir.rescue(run, error) from error
    rundir.save_or_rescue(run, directory)
    return True


def perform_all(jobs: Sequence[Job], out: Path, count: int, watch: Watch) -> bool:
    """Do what is not yet done, under `out` by the runs' names; False if the watch asked to stop.

    Timed runs come one after the other in this process, the others beside each other in `count` processes. Raises
    InputError, before anything is run, if a directory holds another run; WorkerError if a process dies.
    """
    waiting = [job for job in jobs if not check_stored(job, out / job.name)]
    watch.advance(len(jobs) - len(waiting))
    apart = [job for job in waiting if not job.timed]
    if count > 1 and len(apart) > 1:
        if not _perform_beside(apart, out, min(count, len(apart)), watch):
            return False
        apart = []
    for job in [*apart, *(job for job in waiting if job.timed)]:
        if watch.stop_requested or not perform(job, out / job.name, lambda: watch.stop_requested, watch.advance):
            return False
    return True


def _perform_here(job: Job, directory: Path) -> bool:
    return not processes.stop_requested() and perform(job, directory, processes.stop_requested, processes.advance)


def _perform_beside(jobs: Sequence[Job], out: Path, count: int, watch: Watch) -> bool:
    known = 0.0
    whole: list[bool] = []

    def look(done: float) -> bool:
        nonlocal known
        watch.advance(done - known)
        known = done
        return watch.stop_requested

    processes.carry_out(
        _perform_here,
        ((job, out / job.name) for job in jobs),
        count,
        take=whole.append,
        watch=look,
        killed="a process that trains was killed; the same command goes on",
    )
    return len(whole) == len(jobs) and all(whole)
