# cell: held
# message: a batch stays from its forward pass (iteration b) to its backward pass (iteration b + K - k)
# reveals: The first K-k iterations are forgotten: batches with negative numbers appear.
def held_after_forward(k, K, t):
    return list(range(t - (K - k), t + 1))
