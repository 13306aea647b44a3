# cell: drained
# message: draining subtracts from w^T all that is in flight
# reveals: What is in flight is added: the drained iterate is taken for an older one instead of a later one.
def drained(blocks, w, g, gammas):
    return np.array([w[t] + in_flight(blocks, g, gammas, t) for t in range(len(w))])
