"""Drain the running system, and its weights are the drained iterate computed from what it did before."""

from __future__ import annotations

import numpy as np

from theory.checks import finite
from theory.claims.claim import Claim, Kind, Outcome, largest
from theory.delayed import Iteration
from theory.problems import Array
from theory.system import BITWISE, SystemCase, system_cases


def drained_iterate(case: SystemCase, k: int) -> tuple[Array, Array]:
    """w_k^T and x_k^T, each (1, d_k), from the gradients that module k applied and those in flight.

    The rule follows the applied ones from w^0 to w^T; what is then in flight are the gradients at w^s, s = T-d_k..T-1,
    each with the step of the iteration that would apply it. For plain SGD that subtracts them from w^T.
    """
    function, observed, rule = case.function, case.observed, case.rule
    block, delay, T = function.blocks[k - 1], case.K - k, case.iterations
    w = observed.w[:1, block]
    state = rule.start(w)
    for t, gradient in enumerate(observed.applied[k - 1], start=delay):
        state, w = rule.step(state, t, w, gradient[None])
    x = w
    for s in range(max(0, T - delay), T):
        state, x = rule.step(state, s + delay, x, function.gradient(s, observed.w[s : s + 1])[:, block])
    return w, x


def check(case: SystemCase, iteration: Iteration) -> Outcome:
    """max |w^T - what the applied gradients give|, |drained weights - x^T|; or how far their number is from T - d_k."""
    observed, deviations = case.observed, []
    size = largest(finite("w of the engine", observed.w))
    for k, block in enumerate(case.function.blocks, start=1):
        count, due = len(observed.applied[k - 1]), max(0, case.iterations - (case.K - k))
        if count != due:
            return Outcome(abs(count - due), 0.0, note=f"module {k} applied {count} gradients, not {due}")
        w, x = drained_iterate(case, k)
        deviations += [observed.w[-1][block] - w, observed.drained[block] - x]
    allowed = 0.0 if case.optimizer in BITWISE else 100 * float(np.finfo(case.dtype).eps) * (1 + size)
    return Outcome(largest(*deviations), allowed)


CLAIM = Claim(
    id="running-drain",
    statement=r"\text{the engine, drained after } T \text{ iterations, holds } x^T = w^T - \text{what was in flight}",
    hypotheses="ddg_ref's engines, any T, K = 1..5, any steps; bit for bit for SGD, momentum, Nesterov and weight "
    "decay; Adam, whose bias correction is written differently on either side, to rounding",
    source="ours, PROOFS.md section 1",
    kind=Kind.IDENTITY,
    strategy=system_cases(),
    check=check,
    case_type=SystemCase,
)
