# cell: iterates
# message: the delays are reversed: module 1 is the one that waits longest
# reveals: Modules are counted from the wrong end: the error gradient starts at the output.
def iterates(problem, w0, samples, gamma):
    T = len(samples)
    w = np.empty((T + 1, len(w0)))
    w[0] = w0
    for t in range(T):
        w[t + 1] = w[t]
        for k, block in enumerate(problem.blocks, start=1):
            s = t - (k - 1)
            if s >= 0:
                w[t + 1, block] -= gamma * problem.gradient(samples[s], w[s])[block]
    return w
