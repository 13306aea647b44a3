# cell: efficiency
# message: pass the latency on, and divide the speed-up by K
# reveals: Only the arithmetic is counted; the messages between devices are not.
def efficiency(forward, backward, cuts, latency):
    costs = np.array(forward) + np.array(backward)
    return sum(costs) / slowest(costs, cuts) / (len(cuts) + 1)


def devices_worth_having(costs, least):
    costs = np.array(costs, float)
    candidates = range(1, len(costs) + 1)
    return max(K for K in candidates if efficiency(costs, costs, best_cuts(costs, K), 0.0) >= least - 1e-12)
