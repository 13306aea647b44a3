# cell: best-cuts
# message: expected an answer within
# reveals: A right answer that cannot be waited for: the number of cuts explodes with the layers.
def best_cuts(costs, K):
    from itertools import combinations

    return list(min(combinations(range(1, len(costs)), K - 1), key=lambda cuts: slowest(costs, cuts)))
