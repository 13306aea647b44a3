"""Results as Markdown."""

from collections.abc import Iterable, Sequence
from typing import Any

from ddg_ref.experiments.published import LABEL, MARKS, SOURCE, TEST_ERROR, TEST_ERROR_BY_K, Published, speed_ups

RELATED: dict[str, tuple[tuple[str, Sequence[Published]], ...]] = {
    "resnet8": (),
    "depth": (("test error, %", TEST_ERROR),),
    "modules": (("test error, %", TEST_ERROR_BY_K), ("speed-up over bp, from seconds per epoch", speed_ups())),
    "optimizers": (),
    "staleness": (),
    "descendants": (),
}
"""The published figures for the same thing."""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def number(value: float | None, digits: int = 2) -> str:
    """As a table shows it: a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def errors(rows: Sequence[dict[str, Any]]) -> str:
    """Test errors by series."""
    heads = ("network, data", "method", "test error, %: median", "each seed", "median minus bp's", "best epoch: median")
    return table(
        heads,
        (
            (
                row["group"],
                row["series"],
                number(row["median_test_error"]),
                ", ".join(number(error) for error in row["seeds"].values()),
                "-" if row["over_bp"] is None else f"{row['over_bp']:+.2f}",
                number(row["median_best_test_error"]),
            )
            for row in rows
        ),
    )


def times(rows: Sequence[dict[str, Any]]) -> str:
    """Speed-ups beside their predictions."""
    heads = (
        "network, data",
        "method",
        "ms/iteration",
        "speed-up",
        "predicted, a core per module",
        "predicted, cores of this machine",
        "target accuracy, %",
        "seconds to target",
        "speed-up to target",
        "each seed",
    )
    return table(heads, map(time_cells, rows))


def time_cells(row: dict[str, Any]) -> Sequence[str]:
    """One line of `times`."""
    values = ("milliseconds_per_iteration", "speed_up", "predicted", "predicted_here")
    cells = [row["group"], row["series"], *(number(row[name]) for name in values)]
    if row["target"] is None:
        return [*cells, *"----"]
    reached = [number(row[name]) for name in ("seconds_to_target", "speed_up_to_target")]
    each = ", ".join(number(ratio) for ratio in row["speed_up_to_target_by_seed"])
    return [*cells, f"{100 * row['target']:.0f}", *reached, each]


def cosines(rows: Sequence[dict[str, Any]]) -> str:
    """Median cosines, a row for each way and a column for each module."""
    K = max(row["module"] for row in rows)
    found: dict[str, list[str]] = {}
    for row in rows:
        found.setdefault(row["series"], []).append(number(row["median_cosine"], 3))
    body = ([series, *values, *[""] * (K - len(values))] for series, values in found.items())
    return table(["method", *(f"module {k}" for k in range(1, K + 1))], body)


def thresholds(rows: Sequence[dict[str, Any]]) -> str:
    """The largest stable gamma L, a row for each method and momentum and a column for each K."""
    Ks = sorted({row["K"] for row in rows})
    found: dict[tuple[str, float], dict[int, float]] = {}
    for row in rows:
        found.setdefault((row["method"], row["momentum"]), {})[row["K"]] = row["stable_gamma_L"]
    heads = ["largest stable gamma L, by the theory", *(f"K={K}" for K in Ks)]
    body = ([f"{method}, momentum {m:g}", *(significant(own.get(K)) for K in Ks)] for (method, m), own in found.items())
    return table(heads, body)


def significant(value: float | None) -> str:
    """To three digits; a dash where there is none."""
    return "-" if value is None else f"{value:.3g}"


def published(what: str) -> str:
    """The published figures for the same thing, with their source."""
    if not RELATED[what]:
        return "No figures for this were found published as a table.\n"
    parts = [f"Not ours ({LABEL}). Source: {SOURCE}. {MARKS}\n"]
    for title, rows in RELATED[what]:
        body = ((row.network, row.data, row.method, str(row.K), f"{row.value:.2f}{'*' * row.rerun}") for row in rows)
        parts.append(table(("network", "data", "method", "K", title), body))
    return "\n".join(parts)


def document(what: str, title: str, scale: str, result: dict[str, Any]) -> str:
    """The whole result: ours, then what is published."""
    kinds = (("errors", errors), ("times", times), ("cosines", cosines), ("thresholds", thresholds))
    command = f"`python -m ddg_ref reproduce {what} --scale {scale}`"
    parts = [f"## {title}\n", f"Made by {command}; {settings(result)}\n"]
    parts += [show(result[kind]) for kind, show in kinds if result[kind]]
    if result["diverged"]:
        parts.append(f"Diverged, and so in no median above: {', '.join(result['diverged'])}.\n")
    parts += [f"![{title}](figure.png)\n", "### Published\n", published(what)]
    return "\n".join(parts)


def settings(result: dict[str, Any]) -> str:
    """One line: seeds, machine, and that the rest is in the JSON."""
    where, seeds = result["environment"], result["seeds"]
    over = f"medians over seeds {', '.join(map(str, seeds))}" if len(seeds) > 1 else f"seed {seeds[0]}"
    return (
        f"{over}. {where['cores']} cores, {where['platform']}, "
        f"NumPy {where['numpy']}, {where['blas']}. All settings are in result.json."
    )
