# cell: iterates
# message: the gradient of batch 0 is applied again and again during warm-up
# reveals: A guard against negative indices takes the place of the warm-up rule.
def iterates(problem, w0, samples, gamma):
    K, T = len(problem.blocks), len(samples)
    w = np.empty((T + 1, len(w0)))
    w[0] = w0
    for t in range(T):
        w[t + 1] = w[t]
        for k, block in enumerate(problem.blocks, start=1):
            s = max(0, t - (K - k))
            w[t + 1, block] -= gamma * problem.gradient(samples[s], w[s])[block]
    return w
