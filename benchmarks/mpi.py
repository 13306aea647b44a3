"""`python -m benchmarks.mpi`: how much faster DDG trains on two MPI ranks, and on two threads, than backpropagation.

Narrow layers spend their time in Python, where threads wait for one another's interpreter lock and processes do not.
"""

import json
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.contenders import Work, digits_cnn, mlp
from benchmarks.timing import Contender, Ratio, ratio, take_turns
from ddg_ref.mpi import launch
from ddg_ref.runs.engines import ENGINES
from ddg_ref.tools.files import write_json

WIDTHS = (16, 32, 64, 128, 256, 512)


def in_two(work: Work, split: str) -> Work:
    """The work, cut where `split` says."""
    return replace(work, config=replace(work.config, modules=2, split=split))


def by_width(width: int) -> Work:
    """An MLP of that width, batch 128."""
    return mlp(width, 128, iterations=max(10, 5000 // width))


WORKS: dict[str, Work] = {
    # Five linear layers and three: a layer this narrow costs no more than the loss, which falls to the second module.
    "narrow": in_two(mlp(64, 64, iterations=200), "9"),
    "digits": digits_cnn(iterations=40),
    **{f"mlp-{width}": by_width(width) for width in WIDTHS},
}


def measure(work: Work, repetitions: int) -> dict[str, Ratio]:
    """Engine -> time of bp in one thread over that of ddg with K = 2. All ranks call it; rank 0's answer counts."""

    def on_rank_0(contender: Contender) -> Contender:
        return lambda: ENGINES["mpi"].once(contender)  # the other rank sleeps meanwhile

    bp = replace(work, config=replace(work.config, split="cost"))
    seconds = take_turns(
        {
            "bp": on_rank_0(bp.ours("bp", 1, "reference")),
            "threads": on_rank_0(work.ours("ddg", 2, "threads")),
            "mpi": work.ours("ddg", 2, "mpi"),
        },
        repetitions,
    )
    return {engine: ratio(seconds["bp"], seconds[engine]) for engine in ("mpi", "threads")}


def speed_ups(names: Sequence[str], repetitions: int) -> Mapping[str, Mapping[str, Ratio]]:
    """Work -> engine -> `measure`, in an MPI launch of its own."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "found.json"
        command = [
            sys.executable,
            "-m",
            "benchmarks.mpi",
            *names,
            "--repetitions",
            str(repetitions),
            "--out",
            str(path),
        ]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found = json.loads(path.read_text())
    return {name: {engine: Ratio(**r) for engine, r in found[name].items()} for name in names}


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.mpi", description=__doc__)
    parser.add_argument("names", nargs="*", default=["narrow", "digits"], help=f"some of {', '.join(WORKS)}")
    parser.add_argument("--repetitions", type=int, default=15, help="turns of each contender (default 15)")
    parser.add_argument("--out", type=Path, help="write the figures as JSON into this file")
    options = parser.parse_args()
    unknown = set(options.names) - WORKS.keys()
    if unknown or options.repetitions < 1:
        parser.error(f"expected some of {', '.join(WORKS)} and at least one repetition, got {' '.join(sys.argv[1:])}")
    if launch.rank() is None:
        sys.exit(launch.launch(2))
    found = {name: measure(WORKS[name], options.repetitions) for name in options.names}
    if launch.rank() == 0:
        report(found, options.repetitions)
        if options.out:
            figures = {name: {engine: asdict(r) for engine, r in engines.items()} for name, engines in found.items()}
            write_json(options.out, figures, kind="benchmark")


def report(found: Mapping[str, Mapping[str, Ratio]], repetitions: int) -> None:
    show = partial(print, flush=True)
    show(f"float32, ddg K=2 over bp: speed-up; medians of {repetitions} turns (lowest to highest)")
    for name, engines in found.items():
        for engine, workers in (("mpi", "ranks"), ("threads", "threads")):
            r = engines[engine]
            what = f"{WORKS[name].title}, two {workers}"
            show(f"{what:<48} {r.median:5.2f}  ({r.lowest:.2f} to {r.highest:.2f})")


if __name__ == "__main__":
    main()
