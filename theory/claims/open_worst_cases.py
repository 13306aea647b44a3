"""Conjectures about worst cases: nobody has proved them, no search and no semidefinite program has refuted them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from theory import adversaries, conjectures
from theory.claims.claim import Claim, Kind, Outcome
from theory.claims.theorem_d import checker as checker_of_variance
from theory.claims.theorem_g import checker
from theory.delayed import Iteration, Run
from theory.families import FAMILIES
from theory.problems import Quadratic
from theory.strategies import below_threshold, cases, up_to_threshold

W = Claim(
    id="conjecture-w",
    statement=r"\sum_{t<T}\|\nabla f(w^t)\|^2 \le 2LA\sum_{t<T} r_t^2,"
    r" \; r_{t+1} = r_t - \gamma L r_{t-K+1}, \; r_0 = 1",
    hypotheses="n = 1, constant gamma L <= 2 sin(pi/(2(2K-1))); no bound on gradients",
    source="ours, PROOFS.md section 5, Conjecture W; proved for the certificates of certificates.json",
    kind=Kind.CONJECTURE,
    strategy=cases(tuple(FAMILIES), gamma_L=up_to_threshold, samples=(1,)),
    check=checker(conjectures.exact_gradients),
    adversaries=adversaries.DECAY + adversaries.NEAR,
)
V = Claim(
    id="conjecture-v",
    statement=r"S_T \le C_{\mathrm{ex}}\left(\tfrac{A}{\gamma T} + \tfrac{\gamma L\nu^2}{2}\right)",
    hypotheses="variance at most nu^2, constant gamma L < 2 sin(pi/(2(2K-1))); no bound on gradients",
    source="ours, PROOFS.md section 5, Conjecture V",
    kind=Kind.CONJECTURE,
    strategy=cases(tuple(FAMILIES), gamma_L=below_threshold),
    check=checker_of_variance(conjectures.variance),
    adversaries=adversaries.DECAY + adversaries.NEAR,
)


@dataclass(frozen=True)
class OneModule:
    """f = w_k^2/2, a function of one module of K, from w_k = 1 for T iterations."""

    K: int
    k: int
    T: int
    gamma_L: float  # noqa: N815


def check_beyond(case: OneModule, iteration: Iteration) -> Outcome:
    """sum_{t<T} ||grad f(w^t)||^2/(L A) against its value for module 1."""
    unit = np.eye(1, case.K, case.k - 1)[0]
    problem = Quadratic(np.diag(unit), np.zeros((1, case.K)), case.K)
    gammas = np.full(case.T + case.K - 1, case.gamma_L)
    run = Run.of(problem, unit, np.zeros((1, case.T), dtype=int), gammas, iteration)
    measured = 2 * float((problem.grad(run.w[:-1]) ** 2).sum())
    of_module_1 = conjectures.worst_sum(case.K, case.gamma_L, case.T)
    at = f"K = {case.K}, T = {case.T}, gamma L = {case.gamma_L}"
    note = f"f = w_{case.k}^2/2, {at}: {measured} > {of_module_1}, the sum for w_1^2/2"
    return Outcome(measured, of_module_1, slack=1e-12, note=note if measured > of_module_1 else "")


BEYOND = Claim(
    id="beyond-the-threshold",
    statement=r"\text{Conjecture W for steps of any size}",
    hypotheses="n = 1, K = 3, T = 4, gamma L = 5/4: there module 2 alone does worse than module 1",
    source="PROOFS.md section 5; found by semidefinite programming",
    kind=Kind.FALSE_AS_STATED,
    strategy=st.sampled_from((OneModule(3, 2, 4, 1.25),)),
    check=check_beyond,
    case_type=OneModule,
)
