# cell: in-flight
# message: module 1 applies g(0) at iteration 2
# reveals: The step size is read when the gradient is computed, not when it is applied.
def in_flight(blocks, g, gammas, t):
    K = len(blocks)
    pending = np.zeros(g.shape[1])
    for k, block in enumerate(blocks, start=1):
        for s in range(max(0, t - (K - k)), t):
            pending[block] += gammas[s] * g[s, block]
    return pending
