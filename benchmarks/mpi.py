"""`python -m benchmarks.mpi`: how much faster DDG trains narrow layers on two MPI ranks, and on two threads.

Narrow layers spend their time in Python, where threads wait for one another's interpreter lock and processes do not.
"""

import sys
from argparse import ArgumentParser

from benchmarks.__main__ import contender, random_data
from benchmarks.timing import Contender, ratio, take_turns
from ddg_ref.engines import ENGINES
from ddg_ref.workers import launch

WIDTH, DEPTH, BATCH, ITERATIONS = 64, 8, 64, 300


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.mpi", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=11, help="turns of each contender (default 11)")
    repetitions = max(1, parser.parse_args().repetitions)
    if launch.rank() is None:
        sys.exit(launch.launch(2))
    once = ENGINES["mpi"].once

    def on_rank_0(method: str, K: int, engine: str) -> Contender:
        """The same as a contender that runs while the other rank sleeps."""
        work = contender(data, method, K, engine, WIDTH, DEPTH, BATCH, ITERATIONS)
        return lambda: once(work)

    data = random_data(WIDTH, WIDTH, 20 * BATCH)
    seconds = take_turns(
        {
            "bp": on_rank_0("bp", 1, "reference"),
            "threads": on_rank_0("ddg", 2, "threads"),
            "mpi": contender(data, "ddg", 2, "mpi", WIDTH, DEPTH, BATCH, ITERATIONS),
        },
        repetitions,
    )
    if launch.rank() == 0:
        print(f"MLP {DEPTH} x {WIDTH}, batch {BATCH}, float32, SGD; medians of {repetitions} turns (lowest to highest)")
        for engine, workers in (("mpi", "ranks"), ("threads", "threads")):
            r = ratio(seconds["bp"], seconds[engine])
            print(f"bp, one process / ddg K=2, two {workers:<8} {r.median:.2f}  ({r.lowest:.2f} to {r.highest:.2f})")


if __name__ == "__main__":
    main()
