# cell: best-cuts
# message: neither equal numbers of layers nor filling up to the average is always best
# reveals: A greedy rule is trusted because it is right on the examples that come to mind.
def best_cuts(costs, K):
    cuts, filled = [], 0
    average = sum(costs) / K
    for i, cost in enumerate(costs):
        left = len(costs) - i
        missing = K - 1 - len(cuts)
        if i and missing and (filled + cost > average or left == missing):
            cuts.append(i)
            filled = 0
        filled += cost
    while len(cuts) < K - 1:
        cuts.append(len(costs) - (K - 1 - len(cuts)))
    return cuts
