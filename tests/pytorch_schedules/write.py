"""Writes the files beside it: schedules as PyTorch's own classes make and write them. Needs torch, which tests do not.

    pip install torch==2.13.0 numpy && python tests/pytorch_schedules/write.py

The stages are empty: a schedule asks them for their number and place alone. GPipe and 1F1B have no method that writes
them, so that of the other classes is borrowed.
"""

from pathlib import Path
from types import SimpleNamespace

import torch
from torch.distributed.pipelining import schedules

HERE = Path(__file__).parent
STAGES_PER_RANK = {
    "GPipe": 1,
    "1F1B": 1,
    "Interleaved1F1B": 2,
    "InterleavedZeroBubble": 2,
    "ZBVZeroBubble": 2,
    "DualPipeV": 2,
}
SIZES = [(2, 4), (3, 6), (4, 8)]
"""(ranks, micro-batches). DualPipeV wants as many of these as stages at least, others a multiple of the ranks."""


def stage(index: int, stages: int, ranks: int) -> SimpleNamespace:
    return SimpleNamespace(
        stage_index=index,
        num_stages=stages,
        group_size=ranks,
        group_rank=0,
        is_first=index == 0,
        is_last=index == stages - 1,
        has_backward=False,
        submod=torch.nn.Identity(),
        stage_index_to_group_rank={},
    )


def write(name: str, ranks: int, micro_batches: int, path: Path) -> None:
    """The schedule of that class, as PyTorch writes it."""
    each = STAGES_PER_RANK[name]
    stages = [stage(i, each * ranks, ranks) for i in range(each)]
    kind = getattr(schedules, f"Schedule{name}")
    if each == 1:
        made = kind(stages[0], micro_batches)
        order = made._get_pipeline_order()
    else:
        made = kind(stages, micro_batches)
        order = made.pipeline_order
    schedules.PipelineScheduleMulti._dump_csv(SimpleNamespace(pipeline_order=order), path)


def loaded(path: Path, stages: int, micro_batches: int) -> list[list[str]]:
    """The cells of a file as PyTorch's loader has them, row by row, once it has judged their order and played them."""
    rows = path.read_text().splitlines()
    row = next(row for row in rows if "0F0" in row.split(","))
    own = sorted({int(cell.partition("F")[0]) for cell in row.split(",") if "F" in cell})
    runtime = schedules._PipelineScheduleRuntime([stage(i, stages, len(rows)) for i in own], micro_batches)
    runtime._load_csv(path)
    sharding = (schedules.UNSHARD, schedules.RESHARD, schedules.REDUCE_GRAD)  # which its simulation does not know
    lowered = {
        rank: [action for action in actions if action.computation_type not in sharding]
        for rank, actions in runtime.pipeline_order_with_comms.items()
    }
    schedules._simulate_comms_compute(lowered, runtime.stage_index_to_group_rank.__getitem__, stages)
    return [[str(cell or "") for cell in runtime.pipeline_order[rank]] for rank in range(len(rows))]


if __name__ == "__main__":
    for name in STAGES_PER_RANK:
        for ranks, micro_batches in SIZES:
            write(name, ranks, micro_batches, HERE / f"{name}-{ranks}-{micro_batches}.csv")
    (HERE / "VERSION").write_text(f"torch {torch.__version__.partition('+')[0]}\n")
