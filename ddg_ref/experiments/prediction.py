"""The speed-up that the model of ddg_ref/periods.py predicts from the modules' times under backpropagation.

Backpropagation lets one module work at a time, so what a module takes there is what it takes alone. With these times
the model says how fast free-running DDG would be if every module had a core to itself; a machine with fewer cores
cannot be faster than its number of cores.
"""

from collections.abc import Iterable
from statistics import median

import numpy as np

from ddg_ref.periods import Times, speedup
from ddg_ref.timeline import Span

PHASES = ("forward", "backward", "update")


def phase_of(span: Span, K: int) -> str:
    """Whose work a span is: the samples belong to the first module's forward pass, the loss to the last one's."""
    if (span.phase, span.k) in (("take activation", 1), ("take error", K)):
        return "forward"
    return span.phase


def module_times(spans: Iterable[Span], K: int) -> dict[str, list[float]]:
    """Seconds of each module per phase: medians over iterations. Raises ValueError without a whole iteration."""
    seconds: dict[tuple[str, int, int], float] = {}
    for span in spans:
        key = phase_of(span, K), span.k, span.iteration
        seconds[key] = seconds.get(key, 0.0) + span.stop - span.start
    times: dict[str, list[float]] = {}
    for phase in PHASES:
        samples = [[s for (p, j, _), s in seconds.items() if (p, j) == (phase, k)] for k in range(1, K + 1)]
        if not all(samples):
            raise ValueError(f"module times: expected a whole iteration of {K} modules, got none of phase {phase}")
        times[phase] = [median(each) for each in samples]
    return times


def predicted_speed_up(times: dict[str, list[float]], cores: int | None = None) -> float:
    """Of free-running DDG over backpropagation on one device: the sum of all times over the slowest module's.

    With `cores` no more than that.
    """
    forward, backward, update = (np.array(times[phase]) for phase in PHASES)
    ideal = speedup(Times(forward, backward, update=update), "free")
    return ideal if cores is None else min(ideal, float(cores))
