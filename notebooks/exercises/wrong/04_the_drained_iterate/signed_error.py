# cell: identity-error
# message: take absolute values, and the largest over every iteration
# reveals: A test that cannot see errors of one sign.
def identity_error(blocks, x, g, gammas):
    K, largest = len(blocks), 0.0
    for t in range(len(g)):
        for k, block in enumerate(blocks, start=1):
            stepped = x[t, block] - gammas[t + K - k] * g[t, block]
            largest = max(largest, float((x[t + 1, block] - stepped).max()))
    return largest
