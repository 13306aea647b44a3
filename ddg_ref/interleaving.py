"""Schedules that say more than a function of module k can: several stages on a worker, backward passes in two halves.

Each is one flush, as a file has it (`ddg_ref.schedule_files`). R ranks, M micro-batches; a stage is a module.
"""

from collections.abc import Callable, Sequence

from ddg_ref.errors import InputError, whole
from ddg_ref.schedule_files import ScheduleFile
from ddg_ref.schedules import Action


def interleaved(ranks: int, each: int, M: int) -> ScheduleFile:
    """1F1B with `each` stages on a rank: rank r has the stages r, r + R, r + 2R, ... (Narayanan et al., SC 2021).

    R micro-batches go through all stages of a rank before the next R do; a rank goes forward as often as it takes until
    the first of them can come back, and then one forward, one backward. The pipeline is filled by stages that take
    1/each of the time, so that the bubble is that much smaller. Raises InputError unless R divides M.
    """
    R, each = whole("ranks", ranks, 1), whole("each", each, 1)
    if whole("micro_batches", M, 1) % R:
        raise InputError(f"micro_batches: expected a multiple of the {R} ranks, got {M}; choose another number")
    rows = []
    for r in range(R):
        order = [(chunk, first + m) for first in range(0, M, R) for chunk in range(each) for m in range(R)]
        forward = [(chunk * R + r + 1, Action("F", n)) for chunk, n in order]
        backward = [((each - 1 - chunk) * R + r + 1, Action("B", n)) for chunk, n in order]
        ahead = min(len(order), (each - 1) * R + (2 if each > 1 else 1) * (R - 1 - r))
        rows.append(tuple(alternating(forward, backward, ahead)))
    return ScheduleFile(tuple(rows))


def alternating(
    forward: Sequence[tuple[int, Action]], backward: Sequence[tuple[int, Action]], ahead: int
) -> list[tuple[int, Action]]:
    """So many forward, then one forward, one backward, then what is left."""
    cells = list(forward[:ahead])
    for i, back in enumerate(backward):
        cells += [*forward[ahead + i : ahead + i + 1], back]
    return cells


def zero_bubble(ranks: int, M: int) -> ScheduleFile:
    """ZB-H1: 1F1B in halves, where rank r lets the weight gradients of r micro-batches wait (Qi et al., ICLR 2024).

    So all ranks hold at most R micro-batches, as the first one does in 1F1B, and at the end, where a rank waits for
    error gradients, it has weight gradients to compute: with times F, I and W of a micro-batch it is idle for
    (R-1)(F+I-W), if W <= F, in place of (R-1)(F+I+W).
    """
    R = whole("ranks", ranks, 1)
    rows = []
    for r in range(R):
        k, forward = r + 1, [Action("F", n) for n in range(whole("micro_batches", M, 1))]
        ahead = min(M, R - 1 - r)
        actions = forward[:ahead]
        for n in range(M):
            actions += [*forward[ahead + n : ahead + n + 1], Action("I", n)]
            if n >= r:
                actions.append(Action("W", n - r))
        actions += [Action("W", n) for n in range(max(0, M - r), M)]
        rows.append(tuple((k, action) for action in actions))
    return ScheduleFile(tuple(rows))


def two_on_each(K: int, M: int) -> ScheduleFile:
    """`interleaved`, K stages on half as many ranks. Raises InputError for an odd number."""
    if whole("modules", K, 2) % 2:
        raise InputError(f"modules: expected an even number of stages, two on each rank, got {K}; choose another")
    return interleaved(K // 2, 2, M)


NAMED: dict[str, Callable[[int, int], ScheduleFile]] = {"interleaved": two_on_each, "zb-h1": zero_bubble}
"""By name, for K stages and M micro-batches."""
