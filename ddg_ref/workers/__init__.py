"""The running system: one worker per module, the same loop for all, whatever carries the messages.

Why it cannot deadlock
----------------------

A worker's operations come in one fixed order (`worker.work`): in iteration t it takes the activation of batch t, gives
its own, takes the error gradient of batch t - d_k, gives its own. Rank all operations of all workers by iteration, and
within an iteration in four groups:

  (A) takes and gives of activations, from module 1 to module K;
  (B) takes of error gradients;
  (C) gives of error gradients,

where for `ddg` all of B comes before all of C, and for `bp`, whose error gradient crosses every boundary within the
iteration, B and C alternate from module K down to module 1. This is an order in which each worker does its own
operations, and every operation waits only for ones of lower rank, also when a channel holds a single message:

- a take of an activation waits for the left neighbour's give of it, earlier in A;
- a give of an activation waits for room: for the right neighbour's take of an older one, at an earlier iteration;
- a take of an error gradient waits for the right neighbour's give of it: in C of the iteration before (`ddg`, since
  d_k = d_{k+1} + 1), or earlier in the alternation (`bp`);
- a give of an error gradient waits for the left neighbour's take of an older one: in B of the same iteration or before.

If workers were blocked for ever, one of their blocked operations would have the lowest rank; what it waits for has a
lower rank still, so it is not blocked, and happens. Larger channels only remove waits. A failed worker cannot block
anybody either: it sets a signal that wakes whoever waits.

Between MPI ranks the argument is the same: a give waits while `CAPACITY` sends are incomplete, and the oldest of them
completes at the latest when its receiver takes it. A rank that fails sends a notice to all others, which whoever waits
looks for; and at the end of a call every rank receives what it was sent and has not taken.
"""
