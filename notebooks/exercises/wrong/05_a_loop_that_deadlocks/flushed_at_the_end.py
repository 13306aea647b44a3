# cell: work
# message: what a neighbour waits for must be handed over before you wait for anything yourself
# reveals: The symptom seen under ddg is treated (the last message), not its cause; backpropagation still hangs.
def work(module, left, right, task, start, stop, begin):
    held = None
    for t in range(start, stop):
        if t < task.iterations:
            begin("take activation", t, t)
            x = left.take_activation(t)
            if x is None:
                right.give_activation(t, None)
                return t
            if held is not None:
                left.give_error(*held)
                held = None
            right.give_activation(t, module.forward(t, x))
        batch = t - module.delay
        if 0 <= batch < task.iterations:
            begin("take error", t, batch)
            dx, grads = module.backward(batch, right.take_error(batch))
            held = (batch, dx)
            module.update(grads, task.gamma(t))
    if held is not None:
        left.give_error(*held)
    return stop
