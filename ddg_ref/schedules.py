"""Schedules: who does what when, as data.

A worker performs *actions*, one after the other. A schedule is a pure function that says which ones module k of K
performs in iteration t, when each batch is split into M micro-batches:

    schedule(k, K, t, M) -> [Action, ...]

A message is taken just before the action that needs it and given just after the action that made it. Everything else
follows from the list: how old an error gradient is, which weights a batch meets and how many of them are kept
(`ddg_ref.versions`), whether the workers can ever block each other (`ddg_ref.deadlock`), and how long an iteration
takes (`ddg_ref.simulation`). A file may hold a schedule, too (`ddg_ref.schedule_files`). What a schedule names of
batches that do not exist, before the first or after the last one, is left out (`existing`): that is the pipeline's
warm-up and its drain.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple, TypeAlias

Kind: TypeAlias = Literal["F", "B", "I", "W", "U", "G", "L"]


class Action(NamedTuple):
    """One thing that a module does.

    F   forward pass of a micro-batch: takes its activation from the left, gives its own to the right.
    B   backward pass: takes the error gradient from the right, gives its own to the left.
    I   the half of a backward pass that others wait for, the error gradient: as B, but without parameter gradients.
    W   the other half, at any time later: these.
    U   update with the gradients of all micro-batches of a batch.
    G   backward pass on a guess of the error gradient: as B, but nothing is taken.
    L   what makes the guesses learns from the error gradient, which it takes from the right.

    `number` counts micro-batches from the beginning of training: part m of batch t has t M + m. That of U is the batch.
    """

    kind: Kind
    number: int


Schedule: TypeAlias = Callable[[int, int, int, int], Sequence[Action]]

Program: TypeAlias = Callable[[int], Sequence[tuple[int, Action]]]
"""What one worker does in iteration t: (module, action), one after the other. It may have several modules, and each
module has one worker."""


def one_each(schedule: Schedule, K: int, M: int) -> list[Program]:
    """The programs of K workers that have a module each."""

    def program(k: int, t: int) -> list[tuple[int, Action]]:
        return [(k, action) for action in schedule(k, K, t, M)]

    return [partial(program, k) for k in range(1, K + 1)]


def in_iteration(programs: Sequence[Program], t: int) -> list[Sequence[tuple[int, Action]]]:
    """What each worker does in iteration t."""
    return [program(t) for program in programs]


def owners(programs: Sequence[Program]) -> dict[int, int]:
    """Which worker, counted from 0, has which module."""
    return {k: worker for worker, program in enumerate(programs) for k, _ in program(0)}


def parts(batch: int, micro_batches: int) -> range:
    """The numbers of the micro-batches of a batch."""
    return range(batch * micro_batches, (batch + 1) * micro_batches)


# The schedules


def delayed(delay: Callable[[int, int], int]) -> Schedule:
    """Forward on batch t, backward on batch t - delay(k, K)."""

    def actions(k: int, K: int, t: int, M: int) -> list[Action]:
        batch = t - delay(k, K)
        forward = [Action("F", n) for n in parts(t, M)]
        return [*forward, *(Action("B", n) for n in parts(batch, M)), Action("U", batch)]

    return actions


flush = delayed(lambda k, K: 0)
"""All micro-batches of the batch forward, then all backward, then the update: backpropagation, with M > 1 GPipe."""

one_late_per_boundary = delayed(lambda k, K: K - k)
"""DDG: an error gradient takes an iteration to cross a boundary (Huo et al., ICML 2018, Algorithm 1)."""

two_late_per_boundary = delayed(lambda k, K: 2 * (K - k))
"""Fully decoupled: an activation takes one, too, which nobody sees who counts by each module's own iterations."""


def one_forward_one_backward(k: int, K: int, t: int, M: int) -> list[Action]:
    """1F1B with a flush: K-k forward passes ahead, then one forward, one backward (Narayanan et al., SOSP 2019).

    The same gradient as `flush`; at most K-k+1 micro-batches are in flight in place of M.
    """
    numbers, ahead = parts(t, M), min(M, K - k)
    actions = [Action("F", n) for n in numbers[:ahead]]
    for i, n in enumerate(numbers):
        actions += [Action("F", m) for m in numbers[ahead + i : ahead + i + 1]]
        actions.append(Action("B", n))
    return [*actions, Action("U", t)]


def one_late_per_micro_batch(k: int, K: int, t: int, M: int) -> list[Action]:
    """One forward, one backward, and never a flush: an error gradient takes a micro-batch to cross a boundary.

    A batch's update comes as soon as its last gradient does (PACI, arXiv 2606.07881). With M = 1 it is DDG's schedule.
    """
    actions = []
    for n in parts(t, M):
        back = n - (K - k)
        actions += [Action("F", n), Action("B", back)]
        if back % M == M - 1:
            actions.append(Action("U", back // M))
    return actions


def two_buffers(k: int, K: int, t: int, M: int) -> list[Action]:
    """The same, but all modules update together, at the end of an iteration by which the last gradient has reached all:
    the next one, if M >= K-1. So a module needs two versions of its weights (Narayanan et al., ICML 2021).
    """
    actions = [action for action in one_late_per_micro_batch(k, K, t, M) if action.kind != "U"]
    return [*actions, Action("U", t - -(-(K - 1) // M))]


def guessing(k: int, K: int, t: int, M: int) -> list[Action]:
    """Module k < K runs backward on a guess at once; the guesser learns last: the true one has had time to come."""
    if k == K:
        return list(flush(k, K, t, M))
    guessed = [Action("G", n) for n in parts(t, M)]
    learns = [Action("L", n) for n in parts(t - 1, M)]
    return [*(Action("F", n) for n in parts(t, M)), *guessed, Action("U", t), *learns]


# What follows from a schedule


def existing(actions: Sequence[Action], M: int, count: Callable[[int], int]) -> list[Action]:
    """Those of `actions` whose batch has such a part: batch b has count(b) of them, none if there is no such batch."""
    places = [(action.number, 0) if action.kind == "U" else divmod(action.number, M) for action in actions]
    parts_of = {batch: count(batch) for batch in {batch for batch, _ in places}}  # it may have to look at the batch
    return [action for action, (batch, part) in zip(actions, places, strict=True) if part < parts_of[batch]]


def endless(M: int) -> Callable[[int], int]:
    """Batches of M parts for ever, from batch 0 on."""
    return lambda batch: M if batch >= 0 else 0


def source(action: Action, k: int, K: int) -> int | None:
    """The neighbour that this action of module k takes a message from, if it takes one."""
    if action.kind == "F":
        return k - 1 if k > 1 else None
    return k + 1 if action.kind in "BIL" and k < K else None


def target(action: Action, k: int, K: int) -> int | None:
    """The neighbour that this action of module k gives a message to, if it gives one."""
    if action.kind == "F":
        return k + 1 if k < K else None
    return k - 1 if action.kind in "BIG" and k > 1 else None


def text(k: int, action: Action) -> str:
    """As the field writes it, with stages counted from 0: `1F3` is module 2, forward, micro-batch 3."""
    return f"{k - 1}{action.kind}{action.number}"
