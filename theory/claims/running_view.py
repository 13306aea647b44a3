"""Module k of the running system is the drained iterate, d_k iterations late."""

from __future__ import annotations

import numpy as np

from theory.checks import finite
from theory.claims.claim import Claim, Kind, Outcome, largest
from theory.claims.delayed_view import lag_deviation
from theory.delayed import Iteration, drained_recursion
from theory.system import BITWISE, SystemCase, system_cases


def check(case: SystemCase, iteration: Iteration) -> Outcome:
    """The engine's w^0..w^T against the iteration on the network as a plain function, and w_k^t against x_k^{t-d_k} of
    the drained recursion there, which knows neither modules nor queues nor engines."""
    observed, function = case.observed, case.function
    system = finite("w of the engine", observed.w)[:, None]
    samples = np.arange(case.iterations)[None]
    w = iteration(function, observed.w[0], samples, case.rule)
    x = drained_recursion(function, observed.w[0], samples, case.rule)
    deviation = largest(system - w, lag_deviation(function, system, x), observed.drained - x[-1])
    return Outcome(deviation, 0.0)


CLAIM = Claim(
    id="running-view",
    statement=r"w_k^t = x_k^{t-d_k} \text{ for the weights of the engines}, \quad "
    r"x_k^{t+1} = \mathrm{Opt}(x_k^t, \nabla_k f_{i(t)}(x_1^{t-K+1}, \dots, x_K^t))",
    hypotheses="ddg_ref's engines, K = 1..5, SGD with any steps, momentum, Nesterov, weight decay; bit for bit",
    source="ours, PROOFS.md section 1",
    kind=Kind.IDENTITY,
    strategy=system_cases(BITWISE),
    check=check,
    case_type=SystemCase,
)
