"""The engines: ways of running a pipeline. All give the same weights, bit for bit."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeAlias, TypeVar

from ddg_ref.errors import LaunchError, reason
from ddg_ref.modules import Pipeline
from ddg_ref.mpi import launch
from ddg_ref.task import Progress, Task
from ddg_ref.workers import one_thread, threads

T = TypeVar("T")

Call: TypeAlias = Callable[[Pipeline, Task, int, int], Progress]


class Engine(Protocol):
    """Runs a pipeline, in this process or in several that do the same in step, of which the first sees everything."""

    @property
    def watches(self) -> bool:
        """Whether it notices that a run no longer moves."""

    def __call__(self, pipeline: Pipeline, task: Task, start: int, stop: int) -> Progress:
        """Run iterations start, ..., stop-1, fewer if the task says stop."""

    def kept(self) -> AbstractContextManager[Call]:
        """The same for many calls of one training: what they need is made once, and ends with the block."""

    def prepare(self, workers: int, stall_timeout: float | None) -> None:
        """Raises InputError if so many workers cannot be run here. From now on no wait is longer than that."""

    def agree(self, known: Callable[[], Mapping[str, Any]]) -> None:
        """Raises InputError, on all processes, unless they know the same; `known()` is what this one knows, by name."""

    def speaks(self) -> bool:
        """Whether this process is the one that prints."""

    def meet(self, stall_timeout: float | None) -> None:
        """Return once all processes are here: from then on, if one of them fails, the others hear of it."""

    def own_devices(self, names: list[str], owners: list[int]) -> list[str]:
        """The names of the modules' devices, as far as this process computes there: "cpu" for the others.

        `owners` says which worker each of them belongs to.
        """

    def once(self, action: Callable[[], T]) -> T:
        """What `action` gives on the first process, for all of them. All must call it; if it raises, all raise."""


@dataclass(frozen=True)
class InProcess:
    """An engine that needs no other process."""

    run: Call
    watches: bool

    def __call__(self, pipeline: Pipeline, task: Task, start: int, stop: int) -> Progress:
        return self.run(pipeline, task, start, stop)

    def kept(self) -> AbstractContextManager[Call]:
        return nullcontext(self.run)

    def prepare(self, workers: int, stall_timeout: float | None) -> None:
        launch.uses_mpi = False

    def agree(self, known: Callable[[], Mapping[str, Any]]) -> None:
        pass

    def speaks(self) -> bool:
        return True

    def meet(self, stall_timeout: float | None) -> None:
        pass

    def own_devices(self, names: list[str], owners: list[int]) -> list[str]:
        return names

    def once(self, action: Callable[[], T]) -> T:
        return action()


class ByThreads(InProcess):
    """Its threads stay from call to call."""

    @contextmanager
    def kept(self) -> Iterator[Call]:
        with threads.Hands() as hands:
            yield partial(threads.run, hands=hands)


class OverMPI:
    """One worker per MPI rank. Nothing of MPI is loaded before it is used."""

    watches = True

    def __call__(self, pipeline: Pipeline, task: Task, start: int, stop: int) -> Progress:
        with needing_mpi():
            from ddg_ref.mpi import engine as mpi
        return mpi.run(pipeline, task, start, stop)

    def kept(self) -> AbstractContextManager[Call]:
        return nullcontext(self)

    def prepare(self, workers: int, stall_timeout: float | None) -> None:
        """Raises InputError without mpi4py or an MPI library, LaunchError unless there is one rank per worker."""
        launch.check_launch(workers)
        with needing_mpi():
            from ddg_ref.mpi import engine as mpi
        mpi.PULSE.allow(stall_timeout)
        size = mpi.WORLD.size
        launch.check_world(size, mpi.LIBRARY)
        mpi.agree_on({"modules": workers})
        if size != workers:
            raise LaunchError(
                f"modules: expected one MPI rank per module, got {size} rank{'s' * (size > 1)} for {workers} modules; "
                f"launch with mpiexec -n {workers}, or say --modules {size}",
                workers,
            )

    def agree(self, known: Callable[[], Mapping[str, Any]]) -> None:
        with needing_mpi():
            from ddg_ref.mpi import engine as mpi
        mpi.agree_on(known())

    def speaks(self) -> bool:
        return not launch.rank()

    def meet(self, stall_timeout: float | None) -> None:
        if launch.rank() is not None:
            with needing_mpi():
                from ddg_ref.mpi import engine as mpi
            mpi.PULSE.allow(stall_timeout)
            mpi.once(lambda: None)

    def own_devices(self, names: list[str], owners: list[int]) -> list[str]:
        own = launch.rank()
        return [name if rank == own else "cpu" for rank, name in zip(owners, names, strict=True)]

    def once(self, action: Callable[[], T]) -> T:
        with needing_mpi():
            from ddg_ref.mpi import engine as mpi
        return mpi.once(action)


@contextmanager
def needing_mpi() -> Iterator[None]:
    """Where MPI is loaded. Raises InputError, which says what to install, if that fails."""
    try:
        yield
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py is there, the MPI library is not
        raise launch.missing(f"mpi4py or the MPI library ({reason(error)})") from error


ENGINES: dict[str, Engine] = {
    "reference": InProcess(one_thread.run, watches=False),
    "threads": ByThreads(threads.run, watches=True),
    "mpi": OverMPI(),
}
