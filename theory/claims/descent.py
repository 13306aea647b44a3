"""Expected decrease of f along w itself, t >= K-1, given the history F_{t-K+1}: Lemma R, and Lemma 1 on
average."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from theory import adversaries, bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind, Outcome, rounding, worst
from theory.delayed import Iteration
from theory.exact import given_history
from theory.steps import KINDS
from theory.strategies import ANY_STEPS, STEPS_UP_TO_1, cases, monotone


def checker(share: float, constant: Callable[[Case, int, int], float]) -> BoundInK:
    """E[f(w^{t+1}) - f(w^t) + share gamma_t ||grad f(w^t)||^2 | F_{t-K+1}] against gamma_t^2 L M
    constant(case, K, t), for every t >= case.K-1 and every history."""

    def measure(case: Case, iteration: Iteration) -> Judge:
        run, problem = case.run(iteration), case.problem
        f = problem.f(run.w)
        grad2 = (problem.grad(run.w) ** 2).sum(axis=-1)
        times = range(case.K - 1, case.T)
        measured = [0.0]
        for t in times:
            change = f[t + 1] - f[t] + share * case.gammas[t] * grad2[t]
            measured.append(float(given_history(change, case.n, t - case.K + 1).max()))

        def judge(K: int) -> Outcome:
            noise = [case.gammas[t] ** 2 * problem.L * problem.gradient_bound() * constant(case, K, t) for t in times]
            return worst(np.array(measured), np.array([0.0, *noise]), rounding(f))

        return judge

    return BoundInK(measure)


def _sigma(case: Case, K: int, t: int) -> float:
    return bounds.lemma_r_sigma(case.gammas, K, t)


def _paper(case: Case, K: int, t: int) -> float:
    return bounds.paper_m_k(K, 1.0, bounds.lemma_1_sigma(case.gammas[: case.T], K))


def _half(case: Case, K: int, t: int) -> float:
    window = case.gammas[t - K + 1 : t + 1].max()
    return bounds.lemma_r_half(K, float(window) * case.problem.L, _sigma(case, K, t))


def _claim(
    form: str,
    share: str,
    constant: Callable[[Case, int, int], float],
    steps: tuple[str, ...],
    gamma_L: tuple[float, ...],
    source: str,
) -> Claim:
    return Claim(
        id=form,
        statement=rf"E f(w^{{t+1}}) - E f(w^t) \le -{share}\gamma_t E\|\nabla f(w^t)\|^2 + \gamma_t^2 L M C",
        hypotheses=f"bounded gradients, t >= K-1, given F_(t-K+1), {' or '.join(steps)} steps, "
        f"gamma L <= {max(gamma_L):g}",
        source=source,
        kind=Kind.UPPER_BOUND,
        strategy=cases(steps=steps, gamma_L=gamma_L).filter(lambda case: case.T >= case.K),
        check=checker(0.5 if share else 1.0, constant),
        adversaries=adversaries.OVERSHOOT + adversaries.OVERSHOOT_FALLING,
    )


SIMPLE = _claim(
    "lemma-r-simple",
    r"\tfrac12",
    lambda case, K, t: bounds.lemma_r_simple(K, _sigma(case, K, t)),
    KINDS,
    STEPS_UP_TO_1,
    "ours, PROOFS.md section 6, Lemma R (simple)",
)
HALF = _claim("lemma-r-half", r"\tfrac12", _half, KINDS, ANY_STEPS, "ours, PROOFS.md section 6, Lemma R (half)")
FULL = _claim(
    "lemma-r-full",
    "",
    lambda case, K, t: bounds.lemma_r_full(K, _sigma(case, K, t)),
    KINDS,
    ANY_STEPS,
    "ours, PROOFS.md section 6, Lemma R (full)",
)
ON_AVERAGE = _claim(
    "lemma-1-on-average",
    r"\tfrac12",
    _paper,
    monotone,
    STEPS_UP_TO_1,
    "Huo et al., arXiv 1804.10574, Lemma 1, read in expectation and after warm-up; true by Lemma R",
)
