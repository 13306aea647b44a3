"""PipeDream with weight stashing and DDG produce the same weights, update for update."""

from __future__ import annotations

from typing import Any

import numpy as np

from theory.cases import Case
from theory.claims.claim import Claim, Kind, Outcome, largest
from theory.delayed import Iteration
from theory.network import SquashedNetwork
from theory.optimizers import SGD
from theory.pipedream import pipedream
from theory.steps import KINDS
from theory.strategies import cases


def train_pipedream(network: SquashedNetwork, case: Case, samples: list[int]) -> list[list[Any]]:
    """The weights of each stage after 0, 1, .. updates, (1, d_k) each; stage k applies gradient s with
    gamma_{s+d_k}."""
    return pipedream(
        stages=network.layers,
        w0=[case.w0[None, block] for block in network.blocks],
        minibatches=[network.inputs[i][None] for i in samples],
        error_gradient=lambda b, out: network.error_gradient(samples[b], out),
        update=lambda k, w, dw, b: w - case.gammas[b + case.K - 1 - k] * dw,
    )


def check(case: Case, iteration: Iteration) -> Outcome:
    """max |w_k^t of DDG - w_k of PipeDream after t - d_k updates|, one random sample sequence."""
    network = case.problem
    if not isinstance(network, SquashedNetwork):
        raise ValueError(f"family: expected 'network', got {case.family!r}; PipeDream needs layers")
    samples = np.random.default_rng([case.seed, 2]).integers(case.n, size=case.T)
    w = iteration(network, case.w0, samples[None], SGD(case.gammas))
    stages = train_pipedream(network, case, [int(i) for i in samples])
    deviations = [
        w[t][:, block] - stage[max(0, t - delay)]
        for stage, block, delay in zip(stages, network.blocks, range(case.K - 1, -1, -1), strict=True)
        for t in range(case.T + 1)
    ]
    return Outcome(largest(*deviations), 0.0)


CLAIM = Claim(
    id="pipedream",
    statement=r"\text{one-forward-one-backward with weight stashing} = \text{DDG, update for update}",
    hypotheses="squashed-weight networks, K = 1..5, any steps; bit for bit",
    source="Narayanan et al., SOSP 2019, against Huo et al., arXiv 1804.10574",
    kind=Kind.IDENTITY,
    strategy=cases(("network",), steps=KINDS),
    check=check,
)
