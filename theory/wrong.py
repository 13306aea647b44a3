"""DDG, wrong in one place each: what the claims are asked to notice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from theory.delayed import Iteration, Objective
from theory.optimizers import Rule
from theory.problems import Array

Choice = Callable[[Objective, Array, Array, int, int, int], Array | None]


def iterate(gradient_for: Choice) -> Iteration:
    """An iteration whose block k takes gradient_for(problem, w, samples, t, d_k, k), or nothing where that is
    None."""

    def iteration(problem: Objective, w0: Array, samples: Array, rule: Rule) -> Array:
        R, T = samples.shape
        K = len(problem.blocks)
        w = np.empty((T + 1, R, len(w0)), dtype=w0.dtype)
        w[0] = w0
        states = [rule.start(w[0][:, block]) for block in problem.blocks]
        for t in range(T):
            w[t + 1] = w[t]
            for k, block in enumerate(problem.blocks, start=1):
                g = gradient_for(problem, w, samples, t, K - k, k)
                if g is not None:
                    states[k - 1], w[t + 1][:, block] = rule.step(states[k - 1], t, w[t][:, block], g[:, block])
        return w

    return iteration


def _intact(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return problem.gradient(samples[:, t - delay], w[t - delay]) if t >= delay else None


def _delay_too_long(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return _intact(problem, w, samples, t, delay + 1 if delay else 0, k)


def _delay_too_short(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return _intact(problem, w, samples, t, max(0, delay - 1), k)


def _fresh_upper_blocks(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    if t < delay:
        return None
    mixed = w[t - delay].copy()
    for block in problem.blocks[k:]:
        mixed[:, block] = w[t][:, block]
    return problem.gradient(samples[:, t - delay], mixed)


def _wrong_sample(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return problem.gradient(samples[:, t], w[t - delay]) if t >= delay else None


def _no_warm_up_rule(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return _intact(problem, w, samples, max(t, delay), delay, k)


def _current_weights(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return problem.gradient(samples[:, t - delay], w[t]) if t >= delay else None


INTACT = iterate(_intact)
MUTANTS = {
    "delay one too long": iterate(_delay_too_long),
    "delay one too short": iterate(_delay_too_short),
    "fresh weights in the upper blocks": iterate(_fresh_upper_blocks),
    "wrong sample": iterate(_wrong_sample),
    "missing warm-up rule": iterate(_no_warm_up_rule),
    "current weights instead of stashed": iterate(_current_weights),
}


def uphill(problem: Objective, w0: Array, samples: Array, rule: Rule) -> Array:
    """Gradient ascent with DDG's delays: what an upper bound must not survive."""

    class Climb:
        blocks = problem.blocks

        def gradient(self, i: int | Array, w: Array) -> Array:
            return np.asarray(-problem.gradient(i, w))

    return INTACT(Climb(), w0, samples, rule)
