"""DDG, broken in one place each: what the identity claims must notice."""

import numpy as np


def iterate(gradient_for):
    """An iteration whose block k takes gradient_for(problem, w, samples, t, d_k, k), or nothing where that is
    None."""

    def iteration(problem, w0, samples, rule):
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


def _intact(problem, w, samples, t, delay, k):
    return problem.gradient(samples[:, t - delay], w[t - delay]) if t >= delay else None


def _delay_too_long(problem, w, samples, t, delay, k):
    return _intact(problem, w, samples, t, delay + 1 if delay else 0, k)


def _delay_too_short(problem, w, samples, t, delay, k):
    return _intact(problem, w, samples, t, max(0, delay - 1), k)


def _fresh_weights_in_the_upper_blocks(problem, w, samples, t, delay, k):
    if t < delay:
        return None
    mixed = w[t - delay].copy()
    for block in problem.blocks[k:]:
        mixed[:, block] = w[t][:, block]
    return problem.gradient(samples[:, t - delay], mixed)


def _wrong_sample(problem, w, samples, t, delay, k):
    return problem.gradient(samples[:, t], w[t - delay]) if t >= delay else None


def _no_warm_up_rule(problem, w, samples, t, delay, k):
    return _intact(problem, w, samples, max(t, delay), delay, k)


def _current_weights(problem, w, samples, t, delay, k):
    return problem.gradient(samples[:, t - delay], w[t]) if t >= delay else None


INTACT = iterate(_intact)
MUTANTS = {
    "delay one too long": iterate(_delay_too_long),
    "delay one too short": iterate(_delay_too_short),
    "fresh weights in the upper blocks": iterate(_fresh_weights_in_the_upper_blocks),
    "wrong sample": iterate(_wrong_sample),
    "missing warm-up rule": iterate(_no_warm_up_rule),
    "current weights instead of stashed": iterate(_current_weights),
}


def uphill(problem, w0, samples, rule):
    """Gradient ascent with DDG's delays: what an upper bound must not survive."""

    class Climb:
        blocks = problem.blocks

        def gradient(self, i, w):
            return -problem.gradient(i, w)

    return INTACT(Climb(), w0, samples, rule)
