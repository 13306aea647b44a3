"""ddg_ref's engines, broken in one place each: what the claims about the running system must notice."""

from dataclasses import replace

from ddg_ref.schedules import delayed
from ddg_ref.task import Task
from ddg_ref.workers import one_thread


def with_modules(change):
    """An engine that changes every module before it runs."""

    def engine(pipeline, task, start, stop):
        drains = stop > task.iterations
        for module in pipeline.modules:
            change(module, len(pipeline.modules))
        lasting = Task(task.batch, task.loss, lambda t: task.gamma(min(t, stop - 1)), task.iterations)
        return one_thread.run(pipeline, lasting, start, task.iterations + pipeline.delay if drains else stop)

    return engine


def _delayed_by(delay):
    """Each module's schedule with another delay. It takes the error gradients that it would have taken then."""

    def change(module, K):
        method = replace(module.method, schedule=delayed(delay))
        module.method, module.delay, module.lag = method, method.delay(module.k, K), method.lag(module.k, K)

    return change


def _current_weights(module, K):
    intact = module.backward

    def backward(batch, dy):
        module.queue[0] = module.queue[0]._replace(params=module.params)
        return intact(batch, dy)

    module.backward = backward


def _update_in_place(module, K):
    intact = module.update

    def update(grads, gamma):
        old = module.params
        intact(grads, gamma)
        for name, array in module.params.items():
            old[name][...] = array
        module.params = old

    module.update = update


def _gradient_twice(module, K):
    intact, previous = module.update, []

    def update(grads, gamma):
        previous.append(grads)
        intact(previous[max(0, len(previous) - 2)], gamma)

    module.update = update


def no_drain(pipeline, task, start, stop):
    return one_thread.run(pipeline, task, start, min(stop, task.iterations))


def another_clock(pipeline, task, start, stop):
    """The step size of the next iteration."""
    shifted = Task(task.batch, task.loss, lambda t: task.gamma(min(t + 1, stop - 1)), task.iterations)
    return one_thread.run(pipeline, shifted, start, stop)


BROKEN = {
    "delay one too long": with_modules(_delayed_by(lambda k, K: K - k + (k < K))),
    "delay one too short": with_modules(_delayed_by(lambda k, K: max(0, K - k - 1))),
    "current weights instead of stashed": with_modules(_current_weights),
    "stash overwritten in place": with_modules(_update_in_place),
    "an old gradient applied again": with_modules(_gradient_twice),
    "no drain": no_drain,
    "step size of another iteration": another_clock,
}
