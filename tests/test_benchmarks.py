"""Benchmarks come to their end. What they measure is not tested."""

import pytest

from benchmarks import mpi


@pytest.mark.slow
def test_what_a_launch_of_its_own_measures_is_read():
    found = mpi.speed_ups(["mlp-16"], 1)
    assert found.keys() == {"mlp-16"}
    assert found["mlp-16"].keys() == {"mpi", "threads"}
    assert all(0 < r.lowest <= r.median <= r.highest for r in found["mlp-16"].values())
