"""The figures of the report. Each returns a matplotlib Figure and needs no screen."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from theory import bounds, recipe_bounds, stability
from theory.cases import Case
from theory.claims import lemma_1_search
from theory.claims.mean_square import mean_square
from theory.delayed import ddg
from theory.tables import FORMS

COLOURS = {
    "paper": "#D55E00",
    "lin": "#0072B2",
    "clean": "#E69F00",
    "sharp": "#009E73",
    "measured": "#000000",
}
"""Okabe and Ito's palette, told apart with any colour vision."""
DASHES = {"paper": "-", "lin": "--", "clean": "-.", "sharp": ":"}
LABELS = {
    "paper": "paper, Theorem 1",
    "lin": "Theorem 1* (lin)",
    "clean": "Theorem 1* (clean)",
    "sharp": "Theorem 1* (sharp)",
}


def new_figure(width: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, 3.8), dpi=110, layout="constrained")
    axes = [figure.add_subplot(1, panels, i + 1) for i in range(panels)]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def bound_against_measured() -> Figure:
    """S_T and its four bounds, over gamma at fixed T and over T at fixed gamma; K = 3, two samples."""
    case = Case("sqrt+noise", K=3, n=2, T=12, steps="constant", gamma_L=0.1, start=1.0, seed=3)
    M = case.problem.gradient_bound()
    figure, (over_gamma, over_T) = new_figure(9.5, panels=2)

    def draw(ax: Axes, xs: list[float], cases: list[Case]) -> None:
        for name, bound in FORMS.items():
            ys = [bound(c.A, c.problem.L, M, c.K, c.gamma, c.T) for c in cases]
            ax.plot(xs, ys, DASHES[name], color=COLOURS[name], label=LABELS[name], linewidth=1.8)
        measured = [mean_square(c, ddg) for c in cases]
        ax.plot(xs, [m.mean for m in measured], "o", color="black", markersize=4, label="measured $S_T$")
        ax.fill_between(
            xs,
            [m.mean for m in measured],
            [m.mean + m.uncertainty for m in measured],
            color="black",
            alpha=0.12,
            linewidth=0,
        )
        ax.axhline(M, color="grey", linewidth=1)
        ax.set(xscale="log", yscale="log")

    steps = [float(g) for g in np.geomspace(0.005, 1.0, 13)]
    draw(over_gamma, steps, [replace(case, gamma_L=g) for g in steps])
    over_gamma.set(xlabel=r"step size $\gamma L$", ylabel=r"mean $E\|\nabla f(w^t)\|^2$")
    over_gamma.set_title(f"K = 3, T = 12, exact over all {2**12} sequences", fontsize=10)
    over_T.text(40, M * 1.15, "M, the trivial bound", color="dimgrey", fontsize=8.5)
    horizons = [1, 2, 4, 8, 12, 20, 40, 80, 160, 320]
    draw(over_T, [float(T) for T in horizons], [replace(case, T=T) for T in horizons])
    over_T.set(xlabel="iterations $T$")
    over_T.set_title(r"$\gamma L = 0.1$; T > 12: Monte Carlo and its upper limit", fontsize=10)
    handles, labels = over_gamma.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=5, fontsize=8.5, frameon=False)
    return figure


def noise_floor_over_modules(cycles: dict[int, dict[str, float]]) -> Figure:
    """What remains of each bound as T grows, in units of gamma L M, against K; and the largest S that was
    found."""
    figure, (ax,) = new_figure(6.8)
    Ks = np.arange(1, 65)
    ax.plot(Ks, 2 * (Ks + Ks**4.0), "-", color=COLOURS["paper"], label=r"paper: $2(K + K^4)$")
    ax.plot(Ks, Ks - 0.5, "--", color=COLOURS["lin"], label=r"Theorem 1* (lin): $K - 1/2$")
    sharp = [bounds.theorem_1_sharp(0.0, 1.0, 1.0, int(K), 0.01, 1) / 0.01 for K in Ks]
    ax.plot(Ks, sharp, ":", color=COLOURS["sharp"], linewidth=2, label=r"Theorem 1* (sharp) at $\gamma L = 0.01$")
    found = [cycles[K]["S"] / cycles[K]["gamma L"] for K in cycles]
    ax.plot(
        list(cycles),
        found,
        "o",
        color="black",
        markersize=5,
        label=r"measured: Huber cycle, $\gamma L \approx g^*(K)$",
    )
    ax.set(xscale="log", yscale="log", xlabel="modules $K$", ylabel=r"noise floor / ($\gamma L M$)")
    ax.xaxis.set_major_locator(FixedLocator([1, 2, 4, 8, 16, 32, 64]))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticklabels(["1", "2", "4", "8", "16", "32", "64"])
    ax.legend(fontsize=8.5, frameon=False, loc="upper left")
    return figure


COUNTEREXAMPLE = lemma_1_search.Integers(
    directions=((1, 0),), coefficients=((0,), (1,)), numerators=(1, 0), denominator=1,
    steps_per_unit=100, history=(0,),
)  # fmt: skip
"""f_1 = 0, f_2 = h(w_1), K = 2, w^0 = (1, 0), history i(0) = 1: simple enough to draw, and of the kind that
the search shrinks to."""


def counterexample() -> Figure:
    """Both sides of Lemma 1 per history over the step size, exactly, with the region in which it fails."""
    figure, (left, right) = new_figure(9.5, panels=2)
    per_unit = sorted({round(1 / g) for g in np.linspace(0.0005, 0.02, 60)} | {72})
    outcomes = [lemma_1_search.check(replace(COUNTEREXAMPLE, steps_per_unit=q), ddg) for q in per_unit]
    steps = np.array([float(Fraction(1, q)) for q in per_unit])
    measured = np.array([o.measured for o in outcomes])
    allowed = np.array([o.bound for o in outcomes])
    left.plot(1e3 * steps, 1e4 * measured, "-", color="black", label=r"$E[f(w^2)\,|\,i(0)=1] - f(w^1)$")
    left.plot(1e3 * steps, 1e4 * allowed, "--", color=COLOURS["paper"], label="Lemma 1's right side")
    left.fill_between(
        1e3 * steps,
        1e4 * allowed,
        1e4 * measured,
        where=measured > allowed,
        color=COLOURS["paper"],
        alpha=0.2,
    )
    left.set(
        xlabel=r"step size $\gamma$ ($\times 10^{-3}$)",
        ylabel=r"change of $f$ ($\times 10^{-4}$)",
        ylim=(-5, 8),
    )
    left.annotate("Lemma 1 fails here", (7, -1.6), fontsize=9, ha="center")
    left.legend(fontsize=8.5, frameon=False, loc="upper left")
    left.set_title(r"$f_1 = 0$, $f_2 = h(w_1)$, K = 2, $w^0 = (1, 0)$", fontsize=10)

    rows = (("module 2", 1), ("module 1", 0))
    for name, y in rows:
        for t in (0, 1):
            idle = name == "module 1" and t == 0
            sample = t + 1 if name == "module 2" else 1
            text = "not yet" if idle else (r"$i(1)$: 1 or 2" if sample == 2 else r"$i(0) = 1$: zero")
            face = "#eeeeee" if idle else ("#cfe8f7" if sample == 2 else "#f6d9c6")
            right.barh(y, 0.94, left=t + 0.03, height=0.62, color=face, edgecolor="black", linewidth=0.8)
            right.text(t + 0.5, y, text, ha="center", va="center", fontsize=9)
    right.set(xlim=(0, 2), ylim=(-0.9, 1.6), xticks=[0.5, 1.5], yticks=[0, 1])
    right.set_xticklabels(["iteration 0", "iteration 1"])
    right.set_yticklabels(["module 1", "module 2"])
    right.tick_params(length=0)
    right.grid(visible=False)
    moral = (
        "f depends on $w_1$ only, and module 1 applies the zero gradient\n"
        "of the sample already drawn: f cannot fall, whatever comes next"
    )
    right.text(1.0, -0.68, moral, ha="center", va="center", fontsize=8.5)
    right.set_title("gradient that each module applies", fontsize=10)
    return figure


def circular_orbit() -> Figure:
    """f = h(||w_1||), w_1 in R^2, above the threshold: the path from rest to the circle on which the gradient never
    shrinks; and what remains of S_T there, over K, between what Theorem 1* (lin) allows and a function on a line."""
    figure, (plane, over_K) = new_figure(9.5, panels=2)
    above = 1.1
    case = Case("first-circle", 3, 1, 400, "constant", above * bounds.quadratic_threshold(3), 1.5, seed=0)
    path = case.run().w[:, 0, :2]
    angles = np.linspace(0, 2 * np.pi, 400)
    circle = np.stack([np.cos(angles), np.sin(angles)])
    plane.fill(*circle, color="#cfe8f7", linewidth=0)
    plane.plot(*path[:130].T, ".-", color="dimgrey", linewidth=0.4, markersize=2.5)
    plane.plot(*(above * circle), "--", color=COLOURS["paper"], linewidth=1.4)
    plane.plot(*path[-10:].T, "o", color=COLOURS["paper"], markersize=5)
    plane.plot(*path[0], "o", color="black", markersize=5)
    plane.annotate(r"$w_1^0$", path[0], xytext=(4, 6), textcoords="offset points", fontsize=10)
    words, patch = "inside f is quadratic,\noutside its slope is 1", {"color": "#cfe8f7", "pad": 1}
    plane.text(0, -0.6, words, ha="center", va="center", fontsize=8.5, bbox=patch)
    plane.set(aspect="equal", xlabel="$w_1$, first coordinate", ylabel="$w_1$, second coordinate", xlim=(-1.35, 1.75))
    plane.set_title(r"K = 3, $\gamma L = 1.1\, g^*$: a circle of ten steps, for ever", fontsize=10)

    Ks = np.arange(1, 17)
    thresholds = np.array([bounds.quadratic_threshold(int(K)) for K in Ks])
    over_K.plot(Ks, Ks - 0.5, "--", color=COLOURS["lin"], label=r"Theorem 1* (lin) allows $K - \frac{1}{2}$")
    over_K.plot(Ks, 1 / thresholds, "-", color="black", linewidth=1.2, label=r"circle at the threshold, $1/g^*(K)$")
    for family, style, name in (("first-circle", "o", "circle"), ("first-huber", "s", "line")):
        found = [late_mean(family, K, 1.05 * bounds.quadratic_threshold(K)) for K in (1, 2, 3, 4, 6, 8, 12, 16)]
        colour = COLOURS["paper"] if name == "circle" else COLOURS["clean"]
        label = rf"measured at $1.05\, g^*$: {name}"
        over_K.plot([1, 2, 3, 4, 6, 8, 12, 16], found, style, color=colour, markersize=5, label=label)
    over_K.set(xlabel="modules $K$", ylabel=r"late mean of $\|\nabla f(w^t)\|^2$ / ($\gamma L M$)")
    over_K.set_title(r"lin is tight within $\frac{\pi}{2}$ at the threshold", fontsize=10)
    over_K.legend(fontsize=8.5, frameon=False, loc="upper left")
    return figure


def late_mean(family: str, K: int, gamma_L: float) -> float:
    """The mean of ||grad f(w^t)||^2/(gamma L M) over the last 500 of 3000 iterations, from start 1.5."""
    case = Case(family, K, 1, 3000, "constant", gamma_L, 1.5, seed=0)
    squares = (case.problem.grad(case.run().w[-500:]) ** 2).sum(axis=-1)
    return float(squares.mean()) / (gamma_L * case.problem.gradient_bound())


def stability_region() -> Figure:
    """Growth per iteration of the extremal quadratic over K and gamma L, and the threshold, which Theorem G shows to be
    that of all smooth functions."""
    figure, (ax,) = new_figure(6.8)
    steps = np.geomspace(0.05, 3.0, 140)
    growth = np.array(
        [
            [stability.spectral_radius(np.eye(1, K).T @ np.eye(1, K), _unit_blocks(K), float(g)) for g in steps]
            for K in range(1, 9)
        ]
    )
    unstable = growth > 1 + 1e-9
    shades = np.where(unstable, 1.0, 0.0)
    edges = np.geomspace(steps[0], steps[-1], len(steps) + 1)
    ax.pcolormesh(np.arange(0.5, 9), edges, shades.T, cmap="Oranges", vmin=0, vmax=2.2)
    curve = np.linspace(0.5, 8.5, 200)
    theory = 2 * np.sin(np.pi / (2 * (2 * np.maximum(curve, 1) - 1)))
    inside = curve >= 1
    ax.plot(curve[inside], theory[inside], color="black", linewidth=1.8, label=r"$2\,\sin\,\frac{\pi}{2(2K-1)}$")
    ax.plot(range(1, 9), [bounds.quadratic_threshold(K) for K in range(1, 9)], "o", color="black", markersize=4)
    ax.plot(
        curve[inside],
        2 / (2 * curve[inside] - 1),
        "--",
        color=COLOURS["lin"],
        label=r"$\frac{2}{2K-1}$: the limit of Theorem D0",
    )
    ax.set(xlabel="modules $K$", ylabel=r"step size $\gamma L$", yscale="log", xlim=(0.5, 8.5), ylim=(0.05, 3.0))
    ax.text(5.7, 1.1, r"unstable on $\frac{L}{2} w_1^2$", fontsize=10)
    ax.text(1.0, 0.075, "converges on every smooth f (Theorem G)", fontsize=10)
    ax.yaxis.set_major_locator(FixedLocator([0.1, 0.2, 0.5, 1, 2]))
    ax.set_yticklabels(["0.1", "0.2", "0.5", "1", "2"])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.grid(visible=False)
    ax.legend(fontsize=9, frameon=False, loc="upper right")
    return figure


def _unit_blocks(K: int) -> tuple[slice, ...]:
    return tuple(slice(k, k + 1) for k in range(K))


def momentum_thresholds() -> Figure:
    """g*(K, beta) over K for several momenta, in gamma L: what one delay takes from momentum."""
    figure, (heavy, look_ahead) = new_figure(9.5, panels=2)
    Ks = np.arange(1, 9)
    styles = ((0.0, "-", COLOURS["lin"]), (0.5, "--", COLOURS["clean"]), (0.9, "-.", COLOURS["paper"]))
    for ax, nesterov in ((heavy, False), (look_ahead, True)):
        for beta, dash, colour in (*styles, (0.99, ":", COLOURS["sharp"])):
            steps = [recipe_bounds.momentum_threshold(int(K), beta, nesterov) for K in Ks]
            ax.plot(Ks, steps, dash, marker="o", markersize=4, color=colour, label=rf"$\beta = {beta:g}$")
        ax.set(xlabel="modules $K$", yscale="log", ylim=(0.001, 6), xticks=Ks)
        ax.set_title("Nesterov" if nesterov else "heavy ball", fontsize=10)
    heavy.set_ylabel(r"largest stable $\gamma L$ on quadratics")
    at_rest, delayed = (recipe_bounds.momentum_threshold(K, 0.9, False) for K in (1, 2))
    heavy.annotate(
        rf"$\beta = 0.9$: one delay takes {at_rest:.1f} to {delayed:.1f}",
        (1.5, float(np.sqrt(at_rest * delayed))),
        (2.2, 2.6),
        fontsize=9,
        arrowprops={"arrowstyle": "->", "color": "black"},
    )
    handles, labels = heavy.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=8.5, frameon=False)
    return figure
