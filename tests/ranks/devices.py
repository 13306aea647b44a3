"""On every rank: engine mpi with modules on devices, in two calls, against the reference on the same devices."""

from itertools import product

from checked import GPUS, REAL, installed
from networks import Problem, assert_same_bits, evenly, state

from ddg_ref.methods import METHODS
from ddg_ref.mpi.engine import RANK, WORLD
from ddg_ref.runs.engines import ENGINES

PLACES = [("cuda:0",), ("cuda:0", f"cuda:{1 % GPUS}"), ("cpu", "cuda:0")]


def main():
    cases = 0
    for model, method, devices in product(("mlp", "cnn"), METHODS, PLACES):
        problem = Problem(model, "adam", "float64", evenly(Problem(model).network(), WORLD.size), 5, 0, devices)
        ours, task = problem.pipeline(method), problem.task()
        end = problem.iterations + ours.delay
        for start, stop in ((0, 3), (3, end)):
            ENGINES["mpi"](ours, task, start, stop)
        assert all(isinstance(result.loss, float) for result in task.results)
        if RANK == 0:
            theirs = problem.pipeline(method)
            ENGINES["reference"](theirs, problem.task(), 0, end)
            assert_same_bits(state(ours), state(theirs))
        cases += 1
    if RANK == 0:
        print(cases, "cases agree")


if __name__ == "__main__":
    if REAL:
        main()
    else:
        with installed(GPUS):
            main()
