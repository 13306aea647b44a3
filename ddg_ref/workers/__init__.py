"""The running system: workers with a module each, or several, the same loop for all, whatever carries the messages.

Why it cannot deadlock
----------------------

`ddg_ref.deadlock` proves it for any schedule by performing it symbolically, and every engine asks it before it starts.
This is why it holds for the rows of `ddg_ref.methods`, in words.

A worker's operations come in one fixed order. In iteration t it takes the activation of batch t and gives its own; then
it takes the error gradient of batch t - d_k, unless it runs backward on a guess, and gives its own; one that guesses
takes last of all the error gradient of batch t-1. Where batches are split there are several messages of each kind, all
activations before all error gradients (`1f1b` mixes them; for it, see `check`). Let s_k be the iterations that an error
gradient has to cross the boundary between modules k and k+1: s_k = d_k - d_{k+1} >= 0, and 1 where one guesses. A
channel holds one message at least, and one for error gradients holds s_k at least.

Rank all operations of all workers by iteration, and within an iteration in groups:

  (A) takes and gives of activations: by micro-batch, and for each from module 1 to module K;
  (B) takes of error gradients;
  (C) gives of error gradients,

where B and C are ordered as the method's row asks:

  s_k > 0, no guesses (`ddg`, `fr`, `fdg`, ...): all of B before all of C;
  s_k = 0 (`bp`, `gpipe`): alternating, by micro-batch, and for each from module K down to module 1;
  guesses (`dni`): alternating from module 1 up to module K, of each module first C and then B.

Where boundaries of the first two kinds meet, modules joined by s_k = 0 alternate, group after group from the left. In
each case this is an order in which each worker does its own operations, and every operation waits
only for ones of lower rank:

- a take of an activation waits for the left neighbour's give of it, earlier in A;
- a give of an activation waits for room: for the right neighbour's take of an older one, at an earlier iteration or,
  of an earlier micro-batch, earlier in A;
- a take of an error gradient waits for the right neighbour's give of it: in C of s_k iterations before, or, if s_k = 0,
  earlier in the alternation;
- a give of an error gradient waits for room. If s_k > 0 that is the left neighbour's take of the one s_k batches older,
  or of one older still. The give of batch b is in iteration b + d_{k+1}, the take of batch b - s_k in iteration
  b - s_k + d_k, or b - s_k + 1 with guesses: the same. There B comes before C, and with guesses the left
  neighbour's B before this one's C. If s_k = 0 it is the take of the message before, earlier in the alternation or in
  the iteration before.

If workers were blocked for ever, one of their blocked operations would have the lowest rank; what it waits for has a
lower rank still, so it is not blocked, and happens. Larger channels only remove waits. Those that wait in a channel
when a call of the engine ends are the s_k last ones, for which there is room. A stop changes nothing: it takes the way
of an activation, and whoever has passed it on has done what the others of the iterations before wait for. A failed
worker cannot block anybody either: it sets a signal that wakes whoever waits.

Between MPI ranks the argument is the same: a give waits while `CAPACITY` >= s_k sends are incomplete, and the oldest of
them completes at the latest when its receiver takes it. A rank that fails sends a notice to all others, which whoever
waits looks for; and at the end of a call every rank receives what it was sent and has not taken.
"""
