"""DDG is SGD on the drained iterate, its gradient read at w^t."""

from __future__ import annotations

import numpy as np

from theory.cases import Case
from theory.claims.claim import Claim, Kind, Outcome, largest, rounding
from theory.delayed import Iteration
from theory.strategies import every_case


def check(case: Case, iteration: Iteration) -> Outcome:
    """max |x^{t+1} - x^t + (gamma_{t+d_k} g_k(t))_k| over t, histories and coordinates."""
    run = case.run(iteration)
    step = np.empty_like(run.g)
    for k, block in enumerate(run.problem.blocks, start=1):
        late = case.gammas[case.K - k : case.T + case.K - k]
        step[..., block] = late[:, None, None] * run.g[..., block]
    return Outcome(largest(run.x[1:] - run.x[:-1] + step), rounding(run.w, run.in_flight, step))


CLAIM = Claim(
    id="drained-identity",
    statement=r"x_k^{t+1} = x_k^t - \gamma_{t+d_k}\,\nabla_k f_{i(t)}(w^t), \quad "
    r"x^t = w^t - \text{in flight}",
    hypotheses="any K, any steps, warm-up included",
    source="PROOFS.md section 1, equation (1); a virtual iterate, as in Mania et al., SIAM J. Optim. 27(4), 2017",
    kind=Kind.IDENTITY,
    strategy=every_case,
    check=check,
)
