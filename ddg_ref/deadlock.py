"""Whether workers that follow a schedule can block each other: by performing its actions symbolically.

A worker waits for a message that it takes, or for room for one that it gives, and for one neighbour at a time. So the
order in which workers get their turns changes nothing about what can happen (Kahn, *The semantics of a simple language
for parallel programming*, 1974), and a run cannot block if each iteration, begun with what the one before has left in
the channels, can be performed to its end by itself. What it leaves, counted from the iteration, is one of finitely many
states. Once a state returns, all later iterations are repetitions; and from each of these states the pipeline is
drained, too. The other way round, an iteration that cannot be performed by itself is one after which a run cannot stop.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from math import inf
from typing import NamedTuple, TypeAlias

from ddg_ref.errors import ScheduleError
from ddg_ref.schedules import (
    Action,
    Program,
    Schedule,
    endless,
    existing,
    in_iteration,
    one_each,
    parts,
    source,
    target,
    text,
)
from ddg_ref.versions import Life, settled

Steps: TypeAlias = Sequence[Sequence[tuple[int, Action]]]
"""What each worker does in one iteration."""

Room: TypeAlias = Callable[[int, int], float]
"""How many messages may wait from module a to module b."""


def links(K: int) -> list[tuple[int, int]]:
    """Pairs (a, b): module a has messages for module b."""
    return [link for k in range(1, K) for link in ((k, k + 1), (k + 1, k))]


class Step(NamedTuple):
    """Module k performs an action in iteration t."""

    k: int
    t: int
    action: Action


class Operation(NamedTuple):
    """A part of a step: its message is taken, it is done, or its message is given."""

    does: str
    step: Step
    neighbour: int


def operations(K: int, t: int, program: Sequence[tuple[int, Action]]) -> Iterator[Operation]:
    """What a worker does for the actions of its modules, one after the other."""
    for k, action in program:
        step, before, after = Step(k, t, action), source(action, k, K), target(action, k, K)
        if before is not None:
            yield Operation("take", step, before)
        yield Operation("do", step, k)
        if after is not None:
            yield Operation("give", step, after)


@dataclass
class Channels:
    """The messages between K modules, as the numbers of their micro-batches; `room(a, b)` from module a to b."""

    room: Callable[[int, int], float]
    waiting: dict[tuple[int, int], deque[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.waiting = dict(self.waiting)

    def between(self, a: int, b: int) -> deque[int]:
        return self.waiting.setdefault((a, b), deque())

    def possible(self, operation: Operation) -> bool:
        """Whether the worker whose turn this is need not wait."""
        k, neighbour = operation.step.k, operation.neighbour
        if operation.does == "take":
            return bool(self.between(neighbour, k))
        return operation.does == "do" or len(self.between(k, neighbour)) < self.room(k, neighbour)

    def perform(self, operation: Operation) -> None:
        """Move the message. Raises ScheduleError if it is another one's."""
        (k, _, action), neighbour = operation.step, operation.neighbour
        if operation.does == "give":
            self.between(k, neighbour).append(action.number)
        elif operation.does == "take":
            came = self.between(neighbour, k).popleft()
            if came != action.number:
                raise ScheduleError(
                    f"{text(k, action)} (module {k}): takes a message of micro-batch {action.number} from module "
                    f"{neighbour}, gets that of {came}; let both have the same order"
                )


def between_workers(steps: Steps, room: Room) -> Room:
    """The same room, but any number of messages may wait between modules of one worker."""
    worker_of = {k: worker for worker, own in enumerate(steps) for k, _ in own}
    return lambda a, b: inf if worker_of.get(a) == worker_of.get(b) else room(a, b)


def perform_flush(steps: Steps, K: int, room: Room) -> None:
    """Perform one iteration that begins with nothing in the channels. Raises ScheduleError if it does not come to its
    end, or leaves something in them."""
    channels = Channels(between_workers(steps, room))
    for _ in walk([list(operations(K, 0, own)) for own in steps], channels):
        pass
    for (a, b), numbers in channels.waiting.items():
        if numbers:
            raise ScheduleError(f"module {b} never takes what module {a} gives for micro-batch {numbers[0]}; let it")


def walk(programs: Sequence[Sequence[Operation]], channels: Channels) -> Iterator[Operation]:
    """Perform what the workers have to do: all of it, in an order in which it can happen.

    Raises ScheduleError, which names the first action that never can and what its worker waits for.
    """
    left = [deque(program) for program in programs]
    worker_of = {operation.step.k: worker for worker, program in enumerate(programs) for operation in program}
    turns = deque(range(len(left)))  # a worker gets another one for each message that a neighbour has moved
    while turns:
        program = left[turns.popleft()]
        while program and channels.possible(program[0]):
            operation = program.popleft()
            channels.perform(operation)
            yield operation
            if operation.does != "do" and operation.neighbour in worker_of:
                turns.append(worker_of[operation.neighbour])
    blocked = [program[0] for program in left if program]
    if blocked:
        raise ScheduleError(_why(min(blocked, key=lambda operation: (operation.step.t, operation.step.k)), channels))


def _why(operation: Operation, channels: Channels) -> str:
    (k, t, action), neighbour = operation.step, operation.neighbour
    what = "activation" if (operation.does == "take") == (neighbour < k) else "error gradient"
    if operation.does == "take":
        waits = f"it waits for the {what} of micro-batch {action.number} from module {neighbour}"
    else:
        room = channels.room(k, neighbour)
        waits = f"it waits for room for its {what}, where {room:g} may lie before module {neighbour} takes them"
    return f"{text(k, action)} (module {k}, iteration {t}) can never happen: {waits}; correct the order"


State = tuple[object, ...]


class Proof(NamedTuple):
    """What `check` has found: from which iteration on the schedule repeats itself, and after how many it does."""

    settled: int
    period: int
    waiting: dict[tuple[int, int], int]
    """The most messages from one module to another that wait between two iterations."""


def check(
    schedule: Schedule, K: int, M: int = 1, capacity: float | Room = 2, programs: Sequence[Program] = ()
) -> Proof:
    """Prove that workers that follow `schedule` never block each other, wherever a run is stopped or drained.

    Each module has a worker, or `programs` says which one has which modules, and in which order it does what the
    schedule says of them. A channel holds `capacity` messages, or capacity(a, b) from module a to module b, and any
    number between modules of one worker. Raises ScheduleError with the
    first action that can never happen, or that meets what it should not, and for a schedule that does not begin
    iteration t with the forward passes of batch t, or is not the same in all iterations.
    """
    check_form(schedule, K, M)
    workers = programs or one_each(schedule, K, M)
    room = between_workers(in_iteration(workers, 0), capacity if callable(capacity) else lambda a, b: capacity)
    channels, modules = Channels(room), [Life(k, M) for k in range(1, K + 1)]
    seen: dict[State, int] = {}
    most: dict[tuple[int, int], int] = {}
    for t in range(10 * settled(K)):
        state = _state(channels, modules, t, M)
        if state in seen:
            return Proof(seen[state], t - seen[state], most)
        seen[state] = t
        _drain(workers, channels, modules, t, M)
        _iterate(workers, channels, modules, t, M, endless(M))
        for link, numbers in channels.waiting.items():
            most[link] = max(most.get(link, 0), len(numbers))
    fullest = max(modules, key=lambda life: life.size)
    raise ScheduleError(
        f"expected a schedule that repeats itself, got one by which module {fullest.k} still has {fullest.size} "
        f"micro-batches to do with after {t + 1} iterations; let it run backward on as many as it runs forward on"
    )


def check_form(schedule: Schedule, K: int, M: int) -> None:
    """Raise ScheduleError unless each module's actions have the form on which engines and checkpoints build: training
    may stop before a batch, batches enter in order and whole, and no backward pass is half done between two iterations.
    """
    wanted = list(parts(0, M))
    for k in range(1, K + 1):
        planned = schedule(k, K, 0, M)
        numbers = {kind: [action.number for action in planned if action.kind == kind] for kind in "FIW"}
        if numbers["F"] != wanted or planned[0].kind != "F":
            raise ScheduleError(
                f"module {k}: expected iterations that begin with a forward pass, and go forward on micro-batches "
                f"{wanted} of iteration 0, got {' '.join(text(k, action) for action in planned)}; correct the order"
            )
        if sorted(numbers["I"]) != sorted(numbers["W"]):
            raise ScheduleError(
                f"module {k}: expected both halves of a backward pass in one iteration, since a checkpoint between two "
                f"iterations holds none, got I of micro-batches {numbers['I']} and W of {numbers['W']}; correct the "
                "order"
            )
        for t in range(1, settled(K)):
            moved = [Action(kind, number + (t if kind == "U" else t * M)) for kind, number in planned]
            if list(schedule(k, K, t, M)) != moved:
                raise ScheduleError(
                    f"module {k}: expected the same actions in every iteration, iteration {t} has others"
                )


@cache
def rooms(
    schedule: Schedule, K: int, M: int, capacity: int, programs: Sequence[Program] = ()
) -> list[tuple[float, float]]:
    """How many messages the channels hold at each boundary, activations and error gradients: `capacity`, or as many as
    wait there between two iterations, or where workers would block each other with so few, twice as many, and so on.

    Any number between modules of one worker. Raises ScheduleError if they would block each other all the same.
    """
    waiting = check(schedule, K, M, inf, programs).waiting
    enough = M + max(waiting.values(), default=0)  # no iteration gives more
    while True:
        room = {link: max(capacity, waiting.get(link, 0)) for link in links(K)}
        try:
            check(schedule, K, M, lambda a, b: room[a, b], programs)  # noqa: B023
        except ScheduleError:
            if capacity >= enough:
                raise
            capacity *= 2
        else:
            break
    workers = programs or one_each(schedule, K, M)
    found = between_workers(in_iteration(workers, 0), lambda a, b: room[a, b])
    return [(found(k, k + 1), found(k + 1, k)) for k in range(1, K)]


def _iterate(
    workers: Sequence[Program],
    channels: Channels,
    modules: list[Life],
    t: int,
    M: int,
    count: Callable[[int], int],
) -> None:
    K = len(modules)
    actions = [[(k, action) for k, action in own(t) if existing([action], M, count)] for own in workers]
    programs = [list(operations(K, t, own)) for own in actions]
    for does, step, _ in walk(programs, channels):
        if does == "do":
            modules[step.k - 1].perform(t, step.action)


def _drain(workers: Sequence[Program], channels: Channels, modules: list[Life], t: int, M: int) -> None:
    """No batch enters from iteration t on: all that is in flight must come to its end."""
    channels = Channels(channels.room, {link: deque(numbers) for link, numbers in channels.waiting.items()})
    modules = [life.copy() for life in modules]
    for later in range(t, t + settled(len(modules))):
        if not any(life.busy for life in modules):
            return
        _iterate(workers, channels, modules, later, M, lambda batch: M if 0 <= batch < t else 0)
    for life in modules:
        if life.busy:
            raise ScheduleError(f"module {life.k}: {life.busy}; correct the schedule")


def _state(channels: Channels, modules: list[Life], t: int, M: int) -> State:
    """All that decides what can happen from iteration t on, counted from there."""
    messages = tuple(
        (link, tuple(number - t * M for number in numbers))
        for link, numbers in sorted(channels.waiting.items())
        if numbers
    )
    return (messages, *(life.since(t) for life in modules))
