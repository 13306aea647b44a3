"""How far a trace is from a run of the reference, update by update, and how far rounding alone may take it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TypeAlias

import numpy as np

from ddg_ref.arrays import Params
from ddg_ref.conformance.reference import Noise, Running, Update, Variant, history
from ddg_ref.conformance.trace import Trace, same_bits
from ddg_ref.errors import DivergenceError

MARGIN = 32
"""How many times further than the perturbed reruns go the trace may be from the reference."""
RERUNS = 3
SAME_GRADIENT = SAME_STATISTICS = 1e4
"""How many units in the last place of the largest entry gradients and running statistics may differ by."""
ULPS = 8
"""A tolerance is at least so many units in the last place of the largest weight."""

Tolerance: TypeAlias = dict[str, list[float]]
"""For each parameter, by the number of the update: how far apart two entries may be."""


@dataclass(frozen=True)
class Difference:
    """Where a trace first leaves a run: after update `number` (from 0) of module k, made in iteration t.

    `size` is the largest difference of two entries of `parameter`; infinite, and no parameter, if only one of the two
    has this update.
    """

    t: int
    k: int
    number: int
    batch: int
    parameter: str | None
    size: float
    tolerance: float
    same_gradient: bool | None = None
    """Whether the trace says that the same gradient was applied; None if it does not say."""

    @property
    def text(self) -> str:
        """In words."""
        place = f"first difference at iteration {self.t}, module {self.k}"
        if self.parameter is None:
            return f"{place}: one of the two makes no update there (its update {self.number})"
        gradient = {None: "", True: "; the gradient is the same", False: "; so is the gradient"}[self.same_gradient]
        return (
            f"{place}, parameter `{self.parameter}` (its update {self.number}, of batch {self.batch}): "
            f"{self.size:.2g}, tolerance {self.tolerance:.2g}{gradient}"
        )


@dataclass
class Comparison:
    """A trace beside a run of a variant."""

    variant: Variant
    first: Difference | None = None
    exact: bool = True
    largest: float = 0.0
    """The largest difference of two entries."""
    allowed: float = 0.0
    """The largest tolerance that was asked for."""
    distances: list[tuple[int, float]] = field(default_factory=list)
    """After each update: its iteration, and how far the module's weights are apart over how far they have come."""
    matched: int = 0
    """How many updates were equal before the first that was not."""
    same_statistics: bool = True

    @property
    def equal(self) -> bool:
        """Whether the trace is the run, up to the tolerance."""
        return self.first is None and self.same_statistics


class _Enough(Exception):  # noqa: N818 - not an error
    """The first difference is known."""


class Comparer:
    """Compares one trace with runs of variants. The tolerance of each is computed once."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self.runs = 0
        """How many runs of the reference were made."""
        self._tolerances: dict[Variant, Tolerance | None] = {}

    def tolerance(self, variant: Variant) -> Tolerance | None:
        """What rounding may do to a run of the variant, from reruns that are disturbed; None if the run diverges."""
        if variant not in self._tolerances:
            self._tolerances[variant] = self._tolerance(variant)
        return self._tolerances[variant]

    def _tolerance(self, variant: Variant) -> Tolerance | None:
        self.runs += 1 + RERUNS
        run = history(self.trace, variant)
        if run is None:
            return None
        eps = float(np.finfo(self.trace.dtype).eps)
        found: Tolerance = {name: [] for name in self.trace.initial}
        place: dict[tuple[int, int], Params] = {(update.k, update.number): update.params for update in run}
        largest: dict[tuple[str, int], float] = {}
        for seed in range(RERUNS):
            for update in history(self.trace, variant, Noise(seed, self.trace.dtype)) or []:
                for name, array in place.get((update.k, update.number), {}).items():
                    at = name, update.number
                    apart = float(abs(array - update.params[name]).max())
                    largest[at] = max(largest.get(at, 0.0), apart if np.isfinite(apart) else inf)
        for update in run:
            for name, array in update.params.items():
                before = found[name][-1] if found[name] else 0.0
                least = ULPS * eps * float(abs(array).max())
                found[name].append(max(before, least, MARGIN * largest.get((name, update.number), 0.0)))
        return found

    def compare(
        self, variant: Variant, tolerance: Tolerance | None, *, loosened: float = 1.0, whole: bool = True
    ) -> Comparison:
        """The trace beside a run; without `whole` only up to the first difference. No tolerance: to the bit."""
        self.runs += 1
        trace, found = self.trace, Comparison(variant)
        counts = [0] * trace.K

        def watch(update: Update) -> None:
            counts[update.k - 1] += 1
            self._look(found, update, tolerance, loosened)
            if found.first is not None and not whole:
                raise _Enough

        try:
            stats = Running(trace, variant, watch).run()
        except _Enough:
            found.exact = False
            return found
        except DivergenceError:
            found.exact = False
            found.first = found.first or Difference(len(trace.x), 1, counts[0], counts[0], None, inf, 0.0)
            return found
        for k, (count, versions) in enumerate(zip(counts, trace.versions, strict=True), 1):
            if count < len(versions):
                found.exact = False
                if found.first is None:
                    found.first = Difference(trace.T + variant.row.lag(k, trace.K), k, count, count, None, inf, 0.0)
        if trace.stats:
            found.same_statistics = _close(stats, trace.stats, tolerance is None)
            found.exact = found.exact and same_bits(stats, trace.stats)
        return found

    def _look(self, found: Comparison, update: Update, tolerance: Tolerance | None, loosened: float) -> None:
        k, number, trace = update.k, update.number, self.trace
        if number >= len(trace.versions[k - 1]):
            found.exact = False
            if found.first is None:
                found.first = Difference(update.t, k, number, update.batch, None, inf, 0.0)
            return
        version = trace.versions[k - 1][number]
        found.distances.append((update.t, _distance(version.params, update.params, trace.initial)))
        if same_bits(version.params, update.params):
            found.matched += found.first is None
            return
        found.exact = False
        for name, array in update.params.items():
            size = float(abs(version.params[name] - array).max())
            size = size if np.isfinite(size) else inf
            found.largest = max(found.largest, size)
            allowed = loosened * _at(tolerance[name], number) if tolerance else 0.0
            found.allowed = max(found.allowed, allowed)
            if size > allowed and found.first is None:
                found.first = Difference(
                    update.t, k, number, update.batch, name, size, allowed, self._same_gradient(update, version.update)
                )
        found.matched += found.first is None

    def _same_gradient(self, update: Update, recorded: int) -> bool | None:
        if not self.trace.gradients:
            return None
        eps = float(np.finfo(self.trace.dtype).eps)
        theirs = {name: self.trace.gradients[name][recorded] for name in update.grads}
        close = SAME_GRADIENT * eps
        return all(bool(abs(g - theirs[name]).max() <= close * float(abs(g).max())) for name, g in update.grads.items())


def _at(tolerances: Sequence[float], number: int) -> float:
    return tolerances[min(number, len(tolerances) - 1)] if tolerances else 0.0


def _close(a: Params, b: Params, exactly: bool) -> bool:
    if exactly:
        return same_bits(a, b)
    return all(
        bool(
            abs(array - b[name]).max()
            <= SAME_STATISTICS * np.finfo(array.dtype).eps * max(1.0, float(abs(array).max()))
        )
        for name, array in a.items()
    )


def _distance(trace: Params, reference: Params, initial: Params) -> float:
    apart = sum(float(((trace[name] - array) ** 2).sum()) for name, array in reference.items())
    gone = sum(float(((array - initial[name]) ** 2).sum()) for name, array in reference.items())
    return float(np.sqrt(apart / gone)) if gone else inf
