"""On every rank: several modules on each, halves of backward passes, against the reference."""

from networks import assert_same_bits, state
from stages import FILES, ITERATIONS, file_of, pipeline_of, row_of, task_of, trained

from ddg_ref.mpi.engine import RANK, WORLD
from ddg_ref.runs.engines import ENGINES

cases = 0
for name in FILES:
    file = file_of(name)
    if len(file.rows) != WORLD.size:
        continue
    ours = trained(row_of(file), file.K, file.M, "mpi")
    if RANK == 0:
        assert_same_bits(ours, trained(row_of(file), file.K, file.M))

    pipeline, task = pipeline_of(row_of(file), file.K), task_of(file.M)

    def stop_at_2(t, task=task):
        task.stop_requested = t == 1

    task.on_batch = stop_at_2 if RANK == 0 else task.on_batch
    reached, spans = ENGINES["mpi"](pipeline, task, 0, ITERATIONS)
    assert reached == 2
    assert {span.k for span in spans} >= (set(range(1, file.K + 1)) if RANK == 0 else set())
    task.stop_requested = False
    assert ENGINES["mpi"](pipeline, task, 2, ITERATIONS).iteration == ITERATIONS
    if RANK == 0:
        assert_same_bits(state(pipeline), ours)
    cases += 1
if RANK == 0:
    print(cases, "cases agree")
