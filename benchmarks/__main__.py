"""`python -m benchmarks`: how fast training is, as ratios measured side by side, beside PyTorch if it is installed."""

from argparse import ArgumentParser
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from benchmarks.contenders import Work, digits_cnn, mlp, resnet
from benchmarks.memory import memory_ratio
from benchmarks.mpi import speed_ups
from benchmarks.start import import_ratio
from benchmarks.timing import Contender, Ratio, ratio, take_turns
from ddg_ref.runs.plots import COLOURS, Picture
from ddg_ref.tools.environment import environment, interpreter
from ddg_ref.tools.files import write_figure, write_json

TORCH = find_spec("torch") is not None
TOLERANCE = 1e-9
"""How far our gradients may be from PyTorch's before timing them makes no sense."""


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    work: str
    measure: str
    ratio: Ratio
    milliseconds: dict[str, float]


def contenders_of(work: Work, ways: Mapping[str, tuple[str, int, str]], memory_formats: bool) -> dict[str, Contender]:
    """Ours by name, and PyTorch on one and two threads, images in both of its memory formats."""
    contenders = {name: work.ours(*way) for name, way in ways.items()}
    if TORCH:
        difference = work.difference_to_torch()
        print(f"{work.title}: gradients within {difference:.1e} of PyTorch's")
        if difference > TOLERANCE:
            raise SystemExit(
                f"{work.title}: expected gradients within {TOLERANCE} of PyTorch's; find the mistake first"
            )
        for threads in (1, 2):
            contenders[f"torch {threads}"] = work.torch(threads)
            if memory_formats:
                contenders[f"torch {threads} channels last"] = work.torch(threads, channels_last=True)
    return contenders


def measure(
    work: Work,
    ways: Mapping[str, tuple[str, int, str]],
    rows: list[tuple[str, str, str]],
    repetitions: int,
    *,
    memory_formats: bool = False,
) -> list[Row]:
    """Let all contenders take turns; `rows` name (what is shown, time above, time below)."""
    seconds = take_turns(contenders_of(work, ways, memory_formats), repetitions)
    per_iteration = {name: 1000 * median(times) / work.iterations for name, times in seconds.items()}
    result = []
    for text, above, below in rows:
        if below.startswith("torch"):
            formats = [name for name in seconds if name.startswith(below)]
            if not formats:
                continue
            below = min(formats, key=lambda name: per_iteration[name])
        result.append(Row(work.title, text, ratio(seconds[above], seconds[below]), per_iteration))
        print(show(result[-1]), flush=True)
    return result


def show(row: Row) -> str:
    """One line: what, the median ratio, its spread."""
    r = row.ratio
    return f"{row.work:<32} {row.measure:<58} {r.median:6.2f}  ({r.lowest:.2f} to {r.highest:.2f})"


BP, DDG, MACHINERY = ("bp", 1, "reference"), ("ddg", 2, "threads"), ("bp", 1, "threads")
SPEED_UP = ("ddg K=2, two threads, over our bp: speed-up", "bp", "ddg")


def table(repetitions: int) -> list[Row]:
    """Every row, in the order in which they are measured."""
    return [
        *measure(
            mlp(512, 128),
            {"bp": BP, "ddg": DDG, "machinery": MACHINERY},
            [
                ("bp, one thread: our time / PyTorch's, one thread", "bp", "torch 1"),
                ("ddg K=2, two threads: our time / PyTorch bp's, two threads", "ddg", "torch 2"),
                SPEED_UP,
                ("bp on engine threads, K=1 / engine reference", "machinery", "bp"),
            ],
            repetitions,
        ),
        *measure(
            resnet(8, 64),
            {"bp": BP, "ddg": DDG},
            [
                ("bp, one thread: our time / PyTorch's, one thread", "bp", "torch 1"),
                SPEED_UP,
                ("ddg K=2, two threads: our time / PyTorch bp's, one thread", "ddg", "torch 1"),
            ],
            repetitions,
            memory_formats=True,
        ),
        *digits_rows(repetitions),
        Row("import ddg_ref", "our time / import numpy's", import_ratio(repetitions), {}),
        Row("ResNet-20, batch 64, ddg K=4", "peak memory / what the algorithm must hold", memory_ratio(), {}),
    ]


def digits_rows(repetitions: int) -> list[Row]:
    """The demo's network on threads, and on MPI ranks if mpi4py is installed."""
    if not find_spec("mpi4py"):
        return measure(digits_cnn(), {"bp": BP, "ddg": DDG}, [SPEED_UP], repetitions)
    engines = speed_ups(["digits"], repetitions)["digits"]
    rows = [
        Row(digits_cnn().title, f"ddg K=2, two {workers}, over our bp: speed-up", engines[engine], {})
        for engine, workers in (("threads", "threads"), ("mpi", "MPI ranks"))
    ]
    for row in rows:
        print(show(row), flush=True)
    return rows


def draw(rows: list[Row]) -> Picture:
    """One line per row: the median as a dot, lowest to highest as a bar, on a logarithmic scale around 1."""
    figure = Picture(9, 0.8 + 0.34 * len(rows))
    axes = figure.subplots()
    for place, row in enumerate(rows):
        r, faster = row.ratio, "speed-up" in row.measure
        colour = COLOURS[2 if faster else 0]
        axes.plot([r.lowest, r.highest], [place, place], color=colour, linewidth=4, alpha=0.3, solid_capstyle="round")
        axes.plot(r.median, place, "o", color=colour)
        axes.annotate(f"{r.median:.2f}", (r.highest, place), (6, 0), textcoords="offset points", va="center", size=8)
    axes.set_yticks(range(len(rows)), [f"{row.work}: {row.measure}" for row in rows], fontsize=8)
    axes.set_xscale("log")
    ticks = (0.5, 0.7, 1, 1.4, 2, 2.8)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.minorticks_off()
    axes.axvline(1, color="#BBBBBB", linewidth=0.8)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("ratio: speed-ups green (more is better), times and memory blue (less is better)", fontsize=8)
    return figure


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=11, help="turns of each contender (default 11)")
    parser.add_argument("--out", type=Path, help="directory for benchmarks.json and benchmarks.png")
    options = parser.parse_args()
    if options.repetitions < 1:
        parser.error(f"--repetitions: expected a whole number >= 1, got {options.repetitions}")
    print(f"Python {interpreter()}")
    if not TORCH:
        print("PyTorch is not installed: rows that need it are left out (pip install -r requirements-bench.txt)")
    rows = table(options.repetitions)
    print(f"\nfloat32, BLAS one thread per worker; medians of {options.repetitions} turns (lowest to highest)")
    for row in rows:
        print(show(row))
    if options.out:
        result = {"environment": environment(), "repetitions": options.repetitions, "rows": [asdict(r) for r in rows]}
        options.out.mkdir(parents=True, exist_ok=True)
        write_json(options.out / "benchmarks.json", result)
        write_figure(options.out / "benchmarks.png", draw(rows))


if __name__ == "__main__":
    main()
