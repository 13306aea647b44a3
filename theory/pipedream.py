"""PipeDream, literally: one-forward-one-backward pipelining with weight stashing.

Narayanan et al., PipeDream: Generalized Pipeline Parallelism for DNN Training, SOSP 2019, sections 3.2 and
3.3. Written from that description, without the delays of DDG anywhere: each worker knows its list of
operations and its own weights, and waits for messages. Stage k of K first admits K - k minibatches forward,
then alternates one forward, one backward, and empties at the end. The forward of a minibatch stashes the
weights it used; its backward takes them back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from theory.checks import integer


class Stage(Protocol):
    """A module as plain functions; weights and arrays may be anything the stage understands."""

    def forward(self, w: Any, h: Any) -> tuple[Any, Any]:
        """Output, and what backward needs besides the weights."""

    def backward(self, w: Any, cache: Any, dout: Any) -> tuple[Any, Any]:
        """Gradient in the input, gradient in the weights."""


def operations(stage: int, stages: int, minibatches: int) -> Iterator[str]:
    """The 1F1B order of a stage (numbered from 0): 'F' and 'B', each `minibatches` times."""
    integer("stage", stage, 0)
    integer("stages", stages, stage + 1)
    integer("minibatches", minibatches, 0)
    ahead = min(stages - 1 - stage, minibatches)
    yield from "F" * ahead
    yield from "FB" * (minibatches - ahead)
    yield from "B" * ahead


@dataclass
class Worker:
    """One stage: its weights, the stash of those in use, and the messages that wait for it."""

    stage: Stage
    w: Any
    todo: deque[str]
    activations: deque[tuple[int, Any]] = field(default_factory=deque)
    errors: deque[tuple[int, Any]] = field(default_factory=deque)
    stash: dict[int, tuple[Any, Any]] = field(default_factory=dict)

    def ready(self) -> bool:
        """Whether the next operation has its message."""
        return bool(self.todo) and bool(self.activations if self.todo[0] == "F" else self.errors)


def pipedream(
    stages: Sequence[Stage],
    w0: Sequence[Any],
    minibatches: Sequence[Any],
    error_gradient: Callable[[int, Any], Any],
    update: Callable[[int, Any, Any, int], Any],
) -> list[list[Any]]:
    """Train on `minibatches` in order; return per stage its weights after 0, 1, .. updates.

    error_gradient(b, out) is the gradient of the loss of minibatch b in the last output; update(k, w, dw, b)
    returns new weights of stage k (from 0). Raises ValueError without stages.
    """
    K = integer("K", len(stages), 1)
    B = len(minibatches)
    workers = [Worker(stages[k], w0[k], deque(operations(k, K, B))) for k in range(K)]
    workers[0].activations.extend(enumerate(minibatches))
    history = [[w] for w in w0]
    while any(worker.todo for worker in workers):
        for k in [k for k in range(K) if workers[k].ready()]:
            me = workers[k]
            if me.todo.popleft() == "F":
                b, h = me.activations.popleft()
                out, cache = me.stage.forward(me.w, h)
                me.stash[b] = (me.w, cache)
                if k + 1 < K:
                    workers[k + 1].activations.append((b, out))
                else:
                    me.errors.append((b, error_gradient(b, out)))
            else:
                b, dout = me.errors.popleft()
                stashed, cache = me.stash.pop(b)
                dh, dw = me.stage.backward(stashed, cache, dout)
                if k > 0:
                    workers[k - 1].errors.append((b, dh))
                me.w = update(k, me.w, dw, b)
                history[k].append(me.w)
    return history
