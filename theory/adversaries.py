"""Cases that come near to the bounds, where these are near, by what brings them there: f is one function of the most
delayed module, n = 1. Steps are in units of 1/L.

On them a bound that thinks too little of the delay fails, and one that is just too small: `python -m theory matrix`.
"""

from __future__ import annotations

from theory import bounds
from theory.cases import Case


def _case(family: str, K: int, T: int, gamma_L: float, start: float, steps: str = "constant") -> Case:
    return Case(family, K, 1, T, steps, gamma_L, start, seed=0)


SLOPE = tuple(_case("first-huber", K, K + 3, 0.01, 10.0) for K in (2, 3, 5))
"""Down |w_1|: all that is in flight is as long as it can be, and in one direction."""

BEND = tuple(_case("first-huber", K, K + 1, 1 / (2 * K - 1), 1.0) for K in (2, 3, 5))
"""At w_1 = 1 the slope begins to bend: w^t is still on it, x^t ahead in the curve. Lemma V and the energy of Theorem D0
hold with equality at t = K-1."""

MINIMUM = tuple(_case("first-huber", K, K + 1, 1 / (K - 1), 1.0) for K in (2, 3, 5))
"""The same at the step with which x^{K-1} is the minimum: Lemma V's second form holds with equality."""

DESCENT = tuple(_case("first-huber", K, 900 + K - 1, 0.01, 10.0) for K in (2, 3))
"""All the way down |w_1| by small steps, and not an iteration more: S_T is nearly M and nearly A/(gamma T)."""

CIRCLE = tuple(_case("first-circle", K, 300, 1.1 * bounds.quadratic_threshold(K), 1.5) for K in (2, 3, 4))
"""Steps too large for the delay: round and round the minimum, and the gradient stays as long as any."""

CYCLE = (_case("first-huber", 16, 300, 1.05 * bounds.quadratic_threshold(16), 1.5),)
"""The same back and forth, for so many modules that even the paper's noise term at K = 1, 4 gamma L M, is small."""

WAIT = tuple(_case("first-huber", K, T, 1.0, 1.0) for K, T in ((2, 2), (3, 4), (6, 8), (8, 11)))
"""w_1 waits for K-1 iterations where the gradient is as long as A allows, and then the run is over."""

WAIT_HARMONIC = tuple(_case("first-huber", K, T, 1.1, 1.0, "harmonic") for K, T in ((2, 3), (3, 5), (4, 8), (6, 12)))
"""The same with steps that have become small when it may move."""

WAIT_LONG = (_case("first-huber", 64, 192, 0.36, 1.0, "harmonic"),)
"""The same, for so many modules that the sum of 1/(1+t) is large."""

DECAY = tuple(_case("first-quadratic", K, 20 * (2 * K - 1), 1 / (2 * K - 1), 1.0) for K in (2, 3)) + tuple(
    _case("first-quadratic", K, 200 * (2 * K - 1), 0.1 / (2 * K - 1), 1.0) for K in (2, 3)
)
"""w_1^2/2, down to 0: at half of what Theorem D0 allows, where it oscillates, and by small steps, where it does not."""

NEAR = tuple(_case("first-quadratic", K, 200 * K, 0.9 * bounds.quadratic_threshold(K), 1.0) for K in (2, 3))
"""The same close to the threshold of all smooth functions, beyond what Theorem D0 allows: down to 0 all the same."""

EVEN = tuple(_case("first-quadratic", K, 2 * K, 1 / (2 * K - 1), 1.0) for K in (2, 3, 5))
"""w_1^2/2 while w_1 moves by equal steps, along the old gradient: the energy of Theorem F is as good as its proof."""

TOGETHER = tuple(Case("quadratic", 8, 1, 7, "constant", 0.95 * bounds.quadratic_threshold(8), 1.0, s) for s in (17, 30))
"""Modules on one quadratic; with steps that are too large for their delays f rises while module 1 still waits."""

OVERSHOOT = tuple(_case("first-huber", K, 3 * (K - 1), 2 / (K - 1), 1.0) for K in (3, 4, 5))
"""From w_1 = 1 to w_1 = -1 before the first gradient from the way arrives, and on by the old ones, uphill."""

OVERSHOOT_FALLING = (
    _case("first-huber", 2, 5, 1.0, 1.5, "falling"),
    *(_case("first-huber", K, 3 * (K - 1), 2 / (K - 1), 1.0, "falling") for K in (3, 4, 5)),
)
"""The same, and there the steps become small: what happens is linear in gamma_t, the bound without sigma quadratic."""
