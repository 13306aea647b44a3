"""`python -m benchmarks.hosts --out DIR`: what a slow link between two hosts costs backpropagation, DDG and FDG.

Milliseconds per iteration with one module on each of two hosts, for several delays of the link. The hosts are parts of
this machine, and the delay is made (`tests/hosts`, which says what that needs); computing is real, and shares this
machine's cores. Beside it stands what `ddg_ref.periods` expects of two equal modules, whose computing takes together
what an iteration of backpropagation takes without delay.
"""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from benchmarks.contenders import mlp
from benchmarks.mpi import in_two
from benchmarks.timing import take_turns
from ddg_ref.mpi import launch
from ddg_ref.periods import Times, period
from ddg_ref.runs.plots import COLOURS, Picture
from ddg_ref.tools.environment import environment
from ddg_ref.tools.files import make_folder, write_figure, write_json, write_text
from tests.hosts.pair import DISK, Pair, missing

DELAYS = (0, 5, 20)
"""Milliseconds one way."""
SCHEDULES = {"bp": "bp", "ddg": "free", "fdg": "decoupled"}
"""Method -> its name in `ddg_ref.periods`."""
WORK = in_two(mlp(64, 64, iterations=200), "9")

Found = Mapping[int, Mapping[str, list[float]]]
"""Delay -> method -> milliseconds per iteration, of each turn."""


def measure_on_ranks(repetitions: int) -> dict[str, list[float]]:
    """Method -> milliseconds per iteration, of each turn. Both ranks call it."""
    seconds = take_turns({method: WORK.ours(method, 2, "mpi") for method in SCHEDULES}, repetitions)
    return {method: [1000 * each / WORK.iterations for each in times] for method, times in seconds.items()}


def measure(delay: int, repetitions: int) -> dict[str, list[float]]:
    """The same on hosts `delay` milliseconds apart. Raises RuntimeError with what was said if that fails."""
    with Pair(delay / 1000) as pair:
        command = [sys.executable, "-m", "benchmarks.hosts", "--repetitions", str(repetitions), "--out"]
        job = pair.mpirun(*command, str(DISK))
        said = job.communicate()[1]
        if job.returncode:
            raise RuntimeError(f"the job on two hosts failed: {said}")
        return dict(json.loads((pair.disk(0) / "found.json").read_text())["milliseconds"])


def medians(found: Found) -> dict[int, dict[str, float]]:
    return {delay: {method: median(times) for method, times in by.items()} for delay, by in found.items()}


def expected(method: str, delay: float, computing: float) -> float:
    """Milliseconds per iteration, of which both modules compute for so many together."""
    return period(Times.balanced(computing / 3, 2 * computing / 3, 2, delay), SCHEDULES[method])


def table(found: Found, repetitions: int) -> str:
    """The result as a page."""
    middle = medians(found)
    computing = middle[0]["bp"]
    lines = [
        "# A slow link between two hosts",
        "",
        f"Made by `python -m benchmarks.hosts --repetitions {repetitions}`.",
        "",
        f"Milliseconds per iteration, {WORK.title}, one module on each host: median of {repetitions} turns of "
        f"{WORK.iterations} iterations (lowest to highest), and what `ddg_ref/periods.py` expects. The hosts are two "
        "parts of one machine with two cores, on which others worked too.",
        "",
        "| delay one way, ms | " + " | ".join(f"{method} | expected" for method in SCHEDULES) + " | bp over ddg |",
        "|---:" * (2 + 2 * len(SCHEDULES)) + "|",
    ]
    for delay, by in found.items():
        cells = [str(delay)]
        for method in SCHEDULES:
            times = by[method]
            cells.append(f"{median(times):.1f} ({min(times):.1f} to {max(times):.1f})")
            cells.append(f"{expected(method, delay, computing):.1f}")
        cells.append(f"{middle[delay]['bp'] / middle[delay]['ddg']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(found: Found) -> Picture:
    """Time against delay: dots measured, lines expected."""
    figure, middle = Picture(6, 3.6), medians(found)
    axes, computing = figure.subplots(), middle[0]["bp"]
    delays = [max(middle) * step / 50 for step in range(51)]
    for method, colour in zip(SCHEDULES, COLOURS, strict=False):
        times = [expected(method, delay, computing) for delay in delays]
        axes.plot(delays, times, color=colour, linewidth=1)
        axes.plot(list(middle), [by[method] for by in middle.values()], "o", color=colour, label=method)
    axes.set(xlabel="delay of the link, milliseconds one way", ylabel="milliseconds per iteration", ylim=(0, None))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, title="dots measured, lines expected", title_fontsize="small")
    return figure


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.hosts", description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=5, help="turns of each method (default 5)")
    parser.add_argument("--out", type=Path, required=True, help="directory for hosts.json, hosts.md and hosts.png")
    options = parser.parse_args()
    if options.repetitions < 1:
        parser.error(f"--repetitions: expected a whole number >= 1, got {options.repetitions}")
    if launch.rank() is not None:
        milliseconds = measure_on_ranks(options.repetitions)
        if launch.rank() == 0:
            write_json(options.out / "found.json", {"milliseconds": milliseconds})
        return
    if missing():
        parser.error(str(missing()))
    make_folder(options.out)
    found = {delay: measure(delay, options.repetitions) for delay in DELAYS}
    result = {"environment": environment(), "work": WORK.title, "repetitions": options.repetitions}
    write_json(options.out / "hosts.json", result | {"milliseconds by delay one way": found})
    page = table(found, options.repetitions)
    write_text(options.out / "hosts.md", page)
    write_figure(options.out / "hosts.png", draw(found))
    print(page, end="")


if __name__ == "__main__":
    main()
