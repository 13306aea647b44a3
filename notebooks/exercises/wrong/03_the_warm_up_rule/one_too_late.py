# cell: iterates
# message: warm-up ends one iteration too late
# reveals: A strict inequality where the rule has >=: the first gradient is lost.
def iterates(problem, w0, samples, gamma):
    K, T = len(problem.blocks), len(samples)
    w = np.empty((T + 1, len(w0)))
    w[0] = w0
    for t in range(T):
        w[t + 1] = w[t]
        for k, block in enumerate(problem.blocks, start=1):
            s = t - (K - k)
            if s > 0:
                w[t + 1, block] -= gamma * problem.gradient(samples[s], w[s])[block]
    return w
