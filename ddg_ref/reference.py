"""Every method in one thread, as the papers write them; first of all DDG (Huo et al., ICML 2018, Algorithm 1).

This is the oracle for the workers, and imports nothing from them. With the delay d_k of module k, which is K-k for DDG,

    w_k(t+1) = Opt( w_k(t), grad_k f_{i(t-d_k)}( w(t-d_k) ) ),   no step of module k while t < d_k.

The gradient is the one at the weights of iteration t-d_k in every module, also in those above k that the error gradient
passed through, because each goes back with the weights that its own forward pass of that batch used. Methods that go
back with other weights, or on a guess, put another vector in the gradient's place: `ddg_ref.methods` says which.
"""

from ddg_ref.arrays import computing, joined, split, total
from ddg_ref.modules import Pipeline
from ddg_ref.task import Progress, Task


def run(pipeline: Pipeline, task: Task, start: int, stop: int) -> Progress:
    """Iterations start, ..., stop-1. From `task.iterations` on no batch enters any more: the pipeline drains.

    Raises DivergenceError, and whatever a layer raises.
    """
    with computing():
        for t in range(start, stop):
            if not iterate(pipeline, task, t):
                return Progress(t, [])
    return Progress(stop, [])


def iterate(pipeline: Pipeline, task: Task, t: int) -> bool:
    """Iteration t; False, and nothing is done, if the task was asked to stop before it."""
    modules, errors = pipeline.modules, pipeline.errors

    if t < task.iterations:  # forward, one module after the other, in one part or in several
        x = task.enter(t)
        if x is None:
            return False
        parts = split(x, len(task.messages(t, pipeline.micro_batches)))
        for module in modules:
            with module.device.opened():
                parts = [module.forward(t, module.device.receive(part)) for part in parts]
        with modules[-1].device.opened():
            dy = task.error_gradient(t, joined(parts))
            errors[-1].extend((t, part) for part in split(dy, len(parts)))

    for k in reversed(range(len(modules))):  # backward, each on the oldest error gradient that waits above it
        module = modules[k]
        batch = t - module.delay
        if 0 <= batch < task.iterations:
            grads, down = [], []
            with module.device.opened():
                for _ in task.messages(batch, pipeline.micro_batches):
                    if module.synthesizer is None:
                        arrived, dy = errors[k].popleft()
                        assert arrived == batch
                    else:
                        dy = module.synthesizer.predict(batch, task.labels)
                    dx, part = module.backward(batch, dy)
                    grads.append(part)
                    if dx is not None:
                        down.append(dx)
                module.update(total(grads), task.gamma(t))
            if k > 0:
                below = modules[k - 1].device
                with below.opened():
                    errors[k - 1].extend((batch, below.receive(dx)) for dx in down)
        if module.synthesizer is not None and 0 <= t - module.arrival < task.iterations:
            arrived, dy = errors[k].popleft()
            assert arrived == t - module.arrival
            with module.device.opened():
                module.synthesizer.train(arrived, dy, task.labels)
    return True
