"""How many cores there are for this process."""

import os


def usable_cores() -> int:
    """The cores that this process may use: fewer than the machine has where it is bound to some of them."""
    affinity = getattr(os, "sched_getaffinity", None)  # not every system can bind
    return len(affinity(0)) if affinity else os.cpu_count() or 1
