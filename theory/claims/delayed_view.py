"""Module k of DDG is the drained iterate, d_k iterations late."""

from __future__ import annotations

from theory.cases import Case
from theory.claims.claim import Claim, Kind, Outcome, largest
from theory.delayed import Iteration, Objective, drained_recursion
from theory.optimizers import SGD
from theory.problems import Array
from theory.strategies import every_case


def lag_deviation(problem: Objective, w: Array, x: Array) -> float:
    """max |w_k^t - x_k^{t-d_k}| over all t and k, with x^s = x^0 for s < 0."""
    K, deviations = len(problem.blocks), []
    for k, block in enumerate(problem.blocks, start=1):
        late = x[[max(0, t - (K - k)) for t in range(len(w))]]
        deviations.append(w[..., block] - late[..., block])
    return largest(*deviations)


def check(case: Case, iteration: Iteration) -> Outcome:
    """DDG's iterates against a recursion that never runs DDG; equal bit for bit."""
    rule = SGD(case.gammas)
    w = iteration(case.problem, case.w0, case.sequences.samples, rule)
    x = drained_recursion(case.problem, case.w0, case.sequences.samples, rule)
    return Outcome(lag_deviation(case.problem, w, x), 0.0)


CLAIM = Claim(
    id="delayed-view",
    statement=r"w_k^t = x_k^{t-d_k} \text{ where } "
    r"x^{t+1} = x^t - \gamma\nabla f_{i(t)}(x_1^{t-K+1}, \dots, x_K^t)",
    hypotheses="any K, any steps, warm-up included; bit for bit",
    source="ours, PROOFS.md section 1; the right side is PipeDream's update rule (SOSP 2019)",
    kind=Kind.IDENTITY,
    strategy=every_case,
    check=check,
)
