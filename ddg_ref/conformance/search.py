"""Which rule a trace follows, or what is wrong with the rule that it follows."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from math import inf

from ddg_ref.computing import computing
from ddg_ref.conformance.catalogue import everywhere, rules, there
from ddg_ref.conformance.comparing import Comparer, Comparison, Difference, Tolerance
from ddg_ref.conformance.faults import Fault
from ddg_ref.conformance.reference import Variant
from ddg_ref.conformance.trace import Trace

LOOSENED = 1000.0
"""How many times the tolerance of its rule a variant may first be away: a fault may make rounding grow faster."""
MOST_PAIRS = 2000
"""Runs of the reference for pairs of faults."""


@dataclass
class Verdict:
    """What was found about a trace."""

    trace: Trace
    rules: list[list[Comparison]]
    """Every rule beside the trace; those of one list do the same."""
    named: list[Comparison] = field(default_factory=list)
    """What explains the trace, all with the same number of faults; empty: undecided."""
    runs: int = 0
    """How many runs of the reference that took."""
    searched: str = ""
    """How far the search went, if nothing was found."""

    @property
    def names(self) -> list[str]:
        """In words, each rule and fault that explains the trace."""
        return [comparison.variant.text for comparison in self.named]

    @property
    def methods(self) -> set[str]:
        """The rows of METHODS that the trace follows, to the bit or up to rounding, with nothing wrong."""
        return {comparison.variant.row.name for comparison in self.named if not comparison.variant.faults}

    @property
    def exact(self) -> bool:
        """Whether the trace has the bits of what is named."""
        return bool(self.named) and all(comparison.exact for comparison in self.named)

    @property
    def nearest(self) -> list[Comparison]:
        """The rules that the trace leaves last."""
        return max(self.rules, key=lambda group: _nearness(group[0]))


def _nearness(comparison: Comparison) -> tuple[float, float]:
    """How many updates are as the rule has them, and then how small the distances are."""
    distances = [distance for _, distance in comparison.distances if distance < inf]
    return comparison.matched, -sum(distances) / len(distances) if distances else -inf


def identify(trace: Trace, *, faults: int = 2) -> Verdict:
    """Compare a trace with every rule, and with every rule that has up to so many `faults` of the catalogue.

    The fewest faults that explain the trace are the answer, and all explanations with as many are named. Those that
    have its bits go before those that are equal up to rounding.
    """
    search = _Search(trace)
    with computing():
        if named := search.exactly(rules(trace)):
            return search.verdict(named)
        named = [c for group in search.compared for c in group if c.equal]
        for level in (search.one, search.two)[:faults]:
            named = named or level()
    return search.verdict(named)


class _Search:
    def __init__(self, trace: Trace) -> None:
        self.trace, self.comparer = trace, Comparer(trace)
        self.compared: list[list[Comparison]] = []
        self.alone: dict[Variant, list[tuple[Fault, Comparison]]] = {}  # by rule, what one fault comes to
        self.searched = ""

    def verdict(self, named: list[Comparison]) -> Verdict:
        exact = [comparison for comparison in named if comparison.exact]
        return Verdict(self.trace, self.compared, exact or named, self.comparer.runs, "" if named else self.searched)

    def exactly(self, groups: list[list[Variant]]) -> list[Comparison]:
        """Compares all rules, each up to what rounding may do to it; those whose bits the trace has."""
        for group in groups:
            found = self.comparer.compare(group[0], self.comparer.tolerance(group[0]))
            self.compared.append([_renamed(found, variant) for variant in group])
        return [c for group in self.compared for c in group if c.exact]

    def bases(self) -> list[Comparison]:
        """One comparison for all rules that do the same."""
        return [group[0] for group in self.compared]

    def same(self, found: Comparison) -> list[Comparison]:
        """The same explanation under all names of its rule."""
        for group in self.compared:
            if group[0].variant.row == found.variant.row:
                return [_renamed(found, Variant(c.variant.row, found.variant.faults)) for c in group]
        return [found]

    def one(self) -> list[Comparison]:
        """What a single fault explains."""
        named = []
        for base in self.bases():
            rule, first = base.variant, base.first
            tolerance = self.comparer.tolerance(rule)
            places = [first] if first is not None else []
            tried = self.alone[rule] = []
            for fault in chain(everywhere(self.trace, rule), *(there(self.trace, rule, place) for place in places)):
                found = self.try_out(Variant(rule.row, (fault,)), tolerance)
                tried.append((fault, found))
                if found.equal:
                    named += self.same(found)
        return named

    def two(self) -> list[Comparison]:
        """What two faults explain: one of them must have moved the first difference, or changed what is there."""
        named: list[Comparison] = []
        for base in sorted(self.bases(), key=_nearness, reverse=True):
            tolerance = self.comparer.tolerance(base.variant)
            for pair in self.pairs(base):
                if self.comparer.runs > MOST_PAIRS:
                    self.searched = f"the search for two faults ended after {MOST_PAIRS} runs of the reference"
                    return named
                found = self.try_out(Variant(base.variant.row, pair), tolerance)
                if found.equal:
                    named += self.same(found)
        self.searched = "no rule with one or two faults of the catalogue comes to the same"
        return named

    def pairs(self, base: Comparison) -> Iterator[tuple[Fault, Fault]]:
        """Of a fault that changed something, and one of the whole run or of a gradient where it still differs."""
        tried, general = self.alone[base.variant], set(everywhere(self.trace, base.variant))
        seen: set[frozenset[Fault]] = set()
        for fault, found in tried:
            if found.first is None or not _changes(base.first, found.first):
                continue
            later = there(self.trace, base.variant, found.first) if _moved(base.first, found.first) else iter(())
            for other in chain(later, (other for other, _ in tried if fault in general or other in general)):
                pair = frozenset((fault, other))
                if len(pair) == 2 and pair not in seen:
                    seen.add(pair)
                    yield fault, other

    def try_out(self, variant: Variant, tolerance: Tolerance | None) -> Comparison:
        """The trace beside a variant: first up to the first clear difference, then, if there is none, in full."""
        found = self.comparer.compare(variant, tolerance, loosened=LOOSENED, whole=False)
        return self.comparer.compare(variant, self.comparer.tolerance(variant)) if found.first is None else found


def _changes(before: Difference | None, after: Difference) -> bool:
    """Whether a fault did anything to what differs first."""
    return before is None or (before.t, before.k, before.size) != (after.t, after.k, after.size)


def _moved(before: Difference | None, after: Difference) -> bool:
    return before is not None and (after.t, -after.k) > (before.t, -before.k)


def _renamed(found: Comparison, variant: Variant) -> Comparison:
    return replace(found, variant=variant)
