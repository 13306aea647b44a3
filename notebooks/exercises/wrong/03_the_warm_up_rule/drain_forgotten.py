# cell: batch-for
# message: the drain applies what is on its way
# reveals: Training is taken to end with the last batch; gradients in flight are thrown away.
def batch_for(k, K, t, T):
    batch = t - (K - k)
    return batch if batch >= 0 and t < T else None
