"""The algorithm in one thread, as the paper writes it (Huo, Gu, Yang, Huang, ICML 2018, Algorithm 1).

This is the oracle for the workers, and imports nothing from them:

    w_k(t+1) = Opt( w_k(t), grad_k f_{i(t-d_k)}( w(t-d_k) ) ),   d_k = K - k,   no step of module k while t < d_k.

The gradient is the one at the weights of iteration t-d_k in every module, also in those above k that the error gradient
passed through, because each goes back with the weights that its own forward pass of that batch used.
"""

from ddg_ref.arrays import one_blas_thread, unwatched_overflow
from ddg_ref.modules import Pipeline
from ddg_ref.task import Progress, Task


def run(pipeline: Pipeline, task: Task, start: int, stop: int) -> Progress:
    """Iterations start, ..., stop-1. From `task.iterations` on no batch enters any more: the pipeline drains.

    Raises DivergenceError, and whatever a layer raises.
    """
    with one_blas_thread(), unwatched_overflow():
        for t in range(start, stop):
            if not iterate(pipeline, task, t):
                return Progress(t, [])
    return Progress(stop, [])


def iterate(pipeline: Pipeline, task: Task, t: int) -> bool:
    """Iteration t; False, and nothing is done, if the task was asked to stop before it."""
    modules, errors = pipeline.modules, pipeline.errors

    if t < task.iterations:  # forward, one module after the other
        x = task.enter(t)
        if x is None:
            return False
        for module in modules:
            with module.device.opened():
                x = module.forward(t, module.device.receive(x))
        with modules[-1].device.opened():
            errors[-1].append((t, task.error_gradient(t, x)))

    for k in reversed(range(len(modules))):  # backward, each on the oldest error gradient that waits above it
        module = modules[k]
        batch = t - module.delay
        if 0 <= batch < task.iterations:
            arrived, dy = errors[k].popleft()
            assert arrived == batch
            with module.device.opened():
                dx, grads = module.backward(batch, dy)
                module.update(grads, task.gamma(t))
            if dx is not None:
                below = modules[k - 1].device
                with below.opened():
                    errors[k - 1].append((batch, below.receive(dx)))
    return True
