"""The schedules that PyTorch's own classes make, read, proved and run; and what is written here, read by PyTorch.

The files and what wrote them lie in `tests/pytorch_schedules`.
"""

from functools import cache, partial

import numpy as np
import pytest
from checked import PLACES
from networks import IN_PROCESS, assert_same_bits
from stages import FILES, FOLDER, file_of, row_of, trained

from ddg_ref.arrays import hosted
from ddg_ref.errors import InputError
from ddg_ref.interleaving import interleaved, zero_bubble
from ddg_ref.methods import METHODS
from ddg_ref.schedule_files import flushed, parse, read
from ddg_ref.schedules import one_forward_one_backward

KINDS = {
    "GPipe": {"F", "B"},
    "Interleaved1F1B": {"F", "B"},
    "InterleavedZeroBubble": {"F", "I", "W"},
    "ZBVZeroBubble": {"F", "I", "W"},
    "DualPipeV": {"F", "B", "I", "W"},
}
pytestmark = pytest.mark.usefixtures("world")
every_file = pytest.mark.parametrize("name", FILES)


@cache
def by_backpropagation(K, samples):
    return trained(METHODS["bp"], K, samples)


def test_there_are_files_of_each_class():
    assert {name.partition("-")[0] for name in FILES} == KINDS.keys()
    assert (FOLDER / "VERSION").read_text() == "torch 2.13.0\n"


@every_file
def test_it_is_read_and_nobody_blocks(name):
    file = file_of(name)
    kind, ranks, micro_batches = name.split("-")
    stages = 1 if kind == "GPipe" else 2
    assert (len(file.rows), file.K, file.M) == (int(ranks), stages * int(ranks), int(micro_batches))
    assert {action.kind for own in file.programs for _, action in own(0)} == KINDS[kind] | {"U"}
    file.check(lambda a, b: 2)
    file.expect_runnable()
    assert parse(file.text()) == file


@every_file
@pytest.mark.parametrize("engine", IN_PROCESS)
def test_it_trains_as_backpropagation_does_on_every_engine(name, engine):
    file = file_of(name)
    found, expected = (
        trained(row_of(file), file.K, file.M, engine),
        by_backpropagation(file.K, file.M),
    )
    assert found.keys() == expected.keys()
    for array in found:
        np.testing.assert_allclose(found[array], expected[array], rtol=1e-9, atol=1e-12, err_msg=array)
    assert_same_bits(found, trained(row_of(file), file.K, file.M))


@pytest.mark.parametrize("name", [name for name in FILES if name.endswith("-2-4")])
@pytest.mark.parametrize("places", PLACES)
@pytest.mark.parametrize("engine", IN_PROCESS)
def test_it_trains_on_devices(name, places, engine):
    file = file_of(name)
    found = hosted(trained(row_of(file), file.K, file.M, engine, places))
    for array, expected in by_backpropagation(file.K, file.M).items():
        np.testing.assert_allclose(found[array], expected, rtol=1e-6, atol=1e-9, err_msg=array)


@pytest.mark.parametrize(("ranks", "micro_batches"), [(2, 4), (3, 6), (4, 8)])
def test_what_is_wrong_in_the_1f1b_of_pytorch_is_named(ranks, micro_batches):
    """`Schedule1F1B._get_pipeline_order` of PyTorch 2.13 lets the last rank begin with micro-batch 1.

    The other rows are those written here. (PyTorch's engine does not follow this order: its `_step_microbatches` is
    right.)
    """
    path = FOLDER / f"1F1B-{ranks}-{micro_batches}.csv"
    last = ranks - 1
    with pytest.raises(
        InputError, match=rf"row {ranks}, column 2: expected {last}F0 before {last}B0; change the order"
    ):
        read(path)
    *rows, _ = path.read_text().splitlines()
    ours = flushed(one_forward_one_backward, ranks, micro_batches).text().splitlines()
    for row, own in zip(rows, ours[:-1], strict=True):
        assert [cell for cell in row.split(",") if cell and "REDUCE" not in cell] == [c for c in own.split(",") if c]


WRITTEN = {
    "gpipe": lambda: flushed(METHODS["gpipe"].schedule, 3, 5),
    "1f1b": lambda: flushed(METHODS["1f1b"].schedule, 4, 6),
    "interleaved": lambda: interleaved(3, 3, 6),
    "zb-h1": lambda: zero_bubble(4, 7),
} | {name: partial(file_of, name) for name in FILES}
"""Ours, and those of PyTorch as we write them: less what a cell says of overlaps and reductions."""


@pytest.mark.parametrize("name", WRITTEN)
def test_pytorch_reads_what_is_written_here(name, tmp_path):
    """Its own loader, which judges the order, adds the messages, and plays them."""
    pytest.importorskip("torch")
    from pytorch_schedules.write import loaded

    file, path = WRITTEN[name](), tmp_path / "ours.csv"
    path.write_text(file.text())
    assert loaded(path, file.K, file.M) == [line.split(",") for line in file.text().splitlines()]
    assert parse(path.read_text()) == file
