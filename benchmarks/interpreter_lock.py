"""`python3.14t -m benchmarks.interpreter_lock`: what a free-threaded Python gains without its lock.

ddg K=2 on two threads over bp on one, each in a process with the lock off and in one with it on, in turn.
"""

import json
import os
import subprocess
import sys
import sysconfig
from argparse import ArgumentParser
from collections.abc import Mapping
from statistics import median

from benchmarks.contenders import Work, digits_cnn, mlp, resnet
from benchmarks.mpi import in_two
from benchmarks.timing import ratio, take_turns
from ddg_ref.tools.environment import interpreter

WORKS: dict[str, Work] = {
    "MLP 8 x 64": in_two(mlp(64, 64, iterations=200), "count"),
    "MLP 8 x 256": in_two(mlp(256, 128, iterations=40), "count"),
    "MLP 8 x 512": in_two(mlp(512, 128, iterations=20), "count"),
    "digits CNN": digits_cnn(iterations=40),
    "ResNet-8": resnet(8, 64),
}
LOCKS = {"off": "0", "on": "1"}


def speed_ups(repetitions: int) -> dict[str, float]:
    """Work -> speed-up of ddg over bp, in this process."""
    found = {}
    for name, work in WORKS.items():
        contenders = {"bp": work.ours("bp", 1, "reference"), "ddg": work.ours("ddg", 2, "threads")}
        seconds = take_turns(contenders, repetitions)
        found[name] = ratio(seconds["bp"], seconds["ddg"]).median
    return found


def in_a_process(lock: str, repetitions: int) -> dict[str, float]:
    """The same in a process of its own, with the lock on or off."""
    command = [sys.executable, "-m", "benchmarks.interpreter_lock", "--here", "--repetitions", str(repetitions)]
    environment = {**os.environ, "PYTHON_GIL": LOCKS[lock], "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def table(found: Mapping[str, list[dict[str, float]]]) -> str:
    """In Markdown: medians over the processes (lowest to highest)."""
    lines = ["| ddg K=2 over bp | lock on | lock off |", "|---|---|---|"]
    for name in WORKS:
        cells = []
        for lock in ("on", "off"):
            values = [each[name] for each in found[lock]]
            cells.append(f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f})")
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks.interpreter_lock", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5, help="turns in each process (default 5)")
    parser.add_argument("--processes", type=int, default=3, help="processes with the lock on and off (default 3)")
    parser.add_argument("--here", action="store_true", help="measure in this process, and print JSON")
    options = parser.parse_args()
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        parser.error(f"expected a free-threaded Python, got {interpreter()}; try python3.14t")
    if options.here:
        print(json.dumps(speed_ups(options.repetitions)))
        return
    found: dict[str, list[dict[str, float]]] = {lock: [] for lock in LOCKS}
    for _ in range(options.processes):
        for lock in LOCKS:
            found[lock].append(in_a_process(lock, options.repetitions))
    print(f"Python {interpreter()}\n\n{table(found)}")


if __name__ == "__main__":
    main()
