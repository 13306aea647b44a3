"""Runs as an experiment needs them: each in its own run directory, gone on with if it was stopped, never done twice."""

import signal
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ddg_ref import checkpoints, rundir
from ddg_ref.config import Config
from ddg_ref.errors import DivergenceError, InputError, WorkerError
from ddg_ref.experiments import prediction, staleness
from ddg_ref.files import read_json, write_json
from ddg_ref.training import Training

TIMES = "times.json"
WHERE = ("data_dir", "download")
"""Options that say where the data comes from: they do not change a run."""
POLL = 0.2
"""Seconds between two looks at what other processes are doing."""


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
    path = directory / rundir.RESULT
    if path.exists():
        config = read_json(path).get("config")
        if not isinstance(config, Mapping):
            raise InputError(f"out: {path} is damaged; move it away to run it again")
        return config
    return checkpoints.stored_config(directory)


def check_stored(job: Job, directory: Path) -> bool:
    """Whether the run is there and finished. Raises InputError if another one is there under its name."""
    stored = stored_config(directory)
    if stored is None:
        return False
    there = stored if isinstance(stored, Mapping) else asdict(stored)
    for name, value in asdict(job.config()).items():
        if name not in WHERE and there.get(name, value) != value:
            raise InputError(
                f"out: {directory} holds a run with {name} {there[name]}, expected {value}; choose another directory"
            )
    return (directory / rundir.RESULT).exists()


def perform(job: Job, directory: Path, stop: Callable[[], bool], advance: Callable[[float], None]) -> bool:
    """Do the run, or the rest of it; False if it was asked to stop, and has been stored.

    Raises DivergenceError, which names the run, and what training raises otherwise.
    """
    if checkpoints.list_checkpoints(directory):
        training = checkpoints.resume(directory)
    else:
        training = Training(job.config())
        place = rundir.Place(directory)
        files = (*place.files, TIMES, staleness.FILE)
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
        if probes:
            probes.write()  # first: what it has too much of, a resumed run drops
        checkpoints.save_or_rescue(training, directory)

    training.task.on_batch = on_batch
    try:
        for _ in training.epochs(checkpoint):
            pass
    except DivergenceError as error:
        raise DivergenceError(f"{job.name}: {error}") from error
    if training.iteration < total:
        checkpoint()
        return False
    if probes:
        probes.write()
    if job.ruler:
        spans = [span for span in training.spans if span.iteration < total]
        write_json(directory / TIMES, prediction.module_times(spans, job.config().modules))
    rundir.save_or_rescue(training.result(), directory)
    return True


def perform_all(jobs: Sequence[Job], out: Path, processes: int, watch: Watch) -> bool:
    """Do what is not yet done, under `out` by the runs' names; False if the watch asked to stop.

    Timed runs come one after the other in this process, the others beside each other in so many processes. Raises
    InputError, before anything is run, if a directory holds another run; WorkerError if a process dies.
    """
    waiting = [job for job in jobs if not check_stored(job, out / job.name)]
    watch.advance(len(jobs) - len(waiting))
    apart = [job for job in waiting if not job.timed]
    if processes > 1 and len(apart) > 1:
        if not _perform_beside(apart, out, min(processes, len(apart)), watch):
            return False
        apart = []
    for job in [*apart, *(job for job in waiting if job.timed)]:
        if watch.stop_requested or not perform(job, out / job.name, lambda: watch.stop_requested, watch.advance):
            return False
    return True


_stop: Any = None
_runs: Any = None


def _join(stop: Any, runs: Any) -> None:
    """Begin as a process that trains. Ctrl-C reaches every process of a terminal: the first one passes it on."""
    global _stop, _runs
    _stop, _runs = stop, runs
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _advance(runs: float) -> None:
    with _runs.get_lock():
        _runs.value += runs


def _perform_here(job: Job, directory: Path) -> bool:
    return not _stop.is_set() and perform(job, directory, _stop.is_set, _advance)


def _perform_beside(jobs: Sequence[Job], out: Path, processes: int, watch: Watch) -> bool:
    context = get_context("spawn")  # a forked process would share the locks of threads that it does not have
    stop, runs, known = context.Event(), context.Value("d", 0.0), 0.0
    with ProcessPoolExecutor(processes, context, initializer=_join, initargs=(stop, runs)) as pool:
        futures = {pool.submit(_perform_here, job, out / job.name): job for job in jobs}
        pending, complete = set(futures), True
        try:
            while pending:
                done, pending = wait(pending, POLL, FIRST_COMPLETED)
                for future in done:
                    complete &= future.result()
                value: float = runs.value
                watch.advance(value - known)
                known = value
                if watch.stop_requested:
                    stop.set()
        except BrokenProcessPool as error:
            raise WorkerError("a process that trains was killed; the same command goes on") from error
        finally:
            stop.set()
            for future in pending:
                future.cancel()
    return complete
