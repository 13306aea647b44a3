"""DDG, wrong in one place each: what the claims are asked to notice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from theory.delayed import Iteration, Objective
from theory.optimizers import SGD, Rule
from theory.problems import Array

Choice = Callable[[Objective, Array, Array, int, int, int], Array | None]


def iterate(gradient_for: Choice, clock: Callable[[int, int], int] = lambda t, delay: t) -> Iteration:
    """An iteration whose block k takes gradient_for(problem, w, samples, t, d_k, k), or nothing where that is
    None, with the step size of iteration clock(t, d_k)."""

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
                    now = clock(t, K - k)
                    states[k - 1], w[t + 1][:, block] = rule.step(states[k - 1], now, w[t][:, block], g[:, block])
        return w

    return iteration


def _intact(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return problem.gradient(samples[:, t - delay], w[t - delay]) if t >= delay else None


def _delay_too_long(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return _intact(problem, w, samples, t, delay + 1 if delay else 0, k)


def _delay_too_short(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return _intact(problem, w, samples, t, max(0, delay - 1), k)


def _fresh(blocks: Callable[[int], slice]) -> Choice:
    def gradient_for(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
        if t < delay:
            return None
        mixed = w[t - delay].copy()
        for block in problem.blocks[blocks(k)]:
            mixed[:, block] = w[t][:, block]
        return problem.gradient(samples[:, t - delay], mixed)

    return gradient_for


def _wrong_sample(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return problem.gradient(samples[:, t], w[t - delay]) if t >= delay else None


def _no_warm_up_rule(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return _intact(problem, w, samples, max(t, delay), delay, k)


def _current_weights(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return problem.gradient(samples[:, t - delay], w[t]) if t >= delay else None


def _with_delay(wrong: Callable[[int, int], int]) -> Choice:
    """Module k of K has the delay wrong(k, K)."""
    return lambda problem, w, samples, t, delay, k: _intact(problem, w, samples, t, wrong(k, len(problem.blocks)), k)


def _fresh_warm_up(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return _intact(problem, w, samples, t, delay if t >= delay else 0, k)


def _newer_weights(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return problem.gradient(samples[:, t - delay], w[min(t, t - delay + 1)]) if t >= delay else None


def _overwritten(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return problem.gradient(samples[:, t - delay], w[t + 1]) if t >= delay else None  # modules below k have moved


def _first_dropped(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return _intact(problem, w, samples, t, delay, k) if t > delay else None


def _first_twice(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return _intact(problem, w, samples, max(t, delay), delay, k) if t >= delay - 1 else None


def _old_again(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    return _intact(problem, w, samples, max(t - 1, delay), delay, k) if t >= delay else None


def _doubled(problem: Objective, w: Array, samples: Array, t: int, delay: int, k: int) -> Array | None:
    g = _intact(problem, w, samples, t, delay, k)
    return None if g is None else 2 * g


INTACT = iterate(_intact)
MUTANTS = {
    "delay one too long": iterate(_delay_too_long),
    "delay one too short": iterate(_delay_too_short),
    "fresh weights in the upper blocks": iterate(_fresh(lambda k: slice(k, None))),
    "wrong sample": iterate(_wrong_sample),
    "missing warm-up rule": iterate(_no_warm_up_rule),
    "current weights instead of stashed": iterate(_current_weights),
}
"""Those that the table of what the claims notice shows."""


def uphill(problem: Objective, w0: Array, samples: Array, rule: Rule) -> Array:
    """Gradient ascent with DDG's delays: what an upper bound must not survive."""

    class Climb:
        blocks = problem.blocks

        def gradient(self, i: int | Array, w: Array) -> Array:
            return np.asarray(-problem.gradient(i, w))

    return INTACT(Climb(), w0, samples, rule)


def early_steps(problem: Objective, w0: Array, samples: Array, rule: Rule) -> Array:
    """DDG with gamma_{t+1} in iteration t; at the end, the last one again. Only for SGD, else ValueError."""
    if not isinstance(rule, SGD):
        raise ValueError(f"rule: expected SGD, got {rule}; another step size is its mistake")
    return INTACT(problem, w0, samples, SGD(np.append(rule.gammas[1:], rule.gammas[-1:])))


CATALOGUE: dict[str, Iteration] = {
    **MUTANTS,
    "delay one too long, in the last module too": iterate(_with_delay(lambda k, K: K - k + 1)),
    "delays the wrong way round": iterate(_with_delay(lambda k, K: k - 1)),
    "the longest delay in every module": iterate(_with_delay(lambda k, K: K - 1)),
    "no delay at all": iterate(_with_delay(lambda k, K: 0)),
    "fresh weights in the lower blocks": iterate(_fresh(lambda k: slice(k - 1))),
    "fresh weights in the module itself": iterate(_fresh(lambda k: slice(k - 1, k))),
    "current weights, overwritten in place": iterate(_overwritten),
    "weights one iteration too new": iterate(_newer_weights),
    "fresh gradients during warm-up": iterate(_fresh_warm_up),
    "first gradient dropped": iterate(_first_dropped),
    "first gradient applied twice": iterate(_first_twice),
    "an old gradient applied again, the newest never": iterate(_old_again),
    "every gradient doubled": iterate(_doubled),
    "step size of the iteration that computed the gradient": iterate(_intact, clock=lambda t, delay: t - delay),
    "step size of the next iteration": early_steps,
    "uphill": uphill,
}
"""What an implementation on trial is compared with (`trial.py`). Each is written for plain SGD, before draining."""
