"""DDG, right and wrong, as somebody else might write it: what `python -m theory verify --iteration` is given."""

import time
from collections import deque

import numpy as np


def loops(problem, w0, samples, gammas):
    """Over iterations and modules, from all the weights that ever were."""
    K, T = len(problem.blocks), len(samples)
    w = [w0]
    for t in range(T + K - 1):
        new = w[t].copy()
        for k, block in enumerate(problem.blocks, start=1):
            s = t - (K - k)
            if 0 <= s < T:
                new[block] -= gammas[t] * problem.gradient(samples[s], w[s])[block]
        w.append(new)
    return np.array(w)


def queue(problem, w0, samples, gammas):
    """A queue of gradients for each module, empty at first."""
    K = len(problem.blocks)
    queues = [deque([None] * (K - k)) for k in range(1, K + 1)]
    w, seen = w0.copy(), [w0]
    for t, gamma in enumerate(gammas):
        g = problem.gradient(samples[t], w) if t < len(samples) else None
        for waiting, block in zip(queues, problem.blocks, strict=True):
            waiting.append(g)
            old = waiting.popleft()
            if old is not None:
                w[block] += -gamma * old[block]
        seen.append(w.copy())
    return np.array(seen)


def delayed_view(problem, w0, samples, gammas):
    """The recursion of the drained iterate, read late."""
    T, d = len(samples), len(w0)
    delay = np.empty(d, dtype=int)
    for k, block in enumerate(problem.blocks, start=1):
        delay[block] = len(problem.blocks) - k
    x, coordinates = np.tile(w0, (T + 1, 1)), np.arange(d)
    for t in range(T):
        x[t + 1] = x[t] - gammas[t + delay] * problem.gradient(samples[t], x[np.maximum(0, t - delay), coordinates])
    times = np.arange(len(gammas) + 1)[:, None] - delay
    return x[np.clip(times, 0, T), coordinates]


def sums(problem, w0, samples, gammas):
    """w^0 less the sum of all that has been applied, the newest first."""
    K, T = len(problem.blocks), len(samples)
    g, w = [], []
    for t in range(T + K):
        now = w0.copy()
        for k, block in enumerate(problem.blocks, start=1):
            applied = range(min(T, max(0, t - (K - k))))
            now[block] -= sum(gammas[s + K - k] * g[s][block] for s in reversed(applied))
        w.append(now)
        if t < T:
            g.append(problem.gradient(samples[t], now))
    return np.array(w)


RIGHT = (loops, queue, delayed_view, sums)


def one_list(problem, w0, samples, gammas):
    """All batches go back with the weights of the moment, which the modules below have changed already."""
    K, T = len(problem.blocks), len(samples)
    w, seen = w0.copy(), [w0]
    for t in range(T + K - 1):
        for k, block in enumerate(problem.blocks, start=1):
            s = t - (K - k)
            if 0 <= s < T:
                w[block] -= gammas[t] * problem.gradient(samples[s], w)[block]
        seen.append(w.copy())
    return np.array(seen)


def no_drain(problem, w0, samples, gammas):
    w = loops(problem, w0, samples, gammas)
    w[len(samples) + 1 :] = w[len(samples)]
    return w


def almost(problem, w0, samples, gammas):
    """Wrong by a millionth of the step, in one module of five or more, late."""
    w = loops(problem, w0, samples, gammas)
    if len(problem.blocks) >= 5:
        w[-1, problem.blocks[0]] += 1e-6 * (w[-1] - w[0])[problem.blocks[0]]
    return w


def for_six(problem, w0, samples, gammas):
    """Wrong only where nothing is compared but by the claims: more than 12 iterations."""
    w = loops(problem, w0, samples, gammas)
    if len(samples) > 12:
        w[9] = w[8]
    return w


def of_its_own(problem, w0, samples, gammas):
    """Wrong in a way that has no name: module 1 takes a third of its steps."""
    w = loops(problem, w0, samples, gammas)
    first = problem.blocks[0]
    w[:, first] = w0[first] + (w[:, first] - w0[first]) / 3
    return w


def two_arguments(problem, w0):
    return w0


not_a_function = 3


def raises(problem, w0, samples, gammas):
    return {}["gradient"]


def leaves(problem, w0, samples, gammas):
    raise SystemExit(0)


def writes(problem, w0, samples, gammas):
    w0 -= gammas[0] * problem.gradient(samples[0], w0)
    return loops(problem, w0, samples, gammas)


def without_draining(problem, w0, samples, gammas):
    return loops(problem, w0, samples, gammas)[: len(samples) + 1]


def transposed(problem, w0, samples, gammas):
    return loops(problem, w0, samples, gammas).T


def a_list(problem, w0, samples, gammas):
    return list(loops(problem, w0, samples, gammas))


def single(problem, w0, samples, gammas):
    return loops(problem, w0, samples, gammas).astype(np.float32)


def empty_rows(problem, w0, samples, gammas):
    w = loops(problem, w0, samples, gammas)
    w[2, -1] = np.nan
    return w


def half_a_point(problem, w0, samples, gammas):
    return np.array([problem.gradient(samples[0], w0[problem.blocks[0]])])


def whole_batch(problem, w0, samples, gammas):
    return np.array([problem.gradient(samples, w0)])


def at_random(problem, w0, samples, gammas):
    return loops(problem, w0, samples, gammas) + np.random.default_rng().normal(size=len(w0))


def endless(problem, w0, samples, gammas):
    while True:
        try:
            time.sleep(0.01)
        except BaseException:
            continue
