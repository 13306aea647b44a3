"""The figure of each experiment, in the style of `ddg_ref.runs.plots`."""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from statistics import median
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddg_ref.experiments.results import Outcome, by_series
from ddg_ref.runs.plots import COLOURS, Picture, tidy
from ddg_ref.runs.run import Record


def draw_medians(axes: Axes, runs: Sequence[Outcome], x: str, y: Callable[[Record], float], **style: Any) -> None:
    """The median over seeds as a line, lowest to highest as a band."""
    across = np.array([[getattr(record, x) for record in run.history] for run in runs])
    values = np.array([[y(record) for record in run.history] for run in runs])
    middle = np.median(across, axis=0)
    (line,) = axes.plot(middle, np.median(values, axis=0), **style)
    if len(runs) > 1:
        axes.fill_between(
            middle, values.min(axis=0), values.max(axis=0), color=line.get_color(), alpha=0.12, linewidth=0
        )


def error(record: Record) -> float:
    """Test error in %."""
    return 100 * (1 - record.test_accuracy)


def learning_curves(outcomes: Sequence[Outcome], result: Mapping[str, Any]) -> Figure:
    """A row of panels for each group: training loss and test error over epochs."""
    series = by_series(outcomes)
    groups = list(dict.fromkeys(group for group, _ in series))
    figure = Picture(10, 3.4 * len(groups))
    for (left, right), group in zip(figure.subplots(len(groups), 2, squeeze=False), groups, strict=True):
        for (own, label), colour in zip([key for key in series if key[0] == group], cycle(COLOURS), strict=False):
            draw_medians(left, series[own, label], "epoch", lambda record: record.train_loss, color=colour)
            draw_medians(right, series[own, label], "epoch", error, color=colour, label=label)
        tidy(left, xlabel="epoch", ylabel="training loss", yscale="log")
        tidy(right, xlabel="epoch", ylabel="test error, %", ylim=(0, None))
        left.set_title(group, loc="left", fontsize="medium")
        right.legend(frameon=False, ncols=2)
    return figure


def depth(outcomes: Sequence[Outcome], result: Mapping[str, Any]) -> Figure:
    """A panel for each data set: final test error over depth, a dot per seed, lines through the medians."""
    panels: dict[str, dict[str, dict[int, list[float]]]] = {}
    for run in outcomes:
        data = run.job.group.partition(", ")[2]
        by_depth = panels.setdefault(data, {}).setdefault(run.job.series, {})
        by_depth.setdefault(run.job.options["depth"], []).append(run.test_error)
    figure = Picture(5 * len(panels), 3.4)
    for axes, (data, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        depths = sorted({d for line in lines.values() for d in line})
        for shift, ((label, line), colour) in enumerate(zip(lines.items(), cycle(COLOURS), strict=False)):
            medians = [median(errors) for errors in line.values()]
            axes.plot([depths.index(d) for d in line], medians, color=colour, label=label)
            aside = 0.015 * len(depths) * (2 * shift - len(lines) + 1)  # so that equal errors stay apart
            places = [depths.index(d) + aside for d in line]
            for place, errors in zip(places, line.values(), strict=True):
                axes.plot([place] * len(errors), errors, "o", color=colour, markersize=4, alpha=0.6)
        axes.set_xticks(range(len(depths)), [str(d) for d in depths])
        tidy(axes, xlabel="depth of the ResNet", ylabel="final test error, %", ylim=(0, None))
        axes.margins(x=0.1)
        axes.set_title(data, loc="left", fontsize="medium")
        axes.legend(frameon=False)
    return figure


def modules(outcomes: Sequence[Outcome], result: Mapping[str, Any]) -> Figure:
    """Test error over epochs; the same over seconds; measured and predicted speed-ups."""
    curves = by_series([run for run in outcomes if not run.job.timed])
    timed = by_series([run for run in outcomes if run.job.timed and not run.job.ruler])
    clocked = next(group for group, _ in timed)
    groups = list(dict.fromkeys(group for group, _ in timed))
    figure = Picture(7.2 + 3.6 * len(groups), 3.8)
    over_epochs, over_time, *bars = figure.subplots(1, 2 + len(groups))
    for axes, x, series, group in (
        (over_epochs, "epoch", curves, next(group for group, _ in curves)),
        (over_time, "seconds", timed, clocked),
    ):
        for (own, label), colour in zip([key for key in series if key[0] == group], COLOURS, strict=False):
            draw_medians(axes, series[own, label], x, error, color=colour, label=label)
        axes.set_title(group, loc="left", fontsize="medium")
    tidy(over_epochs, xlabel="epoch", ylabel="test error, %", ylim=(0, None))
    tidy(over_time, xlabel="seconds of training", ylabel="test error, %", ylim=(0, None))
    over_epochs.legend(frameon=False)
    for axes, group in zip(bars, groups, strict=True):
        speed_ups(axes, [row for row in result["times"] if row["group"] == group])
        axes.set_title(group, loc="left", fontsize="medium")
    return figure


def speed_ups(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Bars of what was measured, marks of what was predicted."""
    places = np.arange(len(rows))
    measured = [row["speed_up"] for row in rows]
    bars = axes.bar(places, measured, color=COLOURS[: len(rows)], width=0.6)
    axes.bar_label(bars, fmt="%.2f", label_type="center", color="white", fontsize="small")
    known = [(place, row["predicted"], row["predicted_here"]) for place, row in enumerate(rows) if row["predicted"]]
    spots, ideal, here = zip(*known, strict=True)
    axes.plot(spots, ideal, "_", color="#000000", markersize=22, label="predicted, a core per module")
    axes.plot(spots, here, "x", color="#000000", markersize=7, label="predicted, cores of this machine")
    axes.set_xticks(places, [row["series"] for row in rows])
    tidy(axes, ylabel="speed-up per iteration, over bp")
    axes.margins(y=0.3)
    axes.legend(frameon=False, fontsize="small", loc="upper left")


def staleness(outcomes: Sequence[Outcome], result: Mapping[str, Any]) -> Figure:
    """A panel for each way: the cosine of each module over the iterations."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in result["cosines"]:
        rows.setdefault(row["series"], []).append(row)
    figure = Picture(2.6 * len(rows), 3.2)
    panels = figure.subplots(1, len(rows), sharey=True)
    for axes, (series, own) in zip(panels, rows.items(), strict=True):
        for row, colour in zip(own, cycle(COLOURS), strict=False):
            cosines = [np.nan if value is None else value for value in row["cosines"]]
            axes.plot(row["iterations"], cosines, color=colour, label=f"module {row['module']}", linewidth=1.2)
        tidy(axes, xlabel="iteration")
        axes.set_title(series, loc="left", fontsize="medium")
    lowest = min((c for row in result["cosines"] for c in row["cosines"] if c is not None), default=0.0)
    panels[0].set(ylabel="cosine with the true gradient", ylim=(min(lowest, 0) - 0.05, 1.05))
    panels[-1].legend(frameon=False, fontsize="small", loc="lower right")
    return figure


def descendants(outcomes: Sequence[Outcome], result: Mapping[str, Any]) -> Figure:
    """A panel for each momentum: final test error over K, a dot per seed, a cross for each run that diverged, lines
    through the medians; under each K the largest stable gamma L of ddg."""
    errors = {run.job.name: run.test_error for run in outcomes}
    momenta = list(dict.fromkeys(options["momentum"] for options in result["runs"].values()))
    figure = Picture(5 * len(momenta), 3.8)
    for axes, momentum in zip(figure.subplots(1, len(momenta), sharey=True, squeeze=False)[0], momenta, strict=True):
        own = {name: o for name, o in result["runs"].items() if o["momentum"] == momentum}
        Ks = sorted({options["modules"] for options in own.values()} - {1})
        methods = list(dict.fromkeys(options["method"] for options in own.values()))
        for shift, (method, colour) in enumerate(zip(methods, cycle(COLOURS), strict=False)):
            dots: dict[int, list[float]] = {}
            aside = 0.03 * (2 * shift - len(methods) + 1)  # so that equal errors stay apart
            for name, options in own.items():
                if options["method"] == method:
                    place = -0.5 if options["modules"] == 1 else Ks.index(options["modules"])
                    axes.plot(place + aside, errors.get(name, 100.0), ".x"[name not in errors], color=colour)
                    dots.setdefault(options["modules"], []).append(errors.get(name, 100.0))
            if method == "bp":
                axes.axhline(median(dots[1]), color=colour, linestyle="dashed", label=method)
            else:
                axes.plot(np.arange(len(Ks)) + aside, [median(dots[K]) for K in Ks], color=colour, label=method)
        stable = {
            row["K"]: row["stable_gamma_L"]
            for row in result["thresholds"]
            if (row["method"], row["momentum"]) == ("ddg", momentum)
        }
        axes.set_xticks(range(len(Ks)), [f"{K}\n{stable[K]:.2g}" for K in Ks])
        tidy(axes, xlabel=f"K, and the largest stable gamma L of ddg (of bp {stable[1]:.2g})", ylim=(0, 103))
        axes.set_title(f"momentum {momentum:g}", loc="left", fontsize="medium")
    figure.axes[0].set_ylabel("final test error, %; cross: diverged")
    figure.axes[-1].legend(frameon=False)
    return figure


FIGURES: Mapping[str, Callable[[Sequence[Outcome], Mapping[str, Any]], Figure]] = {
    "resnet8": learning_curves,
    "depth": depth,
    "modules": modules,
    "optimizers": learning_curves,
    "staleness": staleness,
    "descendants": descendants,
}
