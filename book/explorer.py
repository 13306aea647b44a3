"""What the schedule explorer draws: the actions of every schedule, written for the page when the book is built."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ddg_ref import schedule_files
from ddg_ref.interleaving import interleaved, zero_bubble
from ddg_ref.methods import METHODS
from ddg_ref.schedules import Program, in_iteration, one_each
from theory.bounds import quadratic_threshold
from theory.recipe_bounds import momentum_threshold

ROOT = Path(__file__).parents[1]
LARGEST_K, PARTS = 8, (1, 2, 4, 8)
NO_THEOREM = {"ddg-current", "fr", "paci", "dni", "spectrain", "spike", "async-nesterov"}
"""What they apply is the gradient of no batch at weights that the network has had, or the step is another one."""
DELAYS, MOMENTUM = 2 * LARGEST_K, 0.9
V_SHAPED = [(2, 4), (3, 6), (4, 8)]
"""Ranks and micro-batches of the files that PyTorch wrote."""


def programs(name: str) -> Iterator[tuple[int, int, Sequence[Program]]]:
    """(K, M, what each worker does) for every K and M that the page offers; K counts workers where they have two
    stages each."""
    if name == "interleaved":
        yield from ((R, n * R, interleaved(R, 2, n * R).programs) for R in range(1, LARGEST_K + 1) for n in (1, 2))
    elif name == "zb-h1":
        yield from ((R, M, zero_bubble(R, M).programs) for R in range(1, LARGEST_K + 1) for M in PARTS)
    elif name == "zb-v":
        folder = ROOT / "tests" / "pytorch_schedules"
        yield from ((R, M, schedule_files.read(folder / f"ZBVZeroBubble-{R}-{M}.csv").programs) for R, M in V_SHAPED)
    else:
        row = METHODS[name]
        parts = PARTS if "micro_batches" in row.options else (1,)
        yield from ((K, M, one_each(row.schedule, K, M)) for K in range(1, LARGEST_K + 1) for M in parts)


TITLES = {
    **{name: row.title for name, row in METHODS.items()},
    "interleaved": "1f1b with two stages on each device",
    "zb-h1": "zero bubble, backward passes in halves",
    "zb-v": "zero bubble, two stages in a V",
}


def weights(name: str) -> str:
    """What a backward pass uses: the weights of its forward pass, those of the moment, or predicted ones."""
    if name not in METHODS:
        return "forward"
    return "predicted" if METHODS[name].forward == "predicted" else METHODS[name].weights


def data() -> dict[str, Any]:
    """All of it: per schedule, K and M, the actions of iteration 0 of each worker, `1F0` being those of module 1."""
    found = {
        name: {
            "title": title,
            "weights": weights(name),
            "exact": name not in NO_THEOREM,
            "programs": {
                f"{K},{M}": [
                    " ".join(f"{k}{action.kind}{action.number}" for k, action in own)
                    for own in in_iteration(workers, 0)
                ]
                for K, M, workers in programs(name)
            },
        }
        for name, title in TITLES.items()
    }
    limits = [[quadratic_threshold(d + 1), momentum_threshold(d + 1, MOMENTUM, False)] for d in range(DELAYS)]
    return {"schedules": found, "limits": limits}


def write(app: Any, problem: Exception | None) -> None:
    """Beside the book's other scripts."""
    if problem is None and app.builder.name == "html":
        text = json.dumps(data(), separators=(",", ":"))
        (Path(app.outdir) / "_static" / "explorer_data.js").write_text(
            f"window.SCHEDULES = {text};\n", encoding="utf-8"
        )


def setup(app: Any) -> dict[str, bool]:
    """As Sphinx loads an extension."""
    app.connect("build-finished", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
