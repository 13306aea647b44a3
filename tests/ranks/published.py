"""Every rank trains on a small published data set that nobody has fetched yet."""

import json
import sys

from small_published import SMALL_CIFAR, cifar_of

from ddg_ref import train
from ddg_ref.data import official
from ddg_ref.mpi.engine import RANK
from ddg_ref.runs.rundir import save

url, options, out = sys.argv[1:]
official.DISTRIBUTIONS["cifar10"] = cifar_of(SMALL_CIFAR, url=url)
run = train(**json.loads(options), engine="mpi")
if RANK == 0:
    save(run, out)
