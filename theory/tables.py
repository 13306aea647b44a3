"""The tables of the report: how close the measured sides come to their bounds. Exact expectations
throughout."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from theory import bounds, stability
from theory.cases import Case
from theory.checks import number
from theory.claims import CLAIMS
from theory.claims.lemma_v import checker as lemma_v_checker
from theory.delayed import Run, ddg
from theory.exact import all_sequences, given_history
from theory.problems import Array, RidgeSum, split
from theory.steps import step_sizes

FORMS = {
    "paper": bounds.theorem_1,
    "lin": bounds.theorem_1_lin,
    "clean": bounds.theorem_1_clean,
    "sharp": bounds.theorem_1_sharp,
}
STEP = "one step, (2')"


def markdown(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A markdown table."""
    lines = [list(header), *([str(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def constant_step_cases(family: str, K: int, gamma_L: float, count: int, seed: int) -> list[Case]:
    """`count` random problems with two samples, ten iterations and all 1024 sequences."""
    rng = np.random.default_rng([seed, K])
    return [
        Case(family, K, 2, 10, "constant", gamma_L, float(rng.choice([0.3, 1.0, 3.0])), int(s))
        for s in rng.integers(2**20, size=count)
    ]


@dataclass(frozen=True)
class Tightness:
    """One row: K, gamma L, per form (max, median) of S_T/bound, and the constants that steps were seen to need."""

    K: int
    gamma_L: float  # noqa: N815
    ratios: dict[str, tuple[float, float]]
    need_full: float
    need_v: float


def tightness(K: int, gamma_L: float, *, family: str = "sqrt+noise", count: int = 40, seed: int = 0) -> Tightness:
    """S_T/bound over random problems; and the smallest C that Lemma R (full) and Lemma V would have needed,
    which are proved with C = lemma_r_full(K) and K - 1/2."""
    ratios: dict[str, list[float]] = {name: [] for name in FORMS}
    need_full, need_v = -np.inf, -np.inf
    for case in constant_step_cases(family, K, gamma_L, count, seed):
        problem, run = case.problem, case.run()
        M = problem.gradient_bound()
        unit = case.gamma**2 * problem.L * M
        f = problem.f(run.w).mean(axis=1)
        grad2 = (problem.grad(run.w[:-1]) ** 2).sum(axis=-1).mean(axis=1)
        for name, bound in FORMS.items():
            allowed = bound(case.A, problem.L, M, K, case.gamma, case.T)
            ratios[name].append(float(grad2.mean()) / allowed)
        step = (f[1:] - f[:-1] + case.gamma * grad2)[K - 1 :] / unit
        need_full = np.maximum(need_full, step.max())
        need_v = np.maximum(need_v, lemma_v_checker(bounds.lemma_v, 1.0)(case, ddg).measured / unit)
    pairs = {name: (float(np.max(values)), float(np.median(values))) for name, values in ratios.items()}
    return Tightness(K, gamma_L, pairs, float(need_full), float(need_v))


def huber_cycle(K: int, *, T: int = 3000) -> dict[str, float]:
    """The worst S/bound found on f = h(w_1), n = 1, over gamma L from 1 to 1.1 of the quadratic threshold and
    three starts: h is Huber's function on the most delayed module, L = M = 1, and S is averaged over the
    second half."""
    problem = RidgeSum("huber", np.eye(1, K), np.ones((1, 1)), np.zeros((1, K)), K)
    best = {"S/lin": 0.0}
    for factor in np.linspace(1.0, 1.1, 6):
        gamma = float(factor) * bounds.quadratic_threshold(K)
        for start in (0.7, 3.0):
            w0 = np.zeros(K)
            w0[0] = start
            run = Run.of(problem, w0, np.zeros((1, T), int), step_sizes("constant", gamma, T + K - 1))
            S = number("S", (problem.grad(run.w[T // 2 : T]) ** 2).sum(axis=-1).mean())
            lin = bounds.theorem_1_lin(0.0, 1.0, 1.0, K, gamma, T)
            if S / lin > best["S/lin"]:
                paper = bounds.theorem_1(0.0, 1.0, 1.0, K, gamma, T)
                best = {"gamma L": gamma, "S": S, "S/lin": S / lin, "S/paper": S / paper}
    return best


def half_of_the_paper(K: int, gamma_L: float, *, start: float = 50.0) -> float:
    """S_T/(paper's Theorem 1) for f = h(w_1), Huber's h on the most delayed module, w^0 = (R, 0, ..) and T = R/gamma
    iterations: the gradient is 1 all the way down. The supremum of this ratio over all problems is 1/2."""
    problem = RidgeSum("huber", np.eye(1, K), np.ones((1, 1)), np.zeros((1, K)), K)
    T = round(start / gamma_L)
    w0 = start * np.eye(1, K)[0]
    run = Run.of(problem, w0, np.zeros((1, T), int), step_sizes("constant", gamma_L, T + K - 1))
    S = float((problem.grad(run.w[:-1]) ** 2).sum(axis=-1).mean())
    return S / bounds.theorem_1(float(problem.f(w0)), 1.0, 1.0, K, gamma_L, T)


def quadratic_floor(K: int, gamma_L: float, *, count: int = 20, seed: int = 0) -> float:
    """The largest lim E||grad f(w^t)||^2 over gamma L nu^2, over random quadratics and noise; exact."""
    rng = np.random.default_rng([seed, K])
    d, worst = K + 2, 0.0
    for _ in range(count):
        basis = np.linalg.qr(rng.normal(size=(d, d)))[0]
        eigenvalues = np.concatenate([[1.0], rng.uniform(0.05, 1.0, size=d - 1)])
        H: Array = (basis * eigenvalues) @ basis.T
        e = rng.normal(size=d) if rng.uniform() < 0.5 else basis[:, 0]
        floor = stability.noise_floor(H, split(d, K), gamma_L, np.outer(e, e))
        worst = np.maximum(worst, floor / (gamma_L * float(e @ e)))
    return float(worst)


def harmonic(K: int, *, count: int = 40, seed: int = 0) -> dict[str, float]:
    """The largest measured/bound of Theorem 2 and Theorem 2* over random problems with steps
    gamma_0/(1+t)."""
    worst = dict.fromkeys(("theorem-2", "theorem-2-harmonic", "theorem-2-weighted"), 0.0)
    for gamma_L in (0.05, 0.2, 1.0):
        for case in constant_step_cases("sqrt+noise", K, gamma_L, count, seed):
            decreasing = replace(case, steps="harmonic")
            for name in worst:
                worst[name] = float(np.maximum(worst[name], CLAIMS[name].check(decreasing, ddg).ratio))
    return worst


def violating_share(K: int, gamma_L: float, *, count: int = 20, seed: int = 0) -> float:
    """The largest share, over random problems, of pairs (t >= K-1, history) that violate Lemma 1 as stated;
    far from the minimum, where gradients are as large as M allows, it is violated most."""
    worst = 0.0
    for near in constant_step_cases("sqrt+noise", K, gamma_L, count, seed):
        case = replace(near, start=10.0)
        problem, run = case.problem, case.run()
        f = problem.f(run.w)
        grad2 = (problem.grad(run.w) ** 2).sum(axis=-1)
        noise = bounds.lemma_1(case.gamma, problem.L, problem.gradient_bound(), K, 0.0)
        broken = [
            given_history(f[t + 1] - f[t] + case.gamma / 2 * grad2[t], 2, t) > noise + 1e-12
            for t in range(K - 1, case.T)
        ]
        worst = np.maximum(worst, np.concatenate(broken).mean())
    return float(worst)


def adversarial(K: int, form: str, *, tries: int = 2500, seed: int = 0) -> float:
    """The largest S_T/bound that a (1+1) evolution strategy finds: n = 2, T = 7, exact over 128 sequences.

    `form` is one of FORMS, or STEP: then the share of its noise term that Lemma V's second form (2') needed, in the
    worst iteration and history. The strategy mutates directions, coefficients, noise, start and gamma L of a sum of
    sqrt ridges, and keeps what is no worse.
    """
    rng = np.random.default_rng([seed, K])
    d, samples = K + 1, all_sequences(2, 7)
    sizes = np.cumsum([0, 3 * d, 6, d, d, 1])

    def ratio(genes: Array) -> float:
        parts = [genes[a:b] for a, b in pairwise(sizes)]
        coefficients = parts[1].reshape(2, 3)
        coefficients = coefficients + np.maximum(0, 1e-3 - coefficients.mean(axis=0))
        problem = RidgeSum("sqrt", parts[0].reshape(3, d), coefficients, np.stack([parts[2], -parts[2]]), K)
        gamma = float(np.exp(np.clip(parts[4][0], -6, 1))) / problem.L
        run = Run.of(problem, parts[3], samples, np.full(7 + K - 1, gamma))
        grad2 = (problem.grad(run.w[:-1]) ** 2).sum(axis=-1)
        if form == STEP:
            change = np.diff(problem.f(run.x), axis=0) + gamma / 2 * grad2
            needed = np.max([given_history(change[t], 2, t).max() for t in range(7)])
            return float(needed) / bounds.lemma_v_half(gamma, problem.L, problem.gradient_bound(), K, 0.0)
        S = float(grad2.mean())
        A = float(np.maximum(0.0, problem.f(parts[3]) - problem.f_star))
        return S / FORMS[form](A, problem.L, problem.gradient_bound(), K, gamma, 7)

    best = rng.normal(size=sizes[-1])
    record, scale = ratio(best), 0.5
    for _ in range(tries):
        child = best + scale * rng.normal(size=best.shape) * (rng.uniform(size=best.shape) < 0.3)
        value = ratio(child)
        scale = max(1e-3, min(1.0, scale * (1.3 if value > record else 0.97)))
        if value >= record:
            best, record = child, value
    return record
