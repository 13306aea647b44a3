# cell: in-flight
# message: during warm-up a negative index counts from the end of the array
# reveals: Warm-up is forgotten, and Python answers a negative index with somebody else's gradient.
def in_flight(blocks, g, gammas, t):
    K = len(blocks)
    pending = np.zeros(g.shape[1])
    for k, block in enumerate(blocks, start=1):
        for s in range(t - (K - k), t):
            pending[block] += gammas[s + K - k] * g[s, block]
    return pending
