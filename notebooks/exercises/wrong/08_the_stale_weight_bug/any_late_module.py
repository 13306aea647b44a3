# cell: shows
# message: a late module shows it only if its own gradients, or the dx that it sends on, need weights
# reveals: Every delay is taken to matter, whatever the module computes; such a test network would prove nothing.
shows = {
    "K = 1, deep": False,
    "K = 2, deep": True,
    "K = 2, one Linear per module": True,
    "K = 3, one Linear per module": True,
}
