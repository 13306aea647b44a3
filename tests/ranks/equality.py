"""On every rank: engine mpi, in one call or several, with all that is in flight, against the reference."""

from itertools import pairwise, product

import numpy as np
from networks import OPTIMIZERS, Problem, assert_same_bits, evenly, state

from ddg_ref.methods import METHODS
from ddg_ref.mpi.engine import RANK, WORLD
from ddg_ref.runs.engines import ENGINES


def everything(pipeline):
    """The state, and what is in flight, by name."""
    flights = {
        f"in flight {module.k} {flight.number} {name}": array
        for module in pipeline.modules
        for flight in module.queue
        for name, array in ({"x": flight.x} | flight.params).items()
    }
    errors = {f"error {k} {batch}": dy for k, waiting in enumerate(pipeline.errors) for batch, dy in waiting}
    outputs = {
        f"output {k} {batch}": y
        for k, guesser in enumerate(pipeline.guessers)
        if guesser is not None
        for batch, y in guesser.outputs
    }
    return state(pipeline) | flights | errors | outputs


class Uneven(Problem):
    """Every third batch is smaller, as the last one of an epoch."""

    def batch(self, t):
        x, labels = super().batch(t)
        return (x[:2], labels[:2]) if t % 3 == 2 else (x, labels)


def main():
    cases = 0
    for model, optimizer, iterations, method, drain in product(
        ("mlp", "cnn", "resnet"), OPTIMIZERS, (0, 1, 2, 7), METHODS, (True, False)
    ):
        if (model != "mlp" or method not in ("bp", "ddg")) and optimizer not in ("adam", "momentum"):
            continue
        dtype = "float32" if iterations == 7 else "float64"
        problem = Uneven(model, optimizer, dtype, evenly(Problem(model).network(), WORLD.size), iterations)
        ours, task = problem.pipeline(method), problem.task()
        end = iterations + (ours.delay if drain else 0)
        pauses = sorted({0, end, *([min(1, end), min(3, end)] if optimizer == "adam" else [])})
        for start, stop in pairwise(pauses):
            reached, spans = ENGINES["mpi"](ours, task, start, stop)
            assert reached == stop
            assert {span.k for span in spans} >= ({1, 2} if RANK == 0 and stop <= iterations else set())
        assert [result.iteration for result in task.results] == list(range(iterations))
        if RANK == 0:
            theirs, expected = problem.pipeline(method), problem.task()
            ENGINES["reference"](theirs, expected, 0, end)
            assert_same_bits(everything(ours), everything(theirs))
            untimed = [[result._replace(finished=0) for result in t.results] for t in (task, expected)]
            assert untimed[0] == untimed[1]
        cases += 1

    for method in METHODS:
        stopped_by_rank_0_alone(method)
        cases += 1
    if RANK == 0:
        print(cases, "cases agree")


def stopped_by_rank_0_alone(method):
    problem = Problem(cuts=evenly(Problem().network(), WORLD.size), iterations=9)
    ours, task = problem.pipeline(method), problem.task()

    def stop_at_5(t):
        task.stop_requested = t == 4

    task.on_batch = stop_at_5 if RANK == 0 else task.on_batch
    assert ENGINES["mpi"](ours, task, 0, 9).iteration == 5
    assert [result.iteration for result in task.results] == list(range(5))
    task.stop_requested = False
    assert ENGINES["mpi"](ours, task, 5, 9 + ours.delay).iteration == 9 + ours.delay
    if RANK == 0:
        assert_same_bits(everything(ours), everything(problem.run("reference", method)))
        assert np.isfinite(task.results[-1].loss)


main()
