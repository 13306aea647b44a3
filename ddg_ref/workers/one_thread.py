"""All workers in one thread, one action at a time: no clock and no lock decides anything.

Of the actions that are possible, forward passes come first, and then what is nearest the loss: so an iteration happens
in the order in which papers write it, up through all modules and down again.
"""

from collections.abc import Generator, Sequence
from contextlib import nullcontext
from math import inf

from ddg_ref.computing import computing
from ddg_ref.modules import Module, Pipeline
from ddg_ref.schedules import Action, source
from ddg_ref.task import Progress, Task
from ddg_ref.workers.channel import StopSignal
from ddg_ref.workers.link import Link, ends, settle
from ddg_ref.workers.worker import in_turn, work


class Turn:
    """A worker that waits for its turn: its next action and whose it is, None once it has come to the end."""

    def __init__(self, modules: Sequence[Module], steps: Generator[tuple[int, Action], None, int]) -> None:
        self._devices, self._steps = {module.k: module.device for module in modules}, steps
        self.next: tuple[int, Action] | None = None
        self.reached = 0
        self.advance()

    def advance(self) -> None:
        """Perform the next action."""
        try:
            with self._devices[self.next[0]].opened() if self.next else nullcontext():
                self.next = next(self._steps)
        except StopIteration as end:
            self.next, self.reached = None, end.value

    def possible(self, links: list[Link]) -> bool:
        """Whether there is a next action, and the message that it takes is there."""
        if self.next is None:
            return False
        k, action = self.next
        neighbour = source(action, k, len(links) + 1)
        if neighbour is None:
            return True
        return bool(links[k - 2].activations if neighbour < k else links[k - 1].errors)

    @property
    def place(self) -> tuple[bool, int]:
        """Where the next action comes in the order."""
        assert self.next is not None
        k, action = self.next
        return action.kind != "F", -k


def run(pipeline: Pipeline, task: Task, start: int, stop: int) -> Progress:
    """Iterations start, ..., stop-1. From `task.iterations` on no batch enters any more: the pipeline drains.

    Raises DivergenceError, and whatever a layer raises.
    """
    signal = StopSignal()  # which nobody sets
    links = [Link(pipeline, module.k, (inf, inf), signal) for module in pipeline.modules[:-1]]
    sides = ends(pipeline, task, links, signal)
    with computing():
        turns = []
        for program in pipeline.programs:
            modules = pipeline.crew(program)
            works = [
                work(module, *sides[module.k - 1], task, start, stop, lambda phase, iteration, batch: None)
                for module in modules
            ]
            turns.append(Turn(modules, in_turn(modules, works, program, start, stop)))
        while ready := [turn for turn in turns if turn.possible(links)]:
            min(ready, key=lambda turn: turn.place).advance()
    settle(pipeline)
    return Progress(turns[0].reached, [])
