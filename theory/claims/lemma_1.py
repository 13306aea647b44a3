"""Lemma 1 as stated, in exact arithmetic: both sides of its inequality on one history."""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Any

import numpy as np

from theory import bounds
from theory.claims.claim import Outcome
from theory.delayed import Iteration, Run
from theory.problems import Array
from theory.rational import PRECISION, ExactRidgeSum


def show(number: Any) -> str:
    """A Fraction as p/q, a Decimal to six significant digits."""
    return f"{float(number):.6g}" if isinstance(number, Decimal) else str(number)


def vector(numbers: Array) -> str:
    """Coordinates in parentheses."""
    return f"({', '.join(show(number) for number in numbers)})"


def check_history(
    problem: ExactRidgeSum, w0: Array, gammas: Array, history: tuple[int, ...], iteration: Iteration
) -> Outcome:
    """E[f(w^{t+1}) | history] - f(w^t) against Lemma 1's right side, t = len(history).

    The expectation is the mean over the n values of i(t). gammas (t+K,) are exact; sigma is the paper's.
    """
    with localcontext(prec=PRECISION):
        t, K = len(history), problem.K
        samples = np.array([[*history, i] for i in range(problem.n)])
        run = Run.of(problem, w0, samples, gammas, iteration)
        w = run.w[t][0]
        change = problem.f(run.w[t + 1]).sum() / problem.number(problem.n) - problem.f(w[None])[0]
        gradient = problem.grad(w[None])[0]
        grad2 = (gradient**2).sum()
        sigma = max(gammas[max(0, s - K + 1)] / gammas[s] for s in range(t + 1))
        L, M = problem.L, problem.M
        allowed = bounds.lemma_1(gammas[t], L, M, K, grad2, sigma)
        drawn = ", ".join(f"i({s}) = {i + 1}" for s, i in enumerate(history)) or "none"
        note = (
            f"K = {K}, L = {show(L)}, M = {show(M)}, M_K = {show(bounds.paper_m_k(K, M, sigma))}, "
            f"gamma_{t} = {show(gammas[t])}; history {drawn}; w^0 = {vector(w0)}, w^{t} = {vector(w)}, "
            f"grad f(w^{t}) = {vector(gradient)}; E f(w^{t + 1}) - f(w^{t}) = {show(change)} "
            f"> {show(allowed)} = -(gamma/2)||grad f||^2 + gamma^2 L M_K"
        )
        return Outcome(float(change), float(allowed), note=note if change > allowed else "")
