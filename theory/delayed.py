"""DDG on plain functions of R^d: the iteration, its drained iterate, and draining.

Huo, Gu, Yang, Huang, ICML 2018, arXiv 1804.10574. Block k of K (k = 1 nearest the input) is d_k = K - k
iterations late:

    w_k^{t+1} = w_k^t - gamma_t grad_k f_{i(t-d_k)}(w^{t-d_k})   if t >= d_k, else w_k^t.

Everything is vectorised over R sample sequences: samples (R, T) integers, w0 (d,), iterates (T+1, R, d), and
step sizes (T+K-1,), of which the last K-1 belong to the iterations in which the pipeline drains. Arrays may
hold floats or, as objects, exact Fractions: the iteration is the same text.

The drained iterate is a virtual, or perturbed, iterate, as in the analysis of asynchronous SGD: Mania et al., SIAM J.
Optim. 27(4), 2017; Stich and Karimireddy, JMLR 21, 2020; Koloskova et al., arXiv 2206.08307, 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np

from theory.optimizers import SGD, Rule
from theory.problems import Array


class Objective(Protocol):
    """What the iteration needs to know of a problem."""

    @property
    def blocks(self) -> tuple[slice, ...]: ...

    def gradient(self, i: int | Array, w: Array) -> Array: ...


Iteration: TypeAlias = Callable[[Objective, Array, Array, Rule], Array]


def ddg(problem: Objective, w0: Array, samples: Array, rule: Rule) -> Array:
    """The iterates w^0..w^T of DDG, warm-up included (Algorithm 1 of the paper; any block-wise rule)."""
    check_samples(samples)
    R, T = samples.shape
    K = len(problem.blocks)
    w = np.empty((T + 1, R, len(w0)), dtype=w0.dtype)
    g = np.empty((T, R, len(w0)), dtype=w0.dtype)
    w[0] = w0
    states = [rule.start(w[0][:, block]) for block in problem.blocks]
    for t in range(T):
        g[t] = problem.gradient(samples[:, t], w[t])
        w[t + 1] = w[t]
        for k, block in enumerate(problem.blocks, start=1):
            s = t - (K - k)
            if s >= 0:
                states[k - 1], w[t + 1][:, block] = rule.step(states[k - 1], t, w[t][:, block], g[s][:, block])
    return w


def drained_recursion(problem: Objective, w0: Array, samples: Array, rule: Rule) -> Array:
    """x^0..x^T from their own recursion, without DDG: the rule fed with a gradient read at delayed blocks,

    x_k^{t+1} = Rule(x_k^t, grad_k f_{i(t)}(x_1^{t-K+1}, ..., x_K^t)),   with x^s = w^0 for s < 0.

    A schedule reads the clock of the iteration in which DDG applies that gradient, t + d_k.
    """
    check_samples(samples)
    R, T = samples.shape
    K = len(problem.blocks)
    x = np.empty((T + 1, R, len(w0)), dtype=w0.dtype)
    x[0] = w0
    states = [rule.start(x[0][:, block]) for block in problem.blocks]
    for t in range(T):
        late = np.empty_like(x[0])
        for k, block in enumerate(problem.blocks, start=1):
            late[:, block] = x[max(0, t - (K - k))][:, block]
        gradient = problem.gradient(samples[:, t], late)
        for k, block in enumerate(problem.blocks, start=1):
            states[k - 1], x[t + 1][:, block] = rule.step(states[k - 1], t + K - k, x[t][:, block], gradient[:, block])
    return x


def check_samples(samples: Array) -> None:
    """ValueError unless samples is a nonempty (R, T) array of integers."""
    if samples.ndim != 2 or not np.issubdtype(samples.dtype, np.integer) or samples.size == 0:
        raise ValueError(
            f"samples: expected a nonempty (R, T) array of integers, "
            f"got shape {samples.shape} of {samples.dtype}; use exact.all_sequences(n, T)"
        )


@dataclass(frozen=True, eq=False)
class Run:
    """One experiment with the paper's rule: its iterates, and everything the statements say about them.

    All derived arrays come from w alone, by definition; nothing is taken on trust from the iteration.
    """

    problem: Objective
    samples: Array
    gammas: Array
    w: Array

    @staticmethod
    def of(problem: Objective, w0: Array, samples: Array, gammas: Array, iteration: Iteration = ddg) -> Run:
        """Run `iteration` (DDG, or a broken copy of it in a mutation test) with T+K-1 step sizes."""
        check_samples(samples)
        needed = samples.shape[1] + len(problem.blocks) - 1
        if gammas.shape != (needed,):
            raise ValueError(
                f"gammas: expected T + K - 1 = {needed} step sizes, got shape {gammas.shape}; "
                "give one per iteration and one per draining iteration"
            )
        return Run(problem, samples, gammas, iteration(problem, w0, samples, SGD(gammas)))

    @property
    def T(self) -> int:  # noqa: N802
        """Number of iterations."""
        return int(self.samples.shape[1])

    @cached_property
    def g(self) -> Array:
        """g(t) = grad f_{i(t)}(w^t), shape (T, R, d)."""
        return np.stack([self.problem.gradient(self.samples[:, t], self.w[t]) for t in range(self.T)])

    @cached_property
    def in_flight(self) -> Array:
        """What is computed and not yet applied, (T+1, R, d): block k of it is
        sum_{max(0, t-d_k) <= s < t} gamma_{s+d_k} g_k(s)."""
        K = len(self.problem.blocks)
        pending = np.zeros_like(self.w)
        for t in range(self.T + 1):
            for k, block in enumerate(self.problem.blocks, start=1):
                for s in range(max(0, t - (K - k)), t):
                    pending[t][:, block] += self.gammas[s + K - k] * self.g[s][:, block]
        return pending

    @cached_property
    def x(self) -> Array:
        """The drained iterate x^t = w^t - in_flight^t, shape (T+1, R, d)."""
        return np.asarray(self.w - self.in_flight)

    def drain(self) -> Array:
        """Stop the data after iteration T and let the pipeline empty: K-1 more iterations, shape (R, d)."""
        K = len(self.problem.blocks)
        w = self.w[-1].copy()
        for t in range(self.T, self.T + K - 1):
            for k, block in enumerate(self.problem.blocks, start=1):
                if 0 <= t - (K - k) < self.T:
                    w[:, block] -= self.gammas[t] * self.g[t - (K - k)][:, block]
        return np.asarray(w)
