"""Stop the data, let the pipeline empty: what remains is the drained iterate."""

from __future__ import annotations

from theory.cases import Case
from theory.claims.claim import Claim, Kind, Outcome, largest
from theory.delayed import Iteration, drained_recursion
from theory.optimizers import SGD
from theory.strategies import every_case


def check(case: Case, iteration: Iteration) -> Outcome:
    """Weights after K-1 draining iterations against x^T of the drained recursion; bit for bit."""
    drained = case.run(iteration).drain()
    x = drained_recursion(case.problem, case.w0, case.sequences.samples, SGD(case.gammas))
    return Outcome(largest(drained - x[-1]), 0.0)


CLAIM = Claim(
    id="draining",
    statement=r"\text{draining } w^T \text{ for } K-1 \text{ iterations without data yields } x^T",
    hypotheses="any K, any steps; bit for bit",
    source="ours, PROOFS.md section 1",
    kind=Kind.IDENTITY,
    strategy=every_case,
    check=check,
)
