"""Theorem 2 of the paper holds for every T, and with it the corollary on a randomly drawn iterate."""

from __future__ import annotations

from theory import adversaries, bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind
from theory.claims.mean_square import against
from theory.delayed import Iteration
from theory.exact import expectation
from theory.strategies import STEPS_UP_TO_1, cases


def measure(case: Case, iteration: Iteration) -> Judge:
    """E||grad f(w^z)||^2 for z drawn with probability gamma_z/Gamma, against the right side."""
    run, problem = case.run(iteration), case.problem
    M = problem.gradient_bound()
    weights = case.gammas[: case.T] / case.gammas[: case.T].sum()
    grad2 = (problem.grad(run.w[:-1]) ** 2).sum(axis=-1)
    measured = expectation(weights @ grad2, case.sequences, M)
    return lambda K: against(measured, bounds.theorem_2(case.A, problem.L, M, K, case.gammas, case.T))


CLAIM = Claim(
    id="theorem-2",
    statement=r"\tfrac1{\Gamma_T}\sum_{t<T}\gamma_t E\|\nabla f(w^t)\|^2 \le "
    r"\tfrac{2(f(w^0)-f^*)}{\Gamma_T} + \tfrac{2\sum\gamma_t^2 L M_K}{\Gamma_T}, \quad M_K = KM + K^5 M",
    hypotheses="bounded gradients, gamma_t = gamma_0/(1+t), gamma_0 L <= 1",
    source="Huo et al., arXiv 1804.10574, Theorem 2 and its corollary, as commonly stated; true by PROOFS.md section 4",
    kind=Kind.UPPER_BOUND,
    strategy=cases(steps=("harmonic",), gamma_L=STEPS_UP_TO_1, sampled=True),
    check=BoundInK(measure),
    adversaries=adversaries.WAIT_LONG,
)
