"""One MPI rank per module: the workers of many machines, or of one machine without the interpreter lock between them.

Every rank builds the same training run and does the same in step; in a call of `run`, rank r advances module r+1 alone.
Between calls rank r holds the true state of its own module, and rank 0 that of all: it evaluates, writes and prints.
"""

import atexit
import signal
import sys
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Any, NamedTuple, TypeVar, cast

from mpi4py import MPI

from ddg_ref.arrays import Array, Params, Shape, hosted, to_host
from ddg_ref.computing import computing
from ddg_ref.errors import DivergenceError, InputError, StallError, WorkerError
from ddg_ref.modules import InFlight, Module, Pipeline
from ddg_ref.mpi import launch
from ddg_ref.mpi.agreement import check_agreement, facts, installation
from ddg_ref.mpi.channel import LeftRank, RightRank, Wire, wait_until
from ddg_ref.mpi.pulse import Pulse
from ddg_ref.mpi.team import Team
from ddg_ref.optimizers import OptimizerState
from ddg_ref.schedules import target
from ddg_ref.task import Progress, Task
from ddg_ref.timeline import Activity, Span
from ddg_ref.tools.environment import kernels
from ddg_ref.workers.channel import StoppedError
from ddg_ref.workers.neighbours import Data, Guesser, Left, Objective
from ddg_ref.workers.worker import exhaust, recorder, report, work

T = TypeVar("T")

WORLD = MPI.COMM_WORLD
RANK = WORLD.rank
LIBRARY = "{} {}".format(MPI.get_vendor()[0], ".".join(map(str, MPI.get_vendor()[1])))
MESSAGES, NOTICES = WORLD.Dup(), WORLD.Dup()
PULSE = Pulse(WORLD.Dup())
TEAM = Team(WORLD.Dup(), PULSE)
PULSE.start()

UNWINDING_SECONDS = 3.0
"""How long a rank waits for the others after a failure, before it ends the job for all."""

ABORT_SECONDS = 10
"""How long ending the job may take, before this rank ends at least itself."""


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
    gradients: dict[int, Params]
    errors: list[tuple[int, Array]]
    guesser: Guesser | None
    spans: list[Span]
    clock: tuple[str, float]


def run(pipeline: Pipeline, task: Task, start: int, stop: int) -> Progress:
    """Iterations start, ..., stop-1 of this rank's module. All ranks call it; on rank 0 the same as `one_thread.run`.

    If a rank fails, all of them raise the same error: a WorkerError that names module, phase and iteration (on the rank
    that failed the original is chained), a DivergenceError, or a StallError once a module has waited for one message
    longer than `task.stall_timeout`. Whichever rank's `task.stop_requested` is set, all stop before one iteration.
    """
    module, wire = pipeline.modules[RANK], Wire(MESSAGES, NOTICES, PULSE)
    PULSE.allow(task.stall_timeout)
    with module.device.opened():
        left, right = ends(wire, pipeline, task, start, stop)
    activity, known = Activity(module.k), len(task.results)
    reached, failure, finished = start, None, False
    try:
        with computing(), module.device.opened():
            begin = recorder(activity, task)
            PULSE.enter(activity, task)
            M = pipeline.method.micro_batches
            source: Left = left or Data(task, M, module.device)
            beyond = pipeline.right(module.k, right or Objective(task, M), task.labels)
            reached = exhaust(work(module, source, beyond, task, start, stop, begin))
            task.read_results()
        activity.end()
        finished = True
    except StoppedError:
        pass
    except BaseException as error:  # whatever it is, all must hear of it and nobody may wait for this rank
        failure = error
        wire.tell_failure()
    finally:
        PULSE.come_out()
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
            left.close(endings[RANK - 1].given_right, TEAM.wait)
        if right:
            if not failed:
                right.keep(endings[RANK + 1].given_left, TEAM.wait)
            right.close(endings[RANK + 1].given_left, TEAM.wait)
    wire.close(failed, TEAM.wait)
    raise_failure(failure, ending, endings)
    task.results[known:] = TEAM.together(task.results[known:] if WORLD.size - 1 == RANK else [])[-1]
    guesser = pipeline.guessers[RANK]
    state = ModuleState(
        hosted(module.params),
        hosted(module.stats),
        module.optimizer_state.placed(to_host),
        [flight._replace(x=to_host(flight.x), params=hosted(flight.params)) for flight in module.queue],
        {batch: hosted(gradient) for batch, gradient in module.gradients.items()},
        [(batch, to_host(dy)) for batch, dy in pipeline.errors[RANK]],
        guesser and guesser.placed(to_host),
        list(activity.spans),
        clock,
    )
    return Progress(endings[0].reached, gather(pipeline, state))


def ends(wire: Wire, pipeline: Pipeline, task: Task, start: int, stop: int) -> tuple[LeftRank | None, RightRank | None]:
    """What lies on either side of this rank's module, if it is a rank.

    What the neighbours give in iterations start, ..., stop-1 can be told beforehand: less only if training stops.
    """
    if WORLD.size == 1:
        return None, None
    model = pipeline.modules[RANK].device.place(task.batch(0)[0])
    shapes: list[Shape] = [model.shape]  # no batch is larger than batch 0
    for module in pipeline.modules:
        shapes.append((len(model), *module.layers.output_shape(shapes[-1][1:])))

    def given_by(module: Module) -> list[int]:
        """The numbers of the messages that come from there."""
        M, K = module.method.micro_batches, module.K
        planned = (module.method.schedule(module.k, K, t, M) for t in range(start, stop))
        return [a.number for actions in planned for a in task.actions(actions, M) if target(a, module.k, K) == RANK + 1]

    left = right = None
    if RANK > 0:
        left = LeftRank(wire, RANK - 1, given_by(pipeline.modules[RANK - 1]), shapes[RANK], model)
    if WORLD.size > RANK + 1:
        above = given_by(pipeline.modules[RANK + 1])
        right = RightRank(wire, RANK + 1, above, shapes[RANK + 1], model, pipeline.errors[RANK])
    return left, right


def agree(ending: Ending, impatient: bool) -> list[Ending]:
    """The endings of all ranks. Raises what this one came to if it is impatient and the others do not come."""
    patience = UNWINDING_SECONDS * (1 if ending.failure else 3)  # the rank that failed speaks first
    try:
        endings = TEAM.exchange(ending, patience if impatient else None)
    except (WorkerError, StallError) as left:
        raise ending.failure or left from left  # what went wrong here comes first
    if endings is not None:
        return endings
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
    spans = state.spans
    host, now = state.clock
    others = zip(pipeline.modules[1:], pipeline.errors[1:], strict=True)

    def take(state: ModuleState) -> None:
        module, errors = next(others)
        module.params, module.stats, module.optimizer_state = state.params, state.stats, state.optimizer_state
        module.queue, module.gradients = deque(state.queue), state.gradients
        pipeline.guessers[module.k - 1] = state.guesser
        errors.clear()
        errors.extend(state.errors)
        shift = now - state.clock[1] if state.clock[0] != host else 0.0  # taken together
        spans.extend(span._replace(start=span.start + shift, stop=span.stop + shift) for span in state.spans)

    TEAM.collect(state, take)
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
        value, told = TEAM.together((value, failure and tellable(failure)))[0]
    except (WorkerError, StallError) as left:
        raise failure or left from left  # what went wrong here comes first
    if failure or told:
        raise cast(BaseException, failure or told)
    return cast(T, value)


def agree_on(known: Mapping[str, Any]) -> None:
    """Compare what all ranks know, and what they run on. Raises InputError, the same on all, unless it is the same.

    Other BLAS kernels change the last bits and nothing else: rank 0 warns of them.
    """
    check_agreement(TEAM.together(facts(installation() | dict(known))))
    computed_by = TEAM.together(kernels())
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


def leave(code: int, message: str = "", why: str | None = None) -> None:
    """Come here last. If all ranks do, rank 0 prints its message; else the first of those that do prints its own, and
    ends the job for all.

    Whoever still waits for this rank hears why it leaves, which is the message if nothing else is given.
    """
    atexit.unregister(leave_at_exit)
    others = set(range(WORLD.size)) - {RANK}
    patience, started, begun = (UNWINDING_SECONDS if code else None), perf_counter(), PULSE.beats
    PULSE.leave(message if why is None else why)

    def over() -> bool:
        turns = 1 + sum(rank < RANK for rank in PULSE.gone)  # the first speaks, and the others are behind it
        impatient = patience is not None and perf_counter() - started > turns * patience
        return others <= PULSE.gone.keys() or impatient or not PULSE.gone.keys() >= set(PULSE.silent(begun))

    wait_until(over)
    together = others <= PULSE.gone.keys()
    if message and ((together and not launch.rank()) or (not together and all(rank > RANK for rank in PULSE.gone))):
        print(message, end="", file=sys.stderr, flush=True)
    if together:
        PULSE.close()
        return
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(ABORT_SECONDS)
    WORLD.Abort(code or 1)


@atexit.register
def leave_at_exit() -> None:
    """For programs that do not call `leave`: no rank waits for one that ended by an exception."""
    failure = getattr(sys, "last_value", None)
    leave(0 if failure is None else 1, why="" if failure is None else repr(failure))
