# cell: diagnose
# message: copy the arrays before the update: this suspect writes into the very arrays that you hold
# reveals: Aliasing: the witness is changed together with the evidence.
def diagnose(module, xs, dys, gamma=0.5):
    layers, start = module.layers, module.params
    module.forward(0, xs[0])
    module.forward(1, xs[1])
    _, first = module.backward(0, dys[0])
    if not is_gradient_at(start, layers, xs[0], dys[0], first):
        return "wrong batch"
    module.update(first, gamma)
    _, second = module.backward(1, dys[1])
    if not is_gradient_at(start, layers, xs[1], dys[1], second):
        return "present weights"
    expected = {name: array - gamma * second[name] for name, array in module.params.items()}
    module.update(second, gamma)
    moved_right = all(np.allclose(module.params[name], expected[name]) for name in expected)
    return "healthy" if moved_right else "old gradient again"
