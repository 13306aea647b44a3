"""`python -m benchmarks.growth --out DIR`: how the cost of an iteration grows, and where each engine pays.

Time per iteration of backpropagation against width, batch and depth, of DDG against K; memory against K; the speed-up
of two workers against layer width. All of an MLP 8 x 256 with batch 128 unless said otherwise. Exponents are slopes of
the least-squares line in log-log coordinates.
"""

from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from itertools import cycle
from pathlib import Path
from statistics import median

import numpy as np
from matplotlib.axes import Axes

from benchmarks.contenders import Work, mlp
from benchmarks.memory import peak_memory
from benchmarks.mpi import WIDTHS as WIDTHS_OF_PAIRS
from benchmarks.mpi import speed_ups
from benchmarks.timing import take_turns
from ddg_ref.runs.plots import COLOURS, Picture
from ddg_ref.tools.environment import environment
from ddg_ref.tools.files import write_figure, write_json

WIDTHS, BATCHES, DEPTHS, MODULES = (64, 128, 256, 512, 1024), (32, 64, 128, 256, 512), (4, 8, 16, 32), (1, 2, 4, 8)


def iteration_times(works: Mapping[int, Work], way: tuple[str, int, str], repetitions: int) -> dict[int, float]:
    """Milliseconds per iteration of each work, medians over turns."""
    seconds = take_turns({str(size): work.ours(*way) for size, work in works.items()}, repetitions)
    return {size: 1000 * median(seconds[str(size)]) / work.iterations for size, work in works.items()}


def exponent(points: Mapping[int, float]) -> float:
    """Slope of log value against log size."""
    return float(np.polyfit(np.log(list(points)), np.log(list(points.values())), 1)[0])


def measure(repetitions: int) -> dict[str, dict[int, float]]:
    """Name -> size -> value."""
    bp = ("bp", 1, "reference")
    work_of: dict[str, tuple[tuple[int, ...], Callable[[int], Work]]] = {
        "width": (WIDTHS, lambda width: mlp(width, 128, iterations=5)),
        "batch": (BATCHES, lambda batch: mlp(256, batch, iterations=5)),
        "depth": (DEPTHS, lambda depth: mlp(256, 128, depth=depth, iterations=5)),
    }
    found = {
        f"milliseconds by {name}": iteration_times({size: make(size) for size in sizes}, bp, repetitions)
        for name, (sizes, make) in work_of.items()
    }
    by_modules = take_turns({str(K): mlp(256, 128).ours("ddg", K, "threads") for K in MODULES}, repetitions)
    found["milliseconds by K, ddg on threads"] = {K: 100 * median(by_modules[str(K)]) for K in MODULES}
    found["megabytes by K, ddg on threads"] = {K: peak_memory(mlp(256, 128), K)[0] / 1e6 for K in MODULES}
    pairs = speed_ups([f"mlp-{width}" for width in WIDTHS_OF_PAIRS], repetitions)
    for engine in ("threads", "mpi"):
        medians = {width: pairs[f"mlp-{width}"][engine].median for width in WIDTHS_OF_PAIRS}
        found[f"speed-up of K = 2 by width, {engine}"] = medians
    return found


def draw(found: Mapping[str, Mapping[int, float]]) -> Picture:
    """Three panels: time against size, time and memory against K, speed-up against width."""
    figure = Picture(12, 3.8)
    sizes, modules, widths = figure.subplots(1, 3)
    for (name, points), colour in zip(found.items(), cycle(COLOURS), strict=False):
        label = f"{name.split(' by ')[1]}: exponent {exponent(points):.2f}"
        if "by K" in name:
            _line(modules, points, f"{name.split()[0]} (exponent {exponent(points):.2f})", colour)
        elif "speed-up" in name:
            _line(widths, points, name.split(", ")[1], colour)
        else:
            _line(sizes, points, label, colour)
    for axes in (sizes, modules):
        axes.set_yscale("log")
    for axes in (sizes, modules, widths):
        axes.set_xscale("log", base=2)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize="small")
    sizes.set(xlabel="width, batch or depth", ylabel="milliseconds per iteration, bp", title="cost against size")
    modules.set(xlabel="K", ylabel="milliseconds, megabytes", title="ddg against K")
    widths.set(xlabel="layer width", ylabel="speed-up of ddg K = 2 over bp", title="where two workers pay")
    widths.axhline(1, color="#BBBBBB", linewidth=0.8)
    widths.set_ylim(0, 2.1)
    return figure


def _line(axes: Axes, points: Mapping[int, float], label: str, colour: str) -> None:
    axes.plot(list(points), list(points.values()), "o-", color=colour, label=label, markersize=4)


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=7, help="turns of each contender (default 7)")
    parser.add_argument("--out", type=Path, required=True, help="directory for growth.json and growth.png")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    found = measure(max(1, options.repetitions))
    result = {"environment": environment(), "repetitions": options.repetitions, "measured": found}
    write_json(options.out / "growth.json", result)
    write_figure(options.out / "growth.png", draw(found))
    for name, points in found.items():
        print(f"{name}: {', '.join(f'{size}: {value:.3g}' for size, value in points.items())}", end="")
        print("" if "speed-up" in name else f"; exponent {exponent(points):.2f}")


if __name__ == "__main__":
    main()
