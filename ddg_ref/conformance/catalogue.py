"""Which rules a trace may follow, and what may be wrong with them: what the search draws from."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import ddg_ref.conformance.faults as f
from ddg_ref.conformance.comparing import Difference
from ddg_ref.conformance.faults import Fault
from ddg_ref.conformance.reference import Variant
from ddg_ref.conformance.trace import Trace
from ddg_ref.methods import METHODS
from ddg_ref.optimizers import SGD, Adam
from ddg_ref.schedules import flush, one_late_per_boundary, two_late_per_boundary

NOT_COMPARED = {
    "dni": "its synthesizers begin with random weights, which a trace does not hold",
    **dict.fromkeys(
        ("spectrain", "spike", "async-nesterov"), "a trace does not say how an optimizer is corrected for a delay"
    ),
}
"""Rows that no trace can be compared with, and why."""
USUAL_PARTS = (2, 4)
"""Micro-batches, where a trace does not say how many."""
SHIFTS = (1, 2, -1, -2)


def rules(trace: Trace) -> list[list[Variant]]:
    """All rows of METHODS with the numbers that may matter. Those of one list do the same, whatever the trace."""
    found: dict[object, list[Variant]] = {}
    N, fewest = trace.x.shape[1], trace.network.fewest_samples(trace.x.shape[2:])
    for row in METHODS.values():
        if row.name in NOT_COMPARED:
            continue
        chosen = [row]
        if "micro_batches" in row.options:
            counts = USUAL_PARTS if trace.micro_batches is None else (trace.micro_batches,)
            chosen = [replace(row, micro_batches=M) for M in counts if fewest <= N // M]
            chosen = chosen or [replace(row, micro_batches=N // fewest)]
        if "shrink" in row.options and trace.shrink is not None:
            chosen = [replace(each, shrink=trace.shrink) for each in chosen]
        for each in chosen:
            same = each.schedule, each.weights, each.stored, each.micro_batches, each.shrink
            found.setdefault(same, []).append(Variant(each))
    return list(found.values())


def everywhere(trace: Trace, variant: Variant) -> Iterator[Fault]:
    """What may be wrong with a rule from the beginning to the end of a run."""
    row, K = variant.row, trace.K
    delays = tuple(row.delay(k, K) for k in range(1, K + 1))
    if row.schedule in (flush, one_late_per_boundary, two_late_per_boundary):
        yield from _other_delays(delays, K if row.weights == "forward" else K - 1)
    late = tuple(k for k in range(1, K + 1) if delays[k - 1] > 0)
    if row.weights == "forward" and row.stored == "caches" and late:
        for modules in {late, *((k,) for k in late)}:
            yield f.CurrentWeights(modules)
    yield from _sums(trace, row.micro_batches)
    if len(set(trace.step_sizes)) > 1:
        yield from (f.OwnClock(), f.ShiftedClock(1), f.ShiftedClock(-1))
    if late or row.lag(K, K) > 0:
        yield from (f.NoDrain(), f.ZeroWarmUp(), f.ZeroDrain(), f.WrongWarmUp())
        if isinstance(trace.optimizer, Adam):
            yield f.CountedIterations()
    yield from _optimizers(trace)
    if trace.stats:
        yield from (f.StaleStatistics(), f.StatisticsTwice())


def _other_delays(delays: tuple[int, ...], last: int) -> Iterator[Fault]:
    """Those of modules up to the `last` one with which an error gradient can be there in time."""
    K = len(delays)
    groups = ({(k,) for k in range(1, last + 1)} | {tuple(range(1, n + 1)) for n in (K - 1, last)}) - {()}
    for modules in sorted(groups):
        for by in SHIFTS:
            new = tuple(d + by if k in modules else d for k, d in enumerate(delays, 1))
            if min(new) >= 0 and all(above <= below for below, above in pairwise(new)):
                yield f.OtherDelay(modules, by, new)


def _sums(trace: Trace, M: int) -> Iterator[Fault]:
    N = trace.x.shape[1]
    parts = min(M, N)
    if N > 1:
        yield f.Scaled(float(N), "gradients summed over the samples, not averaged")
    if 1 < parts != N:
        yield f.Scaled(float(parts), "gradients summed over the micro-batches, not averaged")
    if parts > 1:
        yield f.Scaled(1 / parts, "gradients divided by the number of micro-batches twice")
    if N % parts:
        yield f.PartsAlike()


def _optimizers(trace: Trace) -> Iterator[Fault]:
    optimizer = trace.optimizer
    if optimizer.weight_decay:
        yield from (f.NO_DECAY, f.DECOUPLED)
    if isinstance(optimizer, SGD) and optimizer.momentum:
        yield f.NO_MOMENTUM
        if not optimizer.nesterov and len(set(trace.step_sizes)) > 1:
            yield f.INSIDE


def there(trace: Trace, variant: Variant, difference: Difference) -> Iterator[Fault]:
    """What may be wrong with a single gradient, if that shows first in this difference."""
    for module in (difference.k, None) if trace.K > 1 else (None,):
        for kind in f.SINGLE:
            yield kind(module, difference.batch)
    # A second update with the same gradient shows in what comes after it, and there first in the highest module.
    for module in range(1, trace.K + 1) if trace.K > 1 else ():
        if (batch := difference.t - 1 - variant.row.lag(module, trace.K)) >= 0:
            yield f.Twice(module, batch)
    if difference.batch > 0:
        yield f.Twice(None, difference.batch - 1)
