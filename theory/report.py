"""The report: tables of measured against bound, and figures, written into a folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from matplotlib.figure import Figure

from ddg_ref.periods import Times, speedup
from ddg_ref.tools.files import make_folder, write_figure, write_text
from theory import bounds, figures, matrix, recipe_bounds, tables
from theory.claims import lemma_1_search
from theory.examine import examine
from theory.tables import markdown

FILES = (
    *("report.md", "bounds.png", "modules.png", "counterexample.png", "stability.png", "circle.png"),
    "momentum.png",
)
"""The document, and its figures."""


def tightness() -> str:
    """S_T/bound, max (median) over 40 problems, and the constants that single steps were seen to need."""
    rows = []
    for K in (2, 3, 4):
        for gamma_L in (0.05, 0.2, 1.0):
            row = tables.tightness(K, gamma_L)
            ratios = [f"{high:.2g} ({middle:.2g})" for high, middle in row.ratios.values()]
            full = f"{row.need_full:.2f} of {bounds.lemma_r_full(K):.2f}"
            rows.append([K, gamma_L, *ratios, full, f"{row.need_v:.2f} of {K - 0.5}"])
    return markdown(["K", "γL", *tables.FORMS, "C that Lemma R (full) needed", "C that Lemma V needed"], rows)


def adversarial() -> str:
    """The worst problems that an evolution strategy finds."""
    forms = (*tables.FORMS, tables.STEP)
    rows = [[K, *(f"{tables.adversarial(K, form):.3f}" for form in forms)] for K in (2, 3, 4)]
    return markdown(["K", *forms], rows)


def halves() -> str:
    """Theorem 1's best case."""
    steps = (0.05, 0.005, 0.0005)
    rows = [[K, *(f"{tables.half_of_the_paper(K, g):.4f}" for g in steps)] for K in (1, 2, 3)]
    return markdown(["K", *(f"γL = {g:g}" for g in steps)], rows)


def cycles(found: dict[int, dict[str, float]]) -> str:
    """Deterministic limit cycles on Huber's function."""
    rows = [[K, f"{c['gamma L']:.3f}", f"{c['S/lin']:.3f}", f"{c['S/paper']:.2g}"] for K, c in found.items()]
    return markdown(["K", "γL", "S/lin", "S/paper"], rows)


def circles() -> str:
    """Two coordinates instead of one."""
    rows = []
    for K in (1, 2, 3, 4, 6, 8):
        threshold = bounds.quadratic_threshold(K)
        found = [figures.late_mean(name, K, 1.05 * threshold) for name in ("first-circle", "first-huber")]
        rows.append([K, f"{K - 0.5:g}", f"{1 / threshold:.3f}", *(f"{value:.3f}" for value in found)])
    return markdown(["K", "lin: K - 1/2", "1/g*", "circle, γL = 1.05 g*", "line, γL = 1.05 g*"], rows)


def constants() -> str:
    """C_ex and what is proved, at K = 4, and at the best step for three K."""
    table: dict[str, Callable[[int, float], float]] = {
        "C_ex": bounds.worst_constant,
        "G": bounds.theorem_g_constant,
        "F": bounds.theorem_f_constant,
        "D0": lambda K, gamma_L: gamma_L * bounds.theorem_d0(1.0, 1.0, K, gamma_L, 1),
    }

    def value(name: str, K: int, gamma_L: float) -> float:
        try:
            return table[name](K, gamma_L)
        except ValueError:  # the step is too large for it
            return math.inf

    rows = [
        [f"K = 4, γL(K-1/2) = {x:g}", *(f"{value(name, 4, x / 3.5):.4g}" for name in table)]
        for x in (0.15, 0.5, 0.75, 0.95, 1.25, 1.54)
    ]
    steps = [x / 1000 for x in range(300, 1001)]
    for K in (2, 4, 100):
        best = {name: min((value(name, K, x / (K - 0.5)) / x, x) for x in steps) for name in table}
        rows.append([f"K = {K}, best step", *(f"{least:.3f} (at {x:.2f})" for least, x in best.values())])
    return markdown(["", *table], rows)


def floors() -> str:
    """Noise floors of quadratics."""
    fractions = (0.01, 0.1, 0.5, 1.0)
    rows = [[K, *(f"{tables.quadratic_floor(K, c / (2 * K - 1)):.3f}" for c in fractions)] for K in (1, 2, 3, 4, 6)]
    return markdown(["K", *(f"γL = {c:g}/(2K-1)" for c in fractions)], rows)


def decreasing() -> str:
    """Theorem 2 and Theorem 2*."""
    results = {K: tables.harmonic(K) for K in (2, 3, 4)}
    names = list(results[2])
    return markdown(["K", *names], [[K, *(f"{r[n]:.3f}" for n in names)] for K, r in results.items()])


def shares() -> str:
    """How often Lemma 1 fails per history."""
    steps = (0.0005, 0.002, 0.01, 0.05)
    rows = [[K, *(f"{100 * tables.violating_share(K, g):.0f}%" for g in steps)] for K in (2, 3)]
    return markdown(["K", *(f"γL = {g:g}" for g in steps)], rows)


def searched() -> str:
    """The simplest counterexample that a few searches find, in numbers to check by hand."""
    found = [examine(lemma_1_search.HISTORY, 1, seed).violation for seed in (2, 3)]
    return min((f.outcome.note for f in found if f is not None), key=len, default="none")


def momenta() -> str:
    """g*(K, beta) for both forms of momentum."""
    Ks, rows = (1, 2, 3, 4, 5, 8), []
    for beta, nesterov in ((0.0, False), (0.5, False), (0.9, False), (0.5, True), (0.9, True)):
        form = ", Nesterov" if nesterov else ", heavy ball" if beta else ""
        steps = [recipe_bounds.momentum_threshold(K, beta, nesterov) for K in Ks]
        rows.append([f"β = {beta:g}{form}", *(f"{step:.3g}" for step in steps)])
    return markdown(["", *(f"K = {K}" for K in Ks)], rows)


def speeds() -> str:
    """Speed-up over one device of a balanced network with B = 2F."""
    schedules = ("bp", "two-phase", "free")
    rows = []
    for K in (1, 2, 4, 16, 256, 4096):
        times = Times.balanced(1.0, 2.0, K)
        linked = Times.balanced(1.0, 2.0, K, latency=1e-3)
        rows.append([K] + [f"{speedup(times, s):.4g}" for s in schedules] + [f"{speedup(linked, 'free'):.4g}"])
    return markdown(["K", *schedules, "free, latency (F+B)/3000"], rows)


def compose(progress: Callable[[str], None] = lambda name: None) -> tuple[str, dict[str, Figure]]:
    """Measure; the text, and the figures that it shows, by file name."""
    found = {}
    for K in (1, 2, 3, 4, 6, 8):
        progress(f"limit cycles, K = {K}")
        found[K] = tables.huber_cycle(K)
    drawings = {
        "bounds.png": figures.bound_against_measured,
        "modules.png": lambda: figures.noise_floor_over_modules(found),
        "counterexample.png": figures.counterexample,
        "stability.png": figures.stability_region,
        "circle.png": figures.circular_orbit,
        "momentum.png": figures.momentum_thresholds,
    }
    drawn = {}
    for name, draw in drawings.items():
        progress(name)
        drawn[name] = draw()
    sections: list[tuple[str, str, Callable[[], str]]] = [
        (
            "How tight the bounds are",
            "S_T/bound, max (median) over 40 random problems of the family sqrt+noise with two samples, "
            "T = 10, exact over all 1024 sequences. The last two columns: the constant C that single steps "
            "needed in Lemma R (full) and in Lemma V, of the constant that is proved.\n\n"
            "![bounds](bounds.png)",
            tightness,
        ),
        (
            "What the bounds notice",
            "Measured/bound on cases that come near the bounds: as stated, and with less in the bound. Above 1 the "
            "weaker statement is refuted.",
            lambda: matrix.weaker_table(matrix.weaker()),
        ),
        (
            "Which claims notice a wrong iteration",
            "On the same cases and a few ordinary ones. x: the claim fails, as it should.",
            lambda: matrix.wrong_table(matrix.wrong()),
        ),
        (
            "How tight they can be made",
            "Largest S_T/bound that a (1+1) evolution strategy finds in 2500 steps; two samples, T = 7. "
            "Last column: the share of its noise term that Lemma V's second form (2') needs in a single iteration, "
            "given a history.",
            adversarial,
        ),
        (
            "Half of the paper's bound",
            "S_T against the paper's Theorem 1 where it is closest to being reached: Huber's function of module 1, "
            "far from its minimum, T = R/γ. By Theorem 1* (lin) the ratio is below 1/2, which it approaches.",
            halves,
        ),
        (
            "Linear in K is right",
            "One sample, f = Huber's function of the most delayed module, the worst of several steps near "
            "the stability threshold: mean squared gradient against the noise term of each bound.\n\n"
            "![modules](modules.png)",
            lambda: cycles(found),
        ),
        (
            "And to a factor π/2",
            "The same in two coordinates of that module: just above the threshold the path settles on a circle, "
            "on which the gradient is as long as any. S/(γLM) there, mean over the last 500 of 3000 iterations.\n\n"
            "![circle](circle.png)",
            circles,
        ),
        (
            "The worst case with exact gradients",
            "Constants C of S_T ≤ C A/(γT): the least possible (C_ex, f = (L/2) w_1²), Theorems G, F and D0; "
            "and the least C/(γL), in units of K - 1/2, over all steps.",
            constants,
        ),
        (
            "Noise floors without bounded gradients",
            "Largest lim E||grad f||²/(γLν²) over 20 random quadratics, exact "
            "(Theorem D allows 4; SGD has 1/2 as γ → 0).",
            floors,
        ),
        (
            "Decreasing steps",
            "Largest measured/bound over 120 problems per K, steps γ₀/(1+t), exact.",
            decreasing,
        ),
        (
            "Lemma 1 as stated is false",
            "Largest share, over 20 random problems far from their minimum, of pairs (t ≥ K-1, history) "
            "that violate it. The figure shows one of the shortest counterexamples.\n\n"
            f"Found by a search just now: {searched()}\n\n![counterexample](counterexample.png)",
            shares,
        ),
        (
            "The threshold",
            "Of quadratics, measured by the spectral radius of DDG's transition matrix; by Theorem G "
            "that of all smooth functions.\n\n![stability](stability.png)",
            lambda: markdown(
                ["K", "2 sin(π/(2(2K-1)))"],
                [[K, f"{bounds.quadratic_threshold(K):.4f}"] for K in range(1, 9)],
            ),
        ),
        (
            "Momentum and delay",
            "The largest γL that is stable on all quadratics, g*(K, β) of Theorem M3.\n\n![momentum](momentum.png)",
            momenta,
        ),
        (
            "Speed",
            "Iterations per time relative to one device, balanced modules, B = 2F, no latency.",
            speeds,
        ),
    ]
    parts = ["# DDG's convergence statements, measured\n\nWritten by `python -m theory report`."]
    for title, text, body in sections:
        progress(title)
        parts.append(f"## {title}\n\n{text}\n\n{body()}")
    return "\n\n".join(parts) + "\n", drawn


def write(folder: Path, text: str, drawings: dict[str, Figure]) -> Path:
    """Write report.md and its figures into `folder` (made if missing); return where report.md is. Raises
    WriteError."""
    make_folder(folder)
    for name, drawing in drawings.items():
        write_figure(folder / name, drawing)
    write_text(folder / "report.md", text)
    return folder / "report.md"
