"""Every claim, in the order in which the verification reports them."""

from __future__ import annotations

from collections.abc import Iterable

from theory.claims import (
    any_optimizer,
    back_to_w,
    best_step,
    changing_steps,
    coasted,
    delayed_view,
    descent,
    distance,
    drained_identity,
    draining,
    lemma_1_search,
    lemma_1_written,
    lemma_v,
    lin_constant,
    lyapunov,
    momentum,
    momentum_threshold,
    other_optimizers,
    pipedream,
    pipedream_networks,
    quadratic_threshold,
    reduction,
    reshuffling,
    running_drain,
    running_view,
    substitution,
    theorem_1,
    theorem_1_star,
    theorem_2,
    theorem_2_star,
    theorem_d,
    weight_decay,
)
from theory.claims.claim import Claim, Kind, Outcome

__all__ = ["CLAIMS", "Claim", "Kind", "Outcome", "select"]

CLAIMS: dict[str, Claim] = {
    claim.id: claim
    for claim in (
        drained_identity.CLAIM,
        delayed_view.CLAIM,
        draining.CLAIM,
        any_optimizer.CLAIM,
        pipedream.CLAIM,
        pipedream_networks.CLAIM,
        running_view.CLAIM,
        running_drain.CLAIM,
        reduction.SGD,
        distance.CLAIM,
        lemma_v.CLAIM,
        lemma_v.HALF,
        back_to_w.CLAIM,
        theorem_1.CLAIM,
        theorem_1_star.LIN,
        theorem_1_star.CLEAN,
        theorem_1_star.SHARP,
        best_step.LIN,
        best_step.CLEAN,
        theorem_2.CLAIM,
        theorem_2_star.SHIFTED,
        theorem_2_star.WEIGHTED,
        theorem_2_star.HARMONIC,
        descent.SIMPLE,
        descent.HALF,
        descent.FULL,
        descent.ON_AVERAGE,
        lyapunov.CLAIM,
        theorem_d.D0,
        theorem_d.D,
        theorem_d.SIMPLE,
        quadratic_threshold.STABLE,
        quadratic_threshold.SHARP,
        reduction.TEXTBOOK,
        reduction.MONOTONE,
        reduction.ORDER,
        lemma_1_written.HISTORY,
        lemma_1_written.RISING,
        lemma_1_written.WARM_UP,
        lemma_1_written.WINDOW,
        substitution.CLAIM,
        lemma_1_search.HISTORY,
        lemma_1_search.WARM_UP,
        # what people run
        coasted.IDENTITY,
        coasted.COASTING,
        coasted.DISTANCE,
        coasted.DESCENT,
        momentum.LIN,
        momentum.CLEAN,
        momentum.SHARP,
        momentum.D,
        momentum.D0,
        momentum.HEAVY_BALL_D0,
        momentum_threshold.STABLE,
        momentum_threshold.SHARP,
        momentum.TWO_MODULES,
        reshuffling.DISTANCE,
        reshuffling.ANY_ORDER,
        reshuffling.ANY_ORDER_WEIGHTS,
        reshuffling.SHUFFLED,
        reshuffling.VARIANCE,
        reshuffling.DEFAULT,
        reshuffling.DEFAULT_SHUFFLED,
        changing_steps.BLOCKWISE,
        changing_steps.WEIGHTED,
        changing_steps.CLEAN,
        changing_steps.WARM_UP,
        weight_decay.BOUNDED,
        weight_decay.LIN,
        weight_decay.EXACT,
        other_optimizers.DESCENT,
        other_optimizers.DISTANCE,
        other_optimizers.MEAN_SQUARE,
        lin_constant.LOWER,
        lin_constant.CONJECTURE,
    )
}


def select(ids: Iterable[str]) -> list[Claim]:
    """The claims of these ids, all of them if there are none; ValueError for an unknown one."""
    wanted = list(ids)
    for name in wanted:
        if name not in CLAIMS:
            raise ValueError(f"claims: expected some of {', '.join(CLAIMS)}, got {name!r}; check the spelling")
    return [CLAIMS[name] for name in wanted] or list(CLAIMS.values())
