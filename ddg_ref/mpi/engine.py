"""One MPI rank per worker: the workers of many machines, or of one machine without the interpreter lock between them.

Every rank builds the same training run and does the same in step; in a call of `run`, rank r advances the modules of
worker r alone, which is module r+1 unless the schedule says otherwise. Between calls rank r holds the true state of its
own modules, and rank 0 that of all: it evaluates, writes and prints.
"""

import atexit
import signal
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping
from math import inf
from time import perf_counter
from typing import Any, NamedTuple, TypeVar, cast

from mpi4py import MPI

from ddg_ref.arrays import Array, Params, Shape, hosted, to_host
from ddg_ref.computing import computing
from ddg_ref.deadlock import rooms
from ddg_ref.errors import DivergenceError, InputError, StallError, WorkerError
from ddg_ref.modules import InFlight, Module, Pipeline
from ddg_ref.mpi import launch
from ddg_ref.mpi.agreement import check_agreement, facts, installation
from ddg_ref.mpi.channel import CAPACITY, LeftRank, RightRank, Wire, wait_until
from ddg_ref.mpi.pulse import Pulse
from ddg_ref.mpi.team import Team
from ddg_ref.optimizers import OptimizerState
from ddg_ref.schedules import owners, target
from ddg_ref.task import Progress, Task
from ddg_ref.timeline import Activity, Span
from ddg_ref.tools.environment import kernels
from ddg_ref.workers.channel import StoppedError, StopSignal
from ddg_ref.workers.link import Link, settle
from ddg_ref.workers.neighbours import Data, Guesser, Left, Objective, Right
from ddg_ref.workers.worker import perform, recorder, report, work

T = TypeVar("T")

WORLD = MPI.COMM_WORLD
RANK = WORLD.rank
LIBRARY = "{} {}".format(MPI.get_vendor()[0], ".".join(map(str, MPI.get_vendor()[1])))
LANES, NOTICES = [WORLD.Dup()], WORLD.Dup()
"""What carries messages: as many as two ranks have boundaries between them, so that none is taken for another's."""
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
    failure: BaseException | None
    given: dict[tuple[int, int], int]
    """How many messages it has given from one module to another, of another rank."""
    doing: str


class ModuleState(NamedTuple):
    """What a rank tells rank 0 of a module; the caches of batches in flight stay with who goes back with them."""

    params: Params
    stats: Params
    optimizer_state: OptimizerState
    queue: list[InFlight]
    gradients: dict[int, Params]
    errors: list[tuple[int, Array]]
    guesser: Guesser | None


class RankState(NamedTuple):
    """What a rank tells rank 0: of its modules, by number, and what it has done when."""

    modules: dict[int, ModuleState]
    spans: list[Span]
    clock: tuple[str, float]


def run(pipeline: Pipeline, task: Task, start: int, stop: int) -> Progress:
    """Iterations start, ..., stop-1 of this rank's modules. All ranks call it; on rank 0 the same as `one_thread.run`.

    If a rank fails, all of them raise the same error: a WorkerError that names module, phase and iteration (on the rank
    that failed the original is chained), a DivergenceError, KeyboardInterrupt, or a StallError once a module has waited
    for one message longer than `task.stall_timeout`. Whichever rank's `task.stop_requested` is set, all stop before one
    iteration.
    """
    program = pipeline.programs[RANK]
    modules = pipeline.crew(program)
    PULSE.allow(task.stall_timeout)
    wires = [Wire(lane, NOTICES, PULSE) for lane in lanes(pipeline)]
    sides = ends(wires, pipeline, task, start, stop)
    lefts = {module.k: side for module in modules if isinstance(side := sides[module.k][0], LeftRank)}
    rights = {module.k: end for module in modules if isinstance(end := sides[module.k][1], RightRank)}
    activity, known = Activity(modules[0].k), len(task.results)
    reached, failure, finished = start, None, False
    try:
        with computing():
            PULSE.enter(activity, task)
            works = []
            for module in modules:
                before, after = sides[module.k]
                beyond = pipeline.right(module.k, after, task.labels)
                begin = recorder(activity, module.k, task)
                works.append(work(module, before, beyond, task, start, stop, begin))
            reached = perform(modules, works, program, start, stop)
            with modules[-1].device.opened():
                task.read_results()
        activity.end()
        finished = True
    except StoppedError:
        pass
    except BaseException as error:  # whatever it is, all must hear of it and nobody may wait for this rank
        failure = error
        wires[0].tell_failure()
    finally:
        PULSE.come_out()
    ending = Ending(
        reached,
        failure if failure is None or isinstance(failure, KeyboardInterrupt) else report(failure, activity),
        {(k, k - 1): left.given for k, left in lefts.items()}
        | {(k, k + 1): right.given for k, right in rights.items()},
        activity.describe(perf_counter()),
    )
    endings = agree(ending, impatient=task.stall_timeout is not None and not finished)
    clock = MPI.Get_processor_name(), perf_counter()
    failed = [rank for rank, other in enumerate(endings) if other.failure]
    given = {link: count for other in endings for link, count in other.given.items()}
    for module in modules:  # first all that others have sent: nobody waits for that
        k = module.k
        with module.device.opened():
            if k in lefts:
                lefts[k].receive_rest(given[k - 1, k], TEAM.wait)
            if k in rights:
                if not failed:
                    rights[k].keep(given[k + 1, k], TEAM.wait)
                rights[k].receive_rest(given[k + 1, k], TEAM.wait)
    for left in lefts.values():
        left.close(TEAM.wait)
    for right in rights.values():
        right.close(TEAM.wait)
    wires[0].close(failed, TEAM.wait)
    raise_failure(failure, ending, endings)
    K = len(pipeline.modules)
    last = owners(pipeline.programs)[K]
    task.results[known:] = TEAM.together(task.results[known:] if last == RANK else [])[last]
    settle(pipeline)
    own = {module.k: state_of(pipeline, module) for module in modules}
    return Progress(endings[0].reached, gather(pipeline, RankState(own, list(activity.spans), clock)))


def state_of(pipeline: Pipeline, module: Module) -> ModuleState:
    """What there is to tell of a module."""
    guesser = pipeline.guessers[module.k - 1]
    return ModuleState(
        hosted(module.params),
        hosted(module.stats),
        module.optimizer_state.placed(to_host),
        [flight._replace(x=to_host(flight.x), params=hosted(flight.params)) for flight in module.queue],
        {batch: hosted(gradient) for batch, gradient in module.gradients.items()},
        [(batch, to_host(dy)) for batch, dy in pipeline.errors[module.k - 1]],
        guesser and guesser.placed(to_host),
    )


def lane_of(rank_of: Mapping[int, int], k: int) -> int:
    """The lane of the boundary between modules k and k+1: a number that no other boundary of the same ranks has."""
    between = {rank_of[k], rank_of[k + 1]}
    return sum({rank_of[j], rank_of[j + 1]} == between for j in range(1, k))


def lanes(pipeline: Pipeline) -> list[MPI.Intracomm]:
    """As many as are needed. Made once, by all ranks together."""
    rank_of = owners(pipeline.programs)
    needed = max((lane_of(rank_of, k) for k in range(1, len(pipeline.modules))), default=0) + 1
    while len(LANES) < needed:
        lane, request = WORLD.Idup()
        TEAM.wait(request)
        LANES.append(lane)
    return LANES[:needed]


def ends(wires: list[Wire], pipeline: Pipeline, task: Task, start: int, stop: int) -> dict[int, tuple[Left, Right]]:
    """What lies on either side of each of this rank's modules: a rank, another of its modules, the data or the loss.

    What the neighbours give in iterations start, ..., stop-1 can be told beforehand: less only if training stops.
    """
    method, K = pipeline.method, len(pipeline.modules)
    M, rank_of = method.micro_batches, owners(pipeline.programs)
    room = rooms(method.schedule, K, M, CAPACITY, method.programs)
    batch = task.batch(0)[0] if WORLD.size > 1 else None
    shapes: list[Shape] = [] if batch is None else [batch.shape]  # no batch is larger than batch 0
    for module in pipeline.modules if shapes else []:
        shapes.append((shapes[0][0], *module.layers.output_shape(shapes[-1][1:])))

    def given(a: int, b: int) -> list[int]:
        """The numbers of the messages that module a gives to module b."""
        planned = (method.schedule(a, K, t, M) for t in range(start, stop))
        return [action.number for own in planned for action in task.actions(own, M) if target(action, a, K) == b]

    found: dict[int, tuple[Left, Right]] = {}
    inside = {k: Link(pipeline, k, (inf, inf), StopSignal()) for k in range(1, K) if rank_of[k] == rank_of[k + 1]}
    for module in pipeline.crew(pipeline.programs[RANK]):
        k = module.k
        with module.device.opened():
            model = None if batch is None else module.device.place(batch)
            left: Left
            right: Right
            if k == 1:
                left = Data(task, M, module.device)
            elif k - 1 in inside:
                left = inside[k - 1]
            else:
                assert model is not None
                wire = wires[lane_of(rank_of, k - 1)]
                left = LeftRank(wire, rank_of[k - 1], given(k - 1, k), shapes[k - 1], model, room[k - 2][1])
            if k == K:
                right = Objective(task, M, module.device)
            elif k in inside:
                right = inside[k]
            else:
                assert model is not None
                wire, waiting = wires[lane_of(rank_of, k)], pipeline.errors[k - 1]
                right = RightRank(wire, rank_of[k + 1], given(k + 1, k), shapes[k], model, room[k - 1][0], waiting)
        found[k] = left, right
    return found


def agree(ending: Ending, impatient: bool) -> list[Ending]:
    """The endings of all ranks. Raises what this one came to if it is impatient and the others do not come."""
    patience = UNWINDING_SECONDS * (1 if ending.failure else 3)  # the rank that failed speaks first
    try:
        endings = TEAM.exchange(ending, patience if impatient else None)
    except (launch.LeftError, StallError) as left:
        raise ending.failure or left from left  # what went wrong here comes first
    if endings is not None:
        return endings
    if ending.failure is None or isinstance(ending.failure, StallError):
        raise StallError(f"{ending.failure or 'another rank has stopped'}: {ending.doing}")
    raise ending.failure


def raise_failure(failure: BaseException | None, mine: Ending, endings: list[Ending]) -> None:
    """Raise the same on all ranks: the failure of the first that has one. Does nothing if none has."""
    if failure is not None and not isinstance(failure, Exception | KeyboardInterrupt):
        raise failure
    first = next((rank for rank, ending in enumerate(endings) if ending.failure), None)
    if first is None:
        return
    error = mine.failure if first == RANK else endings[first].failure
    if isinstance(error, StallError):
        raise StallError(f"{error}: {'; '.join(ending.doing for ending in endings)}")
    assert error is not None
    raise error


def gather(pipeline: Pipeline, state: RankState) -> list[Span]:
    """On rank 0, bring `pipeline` up to date in all modules and return all spans, by this machine's clock."""
    spans = state.spans
    host, now = state.clock

    def take(state: RankState) -> None:
        for k, own in state.modules.items():
            module, errors = pipeline.modules[k - 1], pipeline.errors[k - 1]
            module.params, module.stats, module.optimizer_state = own.params, own.stats, own.optimizer_state
            module.queue, module.gradients = deque(own.queue), own.gradients
            pipeline.guessers[k - 1] = own.guesser
            errors.clear()
            errors.extend(own.errors)
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
    except (launch.LeftError, StallError) as left:
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


def tellable(failure: BaseException) -> BaseException:
    """A failure of rank 0, as the other ranks raise it."""
    if isinstance(failure, InputError | DivergenceError | KeyboardInterrupt):
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
    PULSE.leave(code, message if why is None else why)

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
    time.sleep(launch.SPEAKING_SECONDS)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(ABORT_SECONDS)
    WORLD.Abort(code or 1)


@atexit.register
def leave_at_exit() -> None:
    """For programs that do not call `leave`: no rank waits for one that ended by an exception."""
    failure = getattr(sys, "last_value", None)
    leave(0 if failure is None else 1, why="" if failure is None else repr(failure))
