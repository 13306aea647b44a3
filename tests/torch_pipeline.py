"""Two processes that train by torch.distributed.pipelining: `python -m tests.torch_pipeline GPipe DIRECTORY`."""

import sys
from pathlib import Path

import numpy as np
import torch
import torch.multiprocessing as mp
from torch import distributed, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B, ScheduleGPipe

from tests.test_conformance_torch import GAMMA, batches, network, weights_of

SCHEDULES = {"GPipe": ScheduleGPipe, "1F1B": Schedule1F1B}


def stage(rank: int, schedule: str, out: str) -> None:
    distributed.init_process_group("gloo", rank=rank, world_size=2, init_method=f"file://{out}/meeting")
    net = network()
    own = net[:2] if rank == 0 else net[2:]
    ours = {id(w) for w in own.parameters()}
    names = [name for name, w in net.named_parameters() if id(w) in ours]
    optimizer = torch.optim.SGD(own.parameters(), lr=GAMMA)
    worker = SCHEDULES[schedule](
        PipelineStage(own, rank, 2, torch.device("cpu")), n_microbatches=3, loss_fn=nn.functional.cross_entropy
    )
    stacks: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for x, labels in batches():
        optimizer.zero_grad()
        if rank == 0:
            worker.step(x)
        else:
            worker.step(target=labels, losses=[])
        optimizer.step()
        for name in names:
            stacks[name].append(weights_of(net)[name].numpy().copy())
    np.savez(Path(out) / f"{rank}.npz", **{name: np.stack(stack) for name, stack in stacks.items()})
    distributed.destroy_process_group()


if __name__ == "__main__":
    mp.spawn(stage, args=(sys.argv[1], sys.argv[2]), nprocs=2)
