"""Algorithm 1 of Huo, Gu, Yang, Huang, "Decoupled Parallel Backpropagation with Convergence Guarantee", ICML 2018.

The whole idea, one line after the other, in one thread. Everything else in `ddg_ref` does this at once, on many
devices, for other methods too, and must give the same bits.
"""

from collections.abc import Callable, Sequence

from ddg_ref.arrays import Array, Params
from ddg_ref.computing import computing
from ddg_ref.layers import Cache, Sequential
from ddg_ref.losses import Loss
from ddg_ref.optimizers import Optimizer
from ddg_ref.step_sizes import StepSizes


def algorithm_1(
    modules: Sequence[Sequential],
    w: Sequence[Params],
    batch: Callable[[int], tuple[Array, Array]],
    loss: Loss,
    optimizer: Optimizer,
    gamma: StepSizes,
    iterations: int,
) -> list[Params]:
    """Train K modules for so many iterations, and drain the pipeline; returns the weights.

    `w[k]` are the initial weights of `modules[k]`, `batch(t)` is (x, labels) of iteration t = 0, 1, ... Modules count
    from 0 here, so module k of the paper is k-1 and its delay K-k is K-1-k.
    """
    w, K = list(w), len(modules)
    moments = [optimizer.init(w[k]) for k in range(K)]
    flights: list[dict[int, tuple[Params, Cache]]] = [{} for _ in modules]  # batch: weights and cache
    errors: list[dict[int, Array]] = [{} for _ in modules]  # batch: the error gradient that waits above
    with computing():
        for t in range(iterations + K - 1):
            if t < iterations:
                h, labels = batch(t)
                for k in range(K):  # forward: h_k(t) = F_k(h_{k-1}(t); w_k(t))
                    h, cache = modules[k].forward(w[k], h)
                    flights[k][t] = w[k], cache
                errors[K - 1][t] = loss(h, labels)[1]
            for k in reversed(range(K)):  # backward, all modules at once: each on batch s = t - (K-k)
                s = t - (K - 1 - k)
                if 0 <= s < iterations:
                    old, cache = flights[k].pop(s)  # the weights w_k(s) that its forward pass used
                    dx, grads = modules[k].backward(old, cache, errors[k].pop(s))
                    if k > 0:
                        errors[k - 1][s] = dx  # which module k-1 will use in the next iteration
                    w[k], moments[k] = optimizer.update(w[k], grads, moments[k], gamma(t))
    return w
