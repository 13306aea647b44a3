"""Lemma M: as long as module 1 waits, f does not rise above where it began."""

from __future__ import annotations

from dataclasses import replace

from theory import adversaries, bounds
from theory.cases import Case
from theory.claims.claim import BoundInK, Claim, Judge, Kind, Outcome, rounding
from theory.delayed import Iteration
from theory.families import FAMILIES
from theory.strategies import below_threshold, cases


def measure(case: Case, iteration: Iteration) -> Judge:
    """max_{t <= K-2} f(w^t) - f* against A. The bound has no K but in its condition, gamma L < 2 sin(pi/(2(2K-1))): for
    another K the step is the same share of what that K allows."""

    def judge(K: int) -> Outcome:
        share = bounds.quadratic_threshold(K) / bounds.quadratic_threshold(case.K)
        at = case if K == case.K else replace(case, gamma_L=case.gamma_L * share)
        problem, f = at.problem, at.problem.f(at.run(iteration).w)
        highest = float(f[: max(1, case.K - 1)].max()) - problem.f_star
        return Outcome(highest, at.A, rounding(f[: max(1, case.K - 1)], problem.f_star))

    return judge


CLAIM = Claim(
    id="warm-up",
    statement=r"f(w^t) \le f(w^0) \text{ for } t \le K-2",
    hypotheses="n = 1, constant gamma L < 2 sin(pi/(2(2K-1))); no bound on gradients",
    source="ours, PROOFS.md section 5, Lemma M",
    kind=Kind.UPPER_BOUND,
    strategy=cases(tuple(FAMILIES), gamma_L=below_threshold, samples=(1,)),
    check=BoundInK(measure),
    adversaries=adversaries.TOGETHER,
)
