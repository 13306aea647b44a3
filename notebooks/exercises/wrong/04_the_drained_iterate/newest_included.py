# cell: in-flight
# message: in flight at t = 0: expected 0
# reveals: Off by one: the gradient of iteration t is counted before it has been computed.
def in_flight(blocks, g, gammas, t):
    K = len(blocks)
    pending = np.zeros(g.shape[1])
    for k, block in enumerate(blocks, start=1):
        for s in range(max(0, t - (K - k)), min(t + 1, len(g))):
            pending[block] += gammas[s + K - k] * g[s, block]
    return pending
