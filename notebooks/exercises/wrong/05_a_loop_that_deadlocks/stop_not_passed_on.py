# cell: work
# message: None has to reach every module: pass it on before you return
# reveals: One worker leaves by the back door; its neighbours wait for a message that nobody will send.
def work(module, left, right, task, start, stop, begin):
    for t in range(start, stop):
        if t < task.iterations:
            begin("take activation", t, t)
            x = left.take_activation(t)
            if x is None:
                return t
            right.give_activation(t, module.forward(t, x))
        batch = t - module.delay
        if 0 <= batch < task.iterations:
            begin("take error", t, batch)
            dx, grads = module.backward(batch, right.take_error(batch))
            left.give_error(batch, dx)
            module.update(grads, task.gamma(t))
    return stop
