"""The delayed view holds for any optimizer that works block by block and counts its own steps."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st

from theory.cases import Case
from theory.claims.claim import Claim, Kind, Outcome
from theory.claims.delayed_view import lag_deviation
from theory.delayed import Iteration, drained_recursion
from theory.optimizers import Adam, Momentum, Rule
from theory.strategies import every_case

OPTIMIZERS = ("momentum", "nesterov", "weight decay", "adam")


@dataclass(frozen=True)
class OptimizerCase:
    """A case and the optimizer that takes its largest step size."""

    optimizer: str
    case: Case

    @property
    def K(self) -> int:  # noqa: N802
        """Number of modules."""
        return self.case.K

    def rule(self) -> Rule:
        """The optimizer."""
        gamma = self.case.gamma
        if self.optimizer == "adam":
            return Adam(gamma)
        return Momentum(
            gamma,
            mu=0.0 if self.optimizer == "weight decay" else 0.9,
            decay=0.1 if self.optimizer == "weight decay" else 0.0,
            nesterov=self.optimizer == "nesterov",
        )


def check(drawn: OptimizerCase, iteration: Iteration) -> Outcome:
    """DDG's iterates with this optimizer against the drained recursion with the same one; bit for bit."""
    case, rule = drawn.case, drawn.rule()
    w = iteration(case.problem, case.w0, case.sequences.samples, rule)
    x = drained_recursion(case.problem, case.w0, case.sequences.samples, rule)
    return Outcome(lag_deviation(case.problem, w, x), 0.0)


CLAIM = Claim(
    id="any-optimizer",
    statement=r"w_k^t = x_k^{t-d_k}, \quad "
    r"x^{t+1} = \mathrm{Opt}(x^t, \nabla f_{i(t)}(x_1^{t-K+1}, \dots, x_K^t))",
    hypotheses="momentum, Nesterov, weight decay, Adam; any K; bit for bit",
    source="ours, PROOFS.md section 1",
    kind=Kind.IDENTITY,
    strategy=st.builds(OptimizerCase, st.sampled_from(OPTIMIZERS), every_case),
    check=check,
    case_type=OptimizerCase,
)
