import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import permutations
from math import inf, nan
from pathlib import Path
from threading import Barrier
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import dtypes, seeds
from threadpoolctl import threadpool_info, threadpool_limits

from ddg_ref.arrays import column_sums, placed_like, settled, to_host, xp_of
from ddg_ref.computing import computing, one_blas_thread


def test_the_library_is_decided_from_the_array(monkeypatch):
    cupy = ModuleType("cupy")
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert xp_of(np.zeros(2)) is np
    assert xp_of(object()) is cupy


def test_handing_over_to_what_knows_host_memory_only(monkeypatch):
    """Host arrays pass as they are; those of a device are copied, or waited for if they may be read where they lie."""
    on_host, on_device, asked = np.zeros(2), object(), []
    cupy = ModuleType("cupy")
    cupy.asnumpy = lambda x: on_host if x is on_device else None
    cupy.asarray = lambda x: on_device if x is on_host else None
    stream = SimpleNamespace(synchronize=lambda: asked.append("wait"))
    cupy.cuda = SimpleNamespace(get_current_stream=lambda: stream)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    assert to_host(on_host) is placed_like(on_host, on_host) is settled(on_host) is on_host
    assert asked == []
    assert to_host(on_device) is on_host
    assert placed_like(on_device, on_host) is on_device
    assert settled(on_device) is on_device
    assert asked == ["wait"]


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), dtypes, seeds)
def test_column_sums(shape, dtype, seed):
    x = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
    x.flags.writeable = False
    sums = column_sums(x)
    assert sums.dtype == dtype
    np.testing.assert_allclose(sums, x.sum(axis=tuple(range(x.ndim - 1))), rtol=0, atol=100 * np.finfo(dtype).eps)
    np.testing.assert_allclose(column_sums(np.asfortranarray(x)), sums, rtol=0, atol=100 * np.finfo(dtype).eps)


def blas_threads():
    return {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"}


@pytest.fixture
def two_blas_threads():
    """The state that a program has set for itself, which must be there again at the end."""
    with threadpool_limits(2, user_api="blas"):
        assert blas_threads() == {2}
        yield
        assert blas_threads() == {2}


def test_blas_is_held_to_one_thread_and_let_go_also_after_an_error(two_blas_threads):
    with one_blas_thread():
        assert blas_threads() == {1}
        with one_blas_thread():
            pass
        assert blas_threads() == {1}
    assert blas_threads() == {2}
    with pytest.raises(KeyError), one_blas_thread():
        raise KeyError


@pytest.mark.parametrize("leaving", list(permutations(range(3))))
def test_blas_is_let_go_when_the_last_holder_leaves_whatever_the_order(two_blas_threads, leaving):
    """As when threads train at the same time, or a generator that holds it is left alone."""
    holders = [ExitStack() for _ in leaving]
    for holder in holders:
        holder.enter_context(one_blas_thread())
    for place in leaving:
        assert blas_threads() == {1}
        holders[place].close()
    assert blas_threads() == {2}


def test_threads_that_hold_blas_at_the_same_time_let_it_go(two_blas_threads):
    together = Barrier(4)

    def hold(number):
        for turn in range(20):
            together.wait(60)
            with suppress(KeyError), one_blas_thread():
                assert blas_threads() == {1}
                if (number + turn) % 4 == 0:
                    raise KeyError

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(hold, range(4)))


def test_no_floating_point_error_is_seen_while_computing_whatever_the_caller_has_asked(two_blas_threads):
    tiny, large = np.array([1e-30], np.float32), np.array([1e30], np.float32)
    for wish in ("warn", "raise", "print", "log"):
        with np.errstate(all=wish):
            before = np.geterr()
            with computing():
                assert blas_threads() == {1}
                found = [tiny * tiny, large * large, tiny / 0, 0 * (tiny / 0), (tiny.astype(float) ** 2).astype("f4")]
            assert np.geterr() == before
        np.testing.assert_array_equal(np.concatenate(found), [0, inf, inf, nan, 0])


USES_MEMORY = """
import resource, sys
import numpy as np
from ddg_ref.computing import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()

def work():
    arrays = [np.ones(n << 18) for n in (1, 2, 4, 8)]  # 2 to 16 MB
    return [x + 1 for x in arrays]

for _ in range(2):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc for something")
def test_freed_memory_is_kept():
    """Page faults of ten rounds of the same arrays: 15,000 pages each time, or none."""
    faults = {
        wish: int(subprocess.check_output([sys.executable, "-c", USES_MEMORY, wish], cwd=Path(__file__).parents[1]))
        for wish in ("keep", "default")
    }
    assert faults["keep"] < 100 < faults["default"]
