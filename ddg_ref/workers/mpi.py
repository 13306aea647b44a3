"""One MPI rank per module: the workers of many machines, or of one machine without the interpreter lock between them.

Every rank builds the same training run and does the same in step; in a call of `run`, rank r advances module r+1 alone.
Between calls rank r holds the true state of its own module, and rank 0 that of all: it evaluates, writes and prints.
"""

import atexit
import sys
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from time import perf_counter
from typing import Any, NamedTuple, TypeVar, cast

from mpi4py import MPI

from ddg_ref.arrays import Array, Params, Shape, computing, hosted, to_host
from ddg_ref.errors import DivergenceError, InputError, StallError, WorkerError
from ddg_ref.modules import InFlight, Pipeline
from ddg_ref.optimizers import OptimizerState
from ddg_ref.synthesizers import Synthesizer
from ddg_ref.task import Progress, Task
from ddg_ref.timeline import Activity, Span
from ddg_ref.workers.agreement import check_agreement, facts, installation, kernels
from ddg_ref.workers.channel import StoppedError
from ddg_ref.workers.mpi_channel import LeftRank, RightRank, Wire, wait_until
from ddg_ref.workers.worker import Data, Objective, recorder, report, work

T = TypeVar("T")

WORLD = MPI.COMM_WORLD
RANK = WORLD.rank
TEAM, MESSAGES, NOTICES, EXIT = WORLD.Dup(), WORLD.Dup(), WORLD.Dup(), WORLD.Dup()
"""For what all do together, for what they send each other, and for leaving: who leaves is never taken for who works."""

UNWINDING_SECONDS = 3.0
"""How long a rank waits for the others after a failure, before it ends the job for all."""


LONGEST_GOODBYE = 1000
"""Bytes of what a rank says when it leaves."""
GOODBYE_SECONDS = 1.0
"""How long a rank that has left may have been the last to come to a meeting."""


class Ending(NamedTuple):
    """How a rank came out of a call."""

    reached: int
    failure: Exception | None
    given_left: int
    given_right: int
    doing: str


class ModuleState(NamedTuple):
    """What a rank tells rank 0 of its module; the caches of batches in flight stay with who goes back with them."""

    params: Params
    stats: Params
    optimizer_state: OptimizerState
    queue: list[InFlight]
    errors: list[tuple[int, Array]]
    synthesizer: Synthesizer | None
    spans: list[Span]
    clock: tuple[str, float]


def run(pipeline: Pipeline, task: Task, start: int, stop: int) -> Progress:
    """Iterations start, ..., stop-1 of this rank's module. All ranks call it; same result on rank 0 as `reference.run`.

    If a rank fails, all of them raise the same error: a WorkerError that names module, phase and iteration (on the rank
    that failed the original is chained), a DivergenceError, or a StallError once a module has waited for one message
    longer than `task.stall_timeout`. Only rank 0's `task.stop_requested` counts.
    """
    module, wire = pipeline.modules[RANK], Wire(MESSAGES, NOTICES, task.stall_timeout, goodbyes)
    with module.device.opened():
        left, right = ends(wire, pipeline, task, start, stop)
    activity, known = Activity(module.k), len(task.results)
    reached, failure, finished = start, None, False
    try:
        with computing(), module.device.opened():
            begin = recorder(activity, task)
            source, target = left or Data(task, module), right or Objective(task, module.micro_batches)
            reached = work(module, source, target, task, start, stop, begin)
            task.read_results()
        activity.end()
        finished = True
    except StoppedError:
        pass
    except BaseException as error:  # whatever it is, all must hear of it and nobody may wait for this rank
        failure = error
        wire.tell_failure()
    ending = Ending(
        reached,
        None if failure is None else report(failure, activity),
        left.given if left else 0,
        right.given if right else 0,
        activity.describe(perf_counter()),
    )
    endings = agree(ending, impatient=task.stall_timeout is not None and not finished)
    clock = MPI.Get_processor_name(), perf_counter()
    failed = [rank for rank, other in enumerate(endings) if other.failure]
    with module.device.opened():
        if left:
            left.close(endings[RANK - 1].given_right)
        if right:
            if not failed:
                right.keep(endings[RANK + 1].given_left)
            right.close(endings[RANK + 1].given_left)
    wire.close(failed)
    raise_failure(failure, ending, endings)
    task.results[known:] = TEAM.bcast(task.results[known:], root=WORLD.size - 1)
    state = ModuleState(
        hosted(module.params),
        hosted(module.stats),
        module.optimizer_state.placed(to_host),
        [flight._replace(x=to_host(flight.x), params=hosted(flight.params)) for flight in module.queue],
        [(batch, to_host(dy)) for batch, dy in pipeline.errors[RANK]],
        module.synthesizer and module.synthesizer.placed(to_host),
        list(activity.spans),
        clock,
    )
    return Progress(endings[0].reached, gather(pipeline, state))


def ends(wire: Wire, pipeline: Pipeline, task: Task, start: int, stop: int) -> tuple[LeftRank | None, RightRank | None]:
    """What lies on either side of this rank's module, if it is a rank.

    In iterations start, ..., stop-1 module k gives the activations of batches start, ..., stop-1 and the error
    gradients of those that are d_k iterations older, as far as there are such batches.
    """
    if WORLD.size == 1:
        return None, None
    model, parts = pipeline.modules[RANK].device.place(task.batch(0)[0]), pipeline.micro_batches
    shapes: list[Shape] = [model.shape]  # no batch is larger than batch 0
    for module in pipeline.modules:
        shapes.append((len(model), *module.layers.output_shape(shapes[-1][1:])))
    left = right = None
    if RANK > 0:
        messages = range(start * parts, min(stop, task.iterations) * parts)
        left = LeftRank(wire, RANK - 1, messages, shapes[RANK], model)
    if WORLD.size > RANK + 1:
        delay = pipeline.modules[RANK + 1].delay
        messages = range(max(0, start - delay) * parts, min(stop - delay, task.iterations) * parts)
        right = RightRank(wire, RANK + 1, messages, shapes[RANK + 1], model, pipeline.errors[RANK])
    return left, right


def agree(ending: Ending, impatient: bool) -> list[Ending]:
    """The endings of all ranks. Raises what this one came to if it is impatient and the others do not come."""
    patience = UNWINDING_SECONDS * (1 if ending.failure else 3)  # the rank that failed speaks first
    try:
        met = meet(TEAM, patience if impatient else None)
    except WorkerError as left:
        raise ending.failure or left from left  # what went wrong here comes first
    if met:
        return TEAM.allgather(ending)
    if ending.failure is None or isinstance(ending.failure, StallError):
        raise StallError(f"{ending.failure or 'another rank has stopped'}: {ending.doing}")
    raise ending.failure


def raise_failure(failure: BaseException | None, mine: Ending, endings: list[Ending]) -> None:
    """Raise the same on all ranks: the failure of the first that has one. Does nothing if none has."""
    if failure is not None and not isinstance(failure, Exception):  # Ctrl-C
        raise failure
    first = next((rank for rank, ending in enumerate(endings) if ending.failure), None)
    if first is None:
        return
    error = mine.failure if first == RANK else endings[first].failure
    if isinstance(error, StallError):
        raise StallError(f"{error}: {'; '.join(ending.doing for ending in endings)}")
    assert error is not None
    raise error


def gather(pipeline: Pipeline, state: ModuleState) -> list[Span]:
    """On rank 0, bring `pipeline` up to date in all modules and return all spans, by this machine's clock."""
    if RANK > 0:
        TEAM.send(state, 0)
        return state.spans
    spans = state.spans
    host, now = state.clock
    for module, errors, source in zip(pipeline.modules[1:], pipeline.errors[1:], range(1, WORLD.size), strict=True):
        state = TEAM.recv(source=source)
        module.params, module.stats, module.optimizer_state = state.params, state.stats, state.optimizer_state
        module.queue, module.synthesizer = deque(state.queue), state.synthesizer
        errors.clear()
        errors.extend(state.errors)
        shift = now - state.clock[1] if state.clock[0] != host else 0.0  # taken together
        spans += [span._replace(start=span.start + shift, stop=span.stop + shift) for span in state.spans]
    return spans


def once(action: Callable[[], T]) -> T:
    """Let rank 0 do `action` and give its result to all. If it raises, all raise, rank 0 what it was."""
    value: T | None = None
    failure: BaseException | None = None
    if RANK == 0:
        try:
            value = action()
        except BaseException as error:
            failure = error
    try:
        meet(TEAM)  # patiently, where a broadcast would keep a core busy
    except WorkerError as left:
        raise failure or left from left  # what went wrong here comes first
    value, told = TEAM.bcast((value, failure and tellable(failure)))
    if failure or told:
        raise failure or told
    return cast(T, value)


def agree_on(known: Mapping[str, Any]) -> None:
    """Compare what all ranks know, and what they run on. Raises InputError, the same on all, unless it is the same.

    Other BLAS kernels change the last bits and nothing else: rank 0 warns of them.
    """
    meet(TEAM)
    ranks = TEAM.allgather(facts(installation() | dict(known)))
    check_agreement(ranks)
    computed_by = TEAM.allgather(kernels())
    if RANK == 0 and len(set(computed_by)) > 1:
        other = next(rank for rank, name in enumerate(computed_by) if name != computed_by[0])
        warnings.warn(
            f"BLAS computes for {computed_by[0]} on rank 0 and for {computed_by[other]} on rank {other}: the weights "
            "are not those of one machine to the last bit",
            stacklevel=2,
        )


def tellable(failure: BaseException) -> Exception:
    """A failure of rank 0, as the other ranks raise it."""
    if isinstance(failure, InputError | DivergenceError):
        return failure
    return WorkerError(f"rank 0 failed between iterations: {failure!r}")


def meet(communicator: MPI.Intracomm, patience: float | None = None) -> bool:
    """Wait until all ranks are here; False if they have not come after `patience` seconds.

    Raises WorkerError if one of them has left the program, and so will never come.
    """
    request = communicator.Ibarrier()
    deadline = inf if patience is None else perf_counter() + patience
    since: dict[int, float] = {}

    def watch(waited: float) -> None:
        for rank, why in goodbyes().items() if communicator is not EXIT else ():
            if waited - since.setdefault(rank, waited) > GOODBYE_SECONDS:  # else it was here before, to be seen soon
                raise WorkerError(f"rank {rank} has left the program{why and ': '}{why}")

    wait_until(lambda: request.Test() or perf_counter() > deadline, watch)
    return request.Test()


_gone: dict[int, str] = {}


def goodbyes() -> dict[int, str]:
    """The ranks that have said that they leave, and why, if they have said that."""
    status = MPI.Status()
    while EXIT.Iprobe(status=status):
        hear(status.source, status.Get_count(MPI.BYTE))
    return _gone


def hear(rank: int, size: int = LONGEST_GOODBYE) -> None:
    """Receive what a rank says when it leaves."""
    text = bytearray(size)
    status = MPI.Status()
    EXIT.Recv([text, MPI.BYTE], rank, status=status)
    _gone[rank] = " ".join(text[: status.Get_count(MPI.BYTE)].decode(errors="replace").split())


def leave(code: int, message: str = "", why: str | None = None) -> None:
    """Come here last. If all ranks do, rank 0 prints its message; one that fails alone prints its own and ends all.

    Whoever still waits for this rank hears why it leaves, which is the message if nothing else is given.
    """
    atexit.unregister(leave_at_exit)
    others = set(range(WORLD.size)) - {RANK}
    text = (message if why is None else why).encode()[:LONGEST_GOODBYE]
    said = [EXIT.Isend([text, MPI.BYTE], other) for other in others]
    together = meet(EXIT, UNWINDING_SECONDS if code else None)
    if message and (RANK == 0 or not together):
        print(message, end="", file=sys.stderr, flush=True)
    if not together:
        WORLD.Abort(code)
    for other in others - goodbyes().keys():
        hear(other)
    MPI.Request.Waitall(said)


@atexit.register
def leave_at_exit() -> None:
    """For programs that do not call `leave`: no rank waits for one that ended by an exception."""
    failure = getattr(sys, "last_value", None)
    leave(0 if failure is None else 1, why="" if failure is None else repr(failure))
