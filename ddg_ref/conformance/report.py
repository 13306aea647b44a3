"""What was found about a trace: lines to print, a figure, and files that hold both."""

from collections.abc import Sequence
from pathlib import Path

from ddg_ref.conformance.catalogue import NOT_COMPARED
from ddg_ref.conformance.comparing import Comparison
from ddg_ref.conformance.search import Verdict
from ddg_ref.runs.plots import COLOURS, Picture, tidy
from ddg_ref.tools.files import write_figure, write_json, write_text

MOST_NAMES = 12
RESULT, REPORT, FIGURE = "identify.json", "identify.md", "identify.png"
LEAST = 1e-18
"""What a distance of zero is drawn as."""


def lines(verdict: Verdict) -> list[str]:
    """The answer, the shortest form of it first."""
    trace = verdict.trace
    modules = f"{trace.K} modules" if trace.K > 1 else "1 module"
    found = [f"{modules}, {trace.T} batches of {trace.x.shape[1]} samples, {trace.dtype}"]
    if verdict.methods:
        found.append(f"equal to {joined(verdict.names)} {_how(verdict)}")
    else:
        nearest = verdict.nearest
        first = nearest[0].first
        names = joined([comparison.variant.rule for comparison in nearest])
        if first is not None:
            found.append(f"not equal to any rule: nearest {names}, {first.text}")
        else:
            found.append(f"not equal to any rule: the weights are those of {names}, the running statistics are not")
        if verdict.named:
            found += [f"behaves like {name}" for name in verdict.names[:MOST_NAMES]]
            more = len(verdict.names) - MOST_NAMES
            found += [f"and {more} more that come to the same" for _ in range(more > 0)]
            found.append(f"{'each ' if len(verdict.names) > 1 else ''}{_how(verdict)}")
        else:
            found.append(f"undecided: {verdict.searched}")
    return [*found, *(f"not compared with {name}: {why}" for name, why in NOT_COMPARED.items())]


def _how(verdict: Verdict) -> str:
    if verdict.exact:
        return "bit for bit"
    largest = max(comparison.largest for comparison in verdict.named)
    allowed = max(comparison.allowed for comparison in verdict.named)
    return f"to within rounding: largest difference {largest:.2g}, tolerance {allowed:.2g}, from perturbed reruns"


def joined(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " = ".join(names)


def distances(groups: Sequence[Sequence[Comparison]]) -> Picture:
    """How far the trace is from each rule after each iteration, over how far that rule has come from the start."""
    picture = Picture(8, 4.5)
    axes = picture.add_subplot()
    for i, group in enumerate(groups):
        at: dict[int, float] = {}
        for t, distance in group[0].distances:
            at[t] = max(at.get(t, 0.0), distance)
        label = joined([comparison.variant.rule for comparison in group])
        style = ("-", "--", ":")[i // len(COLOURS) % 3]
        axes.plot(list(at), [max(d, LEAST) for d in at.values()], style, color=COLOURS[i % len(COLOURS)], label=label)
    axes.set_yscale("log")
    tidy(axes, xlabel="iteration", ylabel="distance / way gone", title="From each rule to the trace")
    picture.legend(loc="outside right upper", frameon=False, fontsize="small")
    return picture


def write(verdict: Verdict, name: str, out: Path) -> None:
    """identify.json, identify.md and identify.png in the folder `out`. Raises WriteError."""
    text = lines(verdict)
    content = {
        "trace": name,
        "methods": sorted(verdict.methods),
        "named": verdict.names,
        "exact": verdict.exact,
        "nearest": [comparison.variant.rule for comparison in verdict.nearest],
        "lines": text,
        "runs_of_the_reference": verdict.runs,
    }
    write_json(out / RESULT, content)
    body = "\n".join(f"- {line}" for line in text)
    write_text(out / REPORT, f"<!-- Made by `python -m ddg_ref identify` -->\n\n{body}\n\n![Distances]({FIGURE})\n")
    write_figure(out / FIGURE, distances(verdict.rules))
