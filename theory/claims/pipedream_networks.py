"""PipeDream on the networks of ddg_ref produces the weights that its engines produce with DDG."""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.claims.claim import Claim, Kind, Outcome, largest
from theory.delayed import Iteration
from theory.pipedream import pipedream
from theory.problems import Array
from theory.system import SystemCase, system_cases


class ModuleStage:
    """A module's layers as PipeDream's stage; its weights are (parameters, optimizer state)."""

    def __init__(self, layers: Any) -> None:
        self.layers = layers

    def forward(self, w: Any, h: Any) -> tuple[Any, Any]:
        return self.layers.forward(w[0], h)  # type: ignore[no-any-return]

    def backward(self, w: Any, cache: Any, dout: Any) -> tuple[Any, Any]:
        return self.layers.backward(w[0], cache, dout)  # type: ignore[no-any-return]


def train_pipedream(case: SystemCase) -> list[list[Array]]:
    """The weights of each stage after 0, 1, .. updates, flat; stage k applies gradient s with gamma_{s+d_k}."""
    modules = case.pipeline().modules
    function, optimizer = case.function, case.optimizer_of_ddg_ref

    history = pipedream(
        stages=[ModuleStage(module.layers) for module in modules],
        w0=[(module.params, module.optimizer_state) for module in modules],
        minibatches=[case.batch(b)[0] for b in range(case.iterations)],
        error_gradient=lambda b, out: function.loss(out, case.batch(b)[1])[1],
        update=lambda k, w, dw, b: optimizer.update(w[0], dw, w[1], float(case.gammas[b + case.K - 1 - k])),
    )
    return [[function.flat(params) for params, _ in versions] for versions in history]


def check(case: SystemCase, iteration: Iteration) -> Outcome:
    """max |w_k^t of the engine - w_k of PipeDream after t - d_k updates|, and the same once both have drained."""
    observed, stages = case.observed, train_pipedream(case)
    deviations = []
    for k, (block, versions) in enumerate(zip(case.function.blocks, stages, strict=True), start=1):
        expected = np.stack([versions[max(0, t - (case.K - k))] for t in range(case.iterations + 1)])
        deviations += [observed.w[:, block] - expected, observed.drained[block] - versions[-1]]
    return Outcome(largest(*deviations), 0.0)


CLAIM = Claim(
    id="pipedream-networks",
    statement=r"\text{one-forward-one-backward with weight stashing} = \text{DDG as ddg\_ref runs it}",
    hypotheses="MLP, CNN, ResNet of ddg_ref, both engines, K = 1..5, every optimizer; bit for bit",
    source="Narayanan et al., SOSP 2019, against Huo et al., arXiv 1804.10574",
    kind=Kind.IDENTITY,
    strategy=system_cases(),
    check=check,
    case_type=SystemCase,
)
