"""A rank of a run is stopped in the middle, or does something for longer than the stall timeout.

    stopping.py WHERE WHO SECONDS [train options]

At the point WHERE (loading, training, evaluating) rank WHO stops its process; or, with SECONDS, sleeps so long in it.
If WHO is "all", every rank is stopped there and continued. At "each phase" it does so in every forward, backward and
update.
"""

import os
import signal
import subprocess
import sys
import time

from ddg_ref.cli import main as cli
from ddg_ref.data import Batches
from ddg_ref.modules import Module
from ddg_ref.mpi.launch import rank
from ddg_ref.runs.training import Training

PLACES = {
    "loading": [(Batches, "__init__")],
    "training": [(Module, "update")],
    "evaluating": [(Training, "evaluate")],
    "each phase": [(Module, "forward"), (Module, "backward"), (Module, "update")],
}
where, who, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
del sys.argv[1:4]
last = {"training": 12, "each phase": 0}.get(where, 1)
"""Which of the calls it is; each one for 0."""


def halt():
    if who == "all":
        subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -CONT {os.getpid()}"], start_new_session=True)
    if who == "all" or not seconds:
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        time.sleep(seconds)


def plant(owner, name):
    usual, calls = getattr(owner, name), []

    def halting(*arguments, **options):
        calls.append(None)
        if last in (0, len(calls)) and who in ("all", str(rank())):
            halt()
        return usual(*arguments, **options)

    setattr(owner, name, halting)


for place in PLACES[where]:
    plant(*place)
cli.main()
