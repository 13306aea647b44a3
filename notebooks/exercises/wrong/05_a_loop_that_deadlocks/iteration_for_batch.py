# cell: reading
# message: the batch is the iteration minus the delay of module 1
# reveals: Iteration and batch are taken for the same thing; under delayed gradients they differ by the delay.
waits_for_batch = {"bp": 0, "ddg": 3}
held_by_module = {"bp": 2, "ddg": 2}
