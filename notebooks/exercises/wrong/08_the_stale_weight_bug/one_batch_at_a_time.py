# cell: diagnose
# message: two batches must be in flight when weights move
# reveals: Tested as if there were no delay: with one batch in flight every suspect looks healthy.
def diagnose(module, xs, dys, gamma=0.5):
    for batch in (0, 1):
        module.forward(batch, xs[batch])
        before = {name: array.copy() for name, array in module.params.items()}
        _, grads = module.backward(batch, dys[batch])
        if not is_gradient_at(before, module.layers, xs[batch], dys[batch], grads):
            return "present weights"
        module.update(grads, gamma)
        if not all(np.allclose(module.params[name], before[name] - gamma * grads[name]) for name in before):
            return "old gradient again"
    return "healthy"
