"""One rank leaves the program between two runs; the others must not wait for it."""

import sys

from runs import SMALL, TINY

from ddg_ref import train
from ddg_ref.mpi.launch import rank
from ddg_ref.runs.config import Config

how, who = sys.argv[1], int(sys.argv[2])
config = Config(data="tiny", **SMALL | {"engine": "mpi", "modules": 2})
train(config, data=TINY)
if rank() == who:
    if how == "exit":
        sys.exit(3)
    if how == "error":
        raise KeyError("planted")
    if how == "end":
        sys.argv[1] = "done"
if sys.argv[1] != "done":
    train(config, data=TINY)
print(f"rank {rank()} is through")
