"""What an audit says, as tables and a figure: which assumptions hold, what each bound says, what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ddg_ref.tools.files import make_folder, write_figure, write_text
from theory import bounds
from theory.audit import Audit
from theory.figures import COLOURS, DASHES, LABELS, new_figure
from theory.tables import FORMS, markdown

FILES = ("audit.md", "audit.png")
NOTES = """
Certificates, up to rounding: f* >= 0; L is at least the L seen, M at least the M seen (both are attained at points of
this run or next to it), so a condition that fails with them fails. Estimates: that a condition holds because it did not
fail here, and the mean squared gradient, which is seen on one history and at {points} of {T} iterations. With valid L,
M and variance in place of those seen, and f* = 0, no bound is smaller than printed. Each f_i is the loss of one of
n = {n} fixed minibatches, drawn independently and uniformly; with batch norm that makes f_i well defined, while single
samples have no gradient of their own.
""".strip()


def assumptions(a: Audit) -> list[tuple[str, str, str]]:
    """(condition, what was seen, verdict)."""
    gamma_L, K = a.plan.lr * a.L, a.plan.modules
    longest = float(np.max([segment.length for segment in a.segments]))

    def step(condition: str, limit: float) -> tuple[str, str, str]:
        over = sum(a.plan.lr * segment.L > limit for segment in a.segments)
        verdict = f"fails, on {over} of {len(a.segments)} segments" if over else "not refuted"
        return condition, f"γL ≥ {gamma_L:.3g}", verdict

    unknown = "no finite M is known; not refuted"
    sample = (
        ("no such gradient (batch norm)", "undefined") if a.sample_M is None else (f"M ≥ {a.sample_M:.4g}", unknown)
    )
    return [
        step("γL ≤ 1 (Theorem 1 of the paper)", 1.0),
        step(f"γL < 2/(2K-1) = {2 / (2 * K - 1):.3g} (Theorems D0, D)", 2 / (2 * K - 1)),
        ("bounded gradients, i a minibatch", f"M ≥ {a.M:.4g}", unknown),
        ("bounded gradients, i a sample", *sample),
        (
            "distance of w and x at most γ(K-1)√M",
            f"{longest:.3g} against {a.plan.lr * (K - 1) * a.M**0.5:.3g}",
            "holds" if longest <= a.plan.lr * (K - 1) * a.M**0.5 else "M seen is too small",
        ),
    ]


def promises(a: Audit, T: int) -> dict[str, float]:
    """What each bound says of S_T with the L, M and nu^2 seen and f* = 0; Theorem D only where its step condition
    holds."""
    gamma, K = a.plan.lr, a.plan.modules
    said = {name: bound(a.A, a.L, a.M, K, gamma, T) for name, bound in FORMS.items()}
    if gamma * a.L * (K - 0.5) < 1:
        said["D"] = bounds.theorem_d(a.A, a.L, a.variance, K, gamma, T)
    return said


def bound_rows(a: Audit) -> list[tuple[str, str, str]]:
    """(statement, what it says, measured/said)."""
    names = {**LABELS, "D": "Theorem D"}
    said = promises(a, a.plan.iterations)
    rows = [(names[name], f"{value:.4g}", f"{a.S / value:.2g}") for name, value in said.items()]
    if "D" not in said:
        rows.append((names["D"], "does not apply: γL(K-1/2) ≥ 1", ""))
    return [*rows, ("M, the trivial bound", f"{a.M:.4g}", f"{a.S / a.M:.2g}"), ("measured", f"{a.S:.4g}", "1")]


def text(a: Audit) -> str:
    """The whole report in markdown."""
    p = a.plan
    segments, values = [], []
    for s in a.segments:
        point = next(point for point in a.points if point.t == s.t)
        measured = [s.length, s.secant, *s.hessian, p.lr * s.L]
        sample = "" if s.sample_M is None else f"{s.sample_M:.4g}"
        segments.append([s.t, *(f"{value:.3g}" for value in measured), sample])
        measured = [point.f, s.f_x, point.grad2, point.M, point.variance]
        values.append([s.t, *(f"{value:.3g}" for value in measured)])
    parts = [
        f"# {p.model} on {p.data}, K = {p.modules}: what the theory assumes, says, and what happened",
        f"Written by `python -m theory audit`. Engine {p.engine}, {p.iterations} iterations of SGD, γ = {p.lr:g}, "
        f"minibatches of {p.batch_size} (n = {a.n}), d = {a.d} weights, float64, seed {p.seed}.",
        NOTES.format(points=p.points, T=p.iterations, n=a.n),
        "## Assumptions",
        markdown(["condition", "seen", "verdict"], assumptions(a)),
        f"## Mean of ‖∇f(w^t)‖² over t < {p.iterations}",
        markdown(["statement", "says (with the L and M seen)", "measured/said"], bound_rows(a)),
        "![audit](audit.png)",
        "## Segments from w^t to x^t",
        markdown(
            ["t", "‖w-x‖", "secant ratio", "Hessian at w", "in the middle", "at x", "γL", "M of samples"], segments
        ),
        markdown(["t", "f(w)", "f(x)", "‖∇f(w)‖²", "max ‖∇f_i(w)‖²", "variance"], values),
    ]
    return "\n\n".join(parts) + "\n"


def figure(a: Audit) -> Figure:
    """Left: squared gradients, their running mean, and each bound on it. Right: gamma L along the run."""
    drawing, (left, right) = new_figure(9.5, panels=2)
    drawing.set_figheight(4.6)
    t = np.array([point.t for point in a.points])
    grad2 = np.array([point.grad2 for point in a.points])
    horizons = np.unique(np.geomspace(1, a.plan.iterations, 60).astype(int))
    for name in FORMS:
        said = [promises(a, int(T))[name] for T in horizons]
        left.plot(horizons, said, DASHES[name], color=COLOURS[name], label=LABELS[name], linewidth=1.8)
    left.axhline(a.M, color="grey", linewidth=1, label="M seen, the trivial bound")
    left.plot(t + 1, grad2, "o", color="0.6", markersize=3, label=r"$\|\nabla f(w^t)\|^2$")
    left.plot(t + 1, np.cumsum(grad2) / np.arange(1, len(t) + 1), color="black", label="its mean so far")
    left.set(xscale="log", yscale="log", xlabel="iterations $T$", ylabel="mean squared gradient")

    at = [segment.t for segment in a.segments]
    gamma = a.plan.lr
    hessian = [gamma * float(np.max(segment.hessian)) for segment in a.segments]
    secant = [gamma * segment.secant for segment in a.segments]
    right.plot(at, hessian, "o-", color=COLOURS["lin"], label="power iteration at w, x, and between")
    moved = [place for place, segment in enumerate(a.segments) if segment.length > 0]
    right.plot([at[i] for i in moved], [secant[i] for i in moved], "s--", color=COLOURS["sharp"], label="secant w to x")
    right.axhline(1, color=COLOURS["paper"], linewidth=1.2, label="1, as the paper's Theorem 1 assumes")
    K = a.plan.modules
    right.axhline(2 / (2 * K - 1), color="black", linestyle=":", label=r"$2/(2K-1)$, Theorems D0 and D")
    right.set(xlabel="iteration $t$", ylabel=r"lower bound of $\gamma L$", ylim=(0, None))
    for ax, columns in ((left, 2), (right, 1)):
        ax.legend(fontsize=7.5, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=columns)
    return drawing


def write(a: Audit, folder: Path) -> Path:
    """Write audit.md and audit.png into `folder` (made if missing); return the path of audit.md. Raises WriteError."""
    make_folder(folder)
    document, drawing = (folder / name for name in FILES)
    write_figure(drawing, figure(a))
    write_text(document, text(a))
    return document
