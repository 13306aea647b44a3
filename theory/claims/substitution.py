"""The step of Lemma 1's proof that replaces g_k by its mean fails, because w^t has seen the same sample.

A public proof that takes it: "A Succinct Proof of Decoupled Parallel Backpropagation Convergence Lemma", 2024.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, localcontext

from hypothesis import strategies as st

from theory.claims.claim import Claim, Kind, Outcome
from theory.delayed import Iteration, Run
from theory.exact import all_sequences
from theory.rational import PRECISION, ExactRidgeSum, objects


@dataclass(frozen=True)
class Written:
    """f_i = s(w_1 + w_2) +- (w_1 + w_2), K = 2, both coordinates starting at 3/8, step gamma."""

    gamma: str


def check(written: Written, iteration: Iteration) -> Outcome:
    """E sum_k <grad_k f(w^1), grad_k f(w^{1-d_k})> against E sum_k <grad_k f(w^1), g_k(1-d_k)>, in total
    expectation."""
    with localcontext(prec=PRECISION):
        problem = ExactRidgeSum(
            Decimal,
            objects([[1, 1]], Decimal),
            objects([[1], [1]], Decimal),
            objects([[1, 1], [-1, -1]], Decimal),
            2,
        )
        w0 = objects(["0.375", "0.375"], Decimal)
        run = Run.of(problem, w0, all_sequences(2, 2), objects([written.gamma] * 3, Decimal), iteration)
        a0, a1 = problem.grad(run.w[0]), problem.grad(run.w[1])

        true = sum(a1[:, 0] * run.g[0][:, 0]) / Decimal(len(a1))
        substituted = sum(a1[:, 0] * a0[:, 0]) / Decimal(len(a1))
        note = f"gamma = {written.gamma}: {substituted:.5f} substituted > {true:.5f} true"
        return Outcome(float(substituted), float(true), note=note if substituted > true else "")


CLAIM = Claim(
    id="lemma-1-substitution",
    statement=r"E\langle\nabla_k f(w^t), \nabla_k f(w^{t-d_k})\rangle \le "
    r"E\langle\nabla_k f(w^t), g_k(t-d_k)\rangle",
    hypotheses="used, with equality, in the usual proof of Lemma 1",
    source='"A Succinct Proof of Decoupled Parallel Backpropagation Convergence Lemma", 2024; PROOFS.md section 7',
    kind=Kind.FALSE_AS_STATED,
    strategy=st.sampled_from((Written("0.1"), Written("0.5"))),
    check=check,
    case_type=Written,
)
