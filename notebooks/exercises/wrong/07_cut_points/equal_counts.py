# cell: best-cuts
# message: neither equal numbers of layers nor filling up to the average is always best
# reveals: Layers are counted, not weighed.
def best_cuts(costs, K):
    return [len(costs) * k // K for k in range(1, K)]
