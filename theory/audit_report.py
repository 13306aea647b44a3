"""What an audit says, as tables and a figure: which assumptions hold, what each bound says, what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ddg_ref.tools.files import make_folder, write_figure, write_text
from theory import bounds, recipe_bounds
from theory.audit import Audit, Plan
from theory.figures import COLOURS, DASHES, LABELS, new_figure
from theory.tables import markdown

FILES = ("audit.md", "audit.png")
NOTES = """
Certificates, up to rounding: f* >= 0; L is at least the L seen, M at least the M seen (both are attained at points of
this run or next to it), so a condition that fails with them fails. Estimates: that a condition holds because it did not
fail here, and the mean squared gradient, which is seen on one history and at {points} of {T} iterations. With valid L,
M and variance in place of those seen, and f* = 0, no bound is smaller than printed. Each f_i is the loss of one of
n = {n} fixed minibatches; with batch norm that makes f_i well defined, while single samples have no gradient of their
own. L is that of f where sampling is independent; for epochs the theorems ask for that of every f_i, which is larger.
""".strip()
NAMES = {**LABELS, "D": "Theorem D", "M2": "Theorem M2, of the momentum average", "R1": "Theorem R1"}


def theorem(plan: Plan) -> str:
    """Which theorem is about this run: PROOFS.md."""
    if plan.sampling == "epochs":
        return "Theorem R4 (section 10: epochs, in any order), with a constant step Theorem R1"
    if plan.momentum:
        return "Theorem M1 (section 9: momentum), and without bounded gradients M2"
    return "Theorem 1* (section 3), and without bounded gradients Theorem D (section 5)"


def limits(a: Audit) -> list[tuple[str, float]]:
    """What statements ask gamma L to be below, the run's own and, beside it, without momentum and without delay."""
    plan, K, rest = a.plan, a.plan.modules, 1 - a.plan.momentum
    momentum = plan.momentum, plan.nesterov
    rows = [("M3, quadratics: this delay, this momentum", recipe_bounds.momentum_threshold(K, *momentum))]
    if plan.momentum:
        rows.append(("the same delay without momentum", bounds.quadratic_threshold(K)))
    if K > 1:
        rows.append(("this momentum without delay", recipe_bounds.momentum_threshold(1, *momentum)))
    rows.append(("M2 (D0, D): any smooth f", rest * 2 / (2 * K - 1)))
    if plan.sampling == "epochs":
        rows.append(("R1, R4: epochs in any order", rest / a.n))
    return rows


def limit_rows(a: Audit) -> list[tuple[str, str, str, str, str]]:
    """(statement, its limit, gamma L as seen at the start and where it was largest, verdict)."""
    seen = [a.plan.lr * segment.L for segment in a.segments]
    low, high = seen[0], float(np.max(seen))
    rows = []
    for name, limit in limits(a):
        over = sum(value > limit for value in seen)
        verdict = f"above it on {over} of {len(seen)} segments" if over else "not refuted"
        rows.append((name, f"{limit:.3g}", f"{low:.3g}", f"{high:.3g}", verdict))
    return rows


def assumptions(a: Audit) -> list[tuple[str, str, str]]:
    """(condition, what was seen, verdict)."""
    gamma_L, K = a.plan.lr * a.L, a.plan.modules
    reach = a.plan.eta * (K - 1) * a.M**0.5
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
            "distance of w and x at most η(K-1)√M, η = γ/(1-β)",
            f"{longest:.3g} against {reach:.3g}",
            "holds" if longest <= reach else "M seen is too small",
        ),
    ]


def promises(a: Audit, T: int) -> dict[str, float]:
    """What each bound says of S_T with the L, M and nu^2 seen and f* = 0, where it is about this run; M2 bounds the
    momentum average, Theorem D if there is no momentum, and R1 both only where their step conditions hold."""
    plan, K, constants = a.plan, a.plan.modules, (a.A, a.L, a.M, a.plan.modules)
    beta, momentum, said = plan.momentum, (plan.momentum, plan.nesterov), {}
    if plan.sampling == "epochs":
        if plan.eta * a.L * a.n <= 1:
            said["R1"] = recipe_bounds.any_order_weights(*constants, plan.eta, a.n, T, beta)
        return said
    if not beta:
        said["paper"] = bounds.theorem_1(*constants, plan.lr, T)
    said["lin"] = recipe_bounds.momentum_lin(*constants, plan.eta, T, *momentum)
    said["clean"] = recipe_bounds.momentum_clean(*constants, plan.eta, T, *momentum)
    said["sharp"] = recipe_bounds.momentum_sharp(*constants, plan.eta, T, *momentum)
    if plan.eta * a.L * (K - 0.5) < 1:
        said["M2" if beta else "D"] = recipe_bounds.momentum_d(a.A, a.L, a.variance, K, plan.eta, T, *momentum)
    return said


def silent(a: Audit) -> list[tuple[str, str]]:
    """(statement, why it says nothing of this run)."""
    if a.plan.sampling == "epochs":
        largest = a.plan.eta * a.L * a.n
        return [("R1", f"does not apply: ηLn ≥ {largest:.3g} > 1")] if largest > 1 else []
    name = "M2" if a.plan.momentum else "D"
    over = a.plan.eta * a.L * (a.plan.modules - 0.5) >= 1
    return [(name, f"does not apply: {'η' if a.plan.momentum else 'γ'}L(K-1/2) ≥ 1")] if over else []


def bound_rows(a: Audit) -> list[tuple[str, str, str]]:
    """(statement, what it says, measured/said)."""
    names = NAMES | ({name: LABELS[name].replace("1*", "M1") for name in DASHES} if a.plan.momentum else {})
    said = promises(a, a.plan.iterations)
    rows = [(names[name], f"{value:.4g}", f"{a.S / value:.2g}") for name, value in said.items()]
    rows += [(names[name], reason, "") for name, reason in silent(a)]
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
        f"momentum {p.momentum:g}{' (Nesterov)' if p.nesterov else ''}, minibatches of {p.batch_size} (n = {a.n}; "
        f"sampling: {p.sampling}), d = {a.d} weights, float64, seed {p.seed}.",
        f"The theorem about this run: {theorem(p)}.",
        NOTES.format(points=p.points, T=p.iterations, n=a.n),
        "## Assumptions",
        markdown(["condition", "seen", "verdict"], assumptions(a)),
        "## The step",
        markdown(["statement", "asks γL to be below", "γL seen at the start", "largest", "verdict"], limit_rows(a)),
        "The steps that the theory recommends with the L and M seen, and what happened when the run was repeated:",
        markdown(["γ", "why", "f", "mean of ‖∇f(w^t)‖²"], advice_rows(a)),
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


def advice_rows(a: Audit) -> list[tuple[str, str, str, str]]:
    """(step, why, f from and to, mean of ||grad f||^2): the run's own step, and those that the theory recommends."""
    own = (f"{a.plan.lr:.3g}", "this run", f"{a.points[0].f:.3g} to {a.points[-1].f:.3g}", f"{a.S:.3g}")
    others = [(f"{new.lr:.3g}", new.why, f"{new.first:.3g} to {new.last:.3g}", f"{new.S:.3g}") for new in a.advised]
    return [own, *others]


def figure(a: Audit) -> Figure:
    """Left: squared gradients, their running mean, and each bound on it. Right: gamma L along the run."""
    drawing, (left, right) = new_figure(9.5, panels=2)
    drawing.set_figheight(4.6)
    t = np.array([point.t for point in a.points])
    grad2 = np.array([point.grad2 for point in a.points])
    horizons = np.unique(np.geomspace(1, a.plan.iterations, 60).astype(int))
    said = [promises(a, int(T)) for T in horizons]
    for name in (name for name in DASHES if name in said[0]):
        label = LABELS[name].replace("1*", "M1") if a.plan.momentum else LABELS[name]
        left.plot(horizons, [at[name] for at in said], DASHES[name], color=COLOURS[name], label=label, linewidth=1.8)
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
    (_, own), *others = limits(a)
    right.axhline(own, color=COLOURS["paper"], linewidth=1.2, label="what M3 allows quadratics")
    for (name, limit), style in zip(others, (":", "-.", "--", (0, (1, 4))), strict=False):
        right.axhline(limit, color="black", linewidth=0.9, linestyle=style, label=name)
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
