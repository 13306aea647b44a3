"""`python -m benchmarks.mpi`: how much faster DDG trains narrow layers on two MPI ranks, and on two threads.

Narrow layers spend their time in Python, where threads wait for one another's interpreter lock and processes do not.
"""

import sys
from argparse import ArgumentParser
from dataclasses import replace

from benchmarks.contenders import mlp
from benchmarks.timing import Contender, ratio, take_turns
from ddg_ref.engines import ENGINES
from ddg_ref.workers import launch

WORK = mlp(64, 64, iterations=200)
IN_TWO = replace(WORK, config=replace(WORK.config, modules=2, split="9"))
"""Five linear layers and three: a layer this narrow costs no more than the loss, which falls to the second module."""


def on_rank_0(work: Contender) -> Contender:
    """The other rank sleeps meanwhile."""
    return lambda: ENGINES["mpi"].once(work)


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.mpi", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=15, help="turns of each contender (default 15)")
    repetitions = max(1, parser.parse_args().repetitions)
    if launch.rank() is None:
        sys.exit(launch.launch(2))
    seconds = take_turns(
        {
            "bp": on_rank_0(WORK.ours("bp", 1, "reference")),
            "threads": on_rank_0(IN_TWO.ours("ddg", 2, "threads")),
            "mpi": IN_TWO.ours("ddg", 2, "mpi"),
        },
        repetitions,
    )
    if launch.rank() == 0:
        print(f"{WORK.title}, float32, SGD; medians of {repetitions} turns (lowest to highest)")
        for engine, workers in (("mpi", "ranks"), ("threads", "threads")):
            r = ratio(seconds["bp"], seconds[engine])
            what = f"ddg K=2, two {workers}, over bp: speed-up"
            print(f"{what:<42} {r.median:5.2f}  ({r.lowest:.2f} to {r.highest:.2f})")


if __name__ == "__main__":
    main()
