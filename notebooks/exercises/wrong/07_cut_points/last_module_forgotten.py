# cell: slowest
# message: the last module goes to the end of the network
# reveals: K - 1 cuts are taken for K - 1 modules.
def slowest(costs, cuts):
    bounds = [0, *cuts]
    return max((sum(costs[start:stop]) for start, stop in pairwise(bounds)), default=0)
