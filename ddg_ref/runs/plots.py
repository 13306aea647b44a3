"""Pictures of runs. Every function returns a Figure that belongs to no global state and that a notebook shows."""

from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from itertools import cycle
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ddg_ref.errors import InputError
from ddg_ref.runs.run import Record, Run
from ddg_ref.runs.trace import last_iterations
from ddg_ref.simulation import Bar
from ddg_ref.timeline import WAITING, Span

# Okabe, Ito: colours that stay apart for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
PHASES = {
    "forward": "#56B4E9",
    "backward": "#E69F00",
    "input gradient": "#E69F00",
    "weight gradients": "#F0E442",
    "update": "#009E73",
    "guess": "#CC79A7",
    "learn": "#882255",
}
NUMBERED = ("forward", "backward", "input gradient", "weight gradients")
"""The phases on whose bars the batch is written."""
IDLE = "#DDDDDD"
ACTIONS = {
    "F": (PHASES["forward"], "forward"),
    "B": (PHASES["backward"], "backward"),
    "G": (PHASES["backward"], "backward, on a guess"),
    "I": (PHASES["input gradient"], "backward, error gradient"),
    "W": (PHASES["weight gradients"], "backward, parameter gradients"),
    "U": (PHASES["update"], "update"),
    "L": (PHASES["learn"], "learn"),
}
"""Colour and meaning of an action in the drawing of a schedule."""


class Picture(Figure):
    """A Figure that a notebook displays without pyplot."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), layout="constrained", dpi=120)

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def tidy(axes: Axes, **labels: Any) -> None:
    axes.set(**labels)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#EEEEEE")
    axes.set_axisbelow(True)


def learning_curves(histories: Mapping[str, Sequence[Record]]) -> Figure:
    """Loss and accuracy of each named run over its epochs: dashed in training, solid on the test set."""
    figure = Picture(9, 3.4)
    left, right = figure.subplots(1, 2)
    for (name, history), colour in zip(histories.items(), cycle(COLOURS), strict=False):
        epochs = [record.epoch for record in history]
        marker = "o" if len(history) < 3 else None
        for axes, kind in ((left, "loss"), (right, "accuracy")):
            for part, style in (("train", "--"), ("test", "-")):
                values = [getattr(record, f"{part}_{kind}") for record in history]
                label = f"{name} {part}" if len(histories) == 1 else (name if part == "test" else None)
                axes.plot(epochs, values, style, color=colour, label=label, marker=marker, markersize=3)
    tidy(left, xlabel="epoch", ylabel="loss", yscale="log")
    tidy(right, xlabel="epoch", ylabel="accuracy")
    if len(histories) > 1:
        figure.suptitle("solid: test set, dashed: training batches", fontsize="small")
    right.legend(frameon=False)
    return figure


def timeline(spans: Sequence[Span], *, title: str = "") -> Figure:
    """One row per module, module 1 at the bottom: what it computed when, with the number of the batch."""
    return timelines({title: spans})


def timelines(runs: Mapping[str, Sequence[Span]]) -> Figure:
    """A `timeline` of each named run, below each other on one scale."""
    rows = [len({span.k for span in spans}) for spans in runs.values()]
    figure = Picture(10, 0.5 + sum(0.7 + 0.5 * count for count in rows))
    panels = figure.subplots(len(rows), sharex=True, squeeze=False, height_ratios=[1.4 + count for count in rows])[:, 0]
    total = max(map(_length, runs.values()))
    for axes, (title, spans) in zip(panels, runs.items(), strict=True):
        _draw_spans(axes, spans, shortest_label=0.018 * total)
        axes.set_title(title, loc="left", fontsize="medium")
    seen = {span.phase for spans in runs.values() for span in spans}
    phases = [(phase, colour) for phase, colour in PHASES.items() if phase in seen]
    keys = [Patch(color=colour, label=phase) for phase, colour in [*phases, ("waiting", IDLE)]]
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1)}
    panels[0].legend(handles=keys, ncols=len(keys), frameon=False, fontsize="small", **place)
    panels[-1].set_xlabel("milliseconds")
    return figure


def schedule(
    bars: Sequence[Sequence[Bar]], labels: Sequence[str], name: Callable[[Bar], str], *, title: str = ""
) -> Figure:
    """A simulated schedule, one row per worker, the first one at the bottom; each action with its name."""
    shown = [[bar for bar in own if bar.stop > bar.start] for own in bars]
    count = max(len(own) for own in shown)
    figure = Picture(min(60, max(8, 0.35 * count)), 1.2 + 0.5 * len(shown))
    axes = figure.subplots()
    for worker, own in enumerate(shown):
        for bar in own:
            length = bar.stop - bar.start
            colour, phase = ACTIONS[bar.action.kind]
            axes.barh(worker, length, left=bar.start, height=0.8, color=colour, edgecolor="white", label=phase)
            axes.text(bar.start + length / 2, worker, name(bar), ha="center", va="center", fontsize=7, clip_on=True)
    seen = {bar.action.kind for own in shown for bar in own}
    keys = [Patch(color=colour, label=phase) for kind, (colour, phase) in ACTIONS.items() if kind in seen]
    axes.legend(
        handles=keys, ncols=len(keys), frameon=False, fontsize="small", loc="lower right", bbox_to_anchor=(1, 1)
    )
    tidy(axes, yticks=range(len(labels)), yticklabels=labels, xlabel="time")
    axes.set_title(title, loc="left", fontsize="medium")
    axes.grid(False)
    axes.margins(x=0.005)
    return figure


def _length(spans: Sequence[Span]) -> float:
    return max(span.stop for span in spans) - min(span.start for span in spans)


def _draw_spans(axes: Axes, spans: Sequence[Span], *, shortest_label: float) -> None:
    modules = sorted({span.k for span in spans})
    origin = min(span.start for span in spans)
    for span in spans:
        start, length = 1000 * (span.start - origin), 1000 * (span.stop - span.start)
        colour = IDLE if span.phase in WAITING else PHASES[span.phase]
        axes.barh(span.k, length, left=start, height=0.8, color=colour, linewidth=0)
        if span.phase in NUMBERED and span.stop - span.start > shortest_label:
            axes.text(start + length / 2, span.k, str(span.batch), ha="center", va="center", fontsize=8)
    tidy(axes, yticks=modules, yticklabels=[f"module {k}" for k in modules])
    axes.grid(False)
    axes.margins(x=0.005)


def plot_loss(run: Run) -> Figure:
    """Training and test loss and accuracy over the epochs."""
    return learning_curves({run.label: run.history})


def plot_timeline(run: Run, iterations: int = 6) -> Figure:
    """Who was busy when, in the last iterations. Raises InputError if the engine recorded nothing."""
    if not run.spans:
        raise InputError(f"timeline: engine {run.config.engine} recorded nothing; train with engine 'threads'")
    return timeline(last_iterations(run.spans, iterations), title=run.label)


def comparison(runs: Sequence[Run]) -> Figure:
    """Runs side by side: test accuracy over epochs, training loss over seconds, and the time of an iteration."""
    figure = Picture(12, 3.6)
    accuracy, loss, time = figure.subplots(1, 3)
    for run, colour in zip(runs, cycle(COLOURS), strict=False):
        accuracy.plot([r.epoch for r in run.history], [100 * r.test_accuracy for r in run.history], color=colour)
        loss.plot(
            [r.seconds for r in run.history],
            [r.train_loss for r in run.history],
            color=colour,
            label=run.label,
        )
        if run.milliseconds_per_iteration is not None:
            bar = time.barh(run.label, run.milliseconds_per_iteration, color=colour)
            time.bar_label(bar, fmt="%.1f", padding=3, fontsize="small")
    tidy(accuracy, xlabel="epoch", ylabel="test accuracy, %")
    tidy(loss, xlabel="seconds of training", ylabel="training loss", yscale="log")
    tidy(time, xlabel="milliseconds per iteration")
    time.grid(False)
    time.invert_yaxis()
    time.margins(x=0.15)
    loss.legend(frameon=False)
    return figure
