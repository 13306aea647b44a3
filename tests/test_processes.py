"""Work in several processes: what becomes of results, of a stop, of Ctrl-C, and of processes that are killed."""

import multiprocessing
import os
import signal
import subprocess
import sys
from itertools import count
from time import monotonic, sleep

import pytest

from ddg_ref.errors import WorkerError
from ddg_ref.tools import cores, processes
from ddg_ref.tools.cores import usable_cores
from ddg_ref.tools.environment import environment
from ddg_ref.tools.processes import carry_out

HANG = 60.0


def square(x):
    processes.advance(x)
    return x * x


def refuse(x):
    raise LookupError(f"no {x}")


def interrupts(_):
    """Whether this process can see Ctrl-C, and whether it could when it began."""
    blocked = signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN, blocked


def die_at(x, fatal):
    if x == fatal:
        os.kill(os.getpid(), signal.SIGKILL)
    return x


def until_stopped(x):
    """The first waits to be told to stop, and then hands in what it has."""
    deadline = monotonic() + HANG
    processes.advance(1)
    while not processes.stop_requested() and monotonic() < deadline:
        sleep(0.005)
    return "told" if processes.stop_requested() else "late"


def results(function, calls, count=2, watch=lambda done: False):
    found = []
    carry_out(function, calls, count, take=found.append, watch=watch, killed="a process was killed; go on")
    return found


@pytest.mark.parametrize("count", [1, 2])
def test_results_and_what_is_reported(count):
    heard = []
    assert sorted(results(square, ((x,) for x in range(20)), count, heard.append)) == [x * x for x in range(20)]
    assert heard == sorted(heard)
    assert heard[-1] == sum(range(20))
    assert results(square, []) == []


def test_calls_are_drawn_as_processes_become_free():
    """So there may be no end of them."""
    drawn = count()
    found = []
    carry_out(
        square,
        ((next(drawn),) for _ in count()),
        2,
        take=found.append,
        watch=lambda done: len(found) >= 10,
        killed="",
    )
    assert next(drawn) <= len(found) + 4
    assert not multiprocessing.active_children()


def test_whoever_runs_hears_of_a_stop_and_hands_in_what_there_is():
    found = results(until_stopped, ((x,) for x in count()), 2, lambda done: done >= 2)
    assert 2 <= len(found) <= 4  # some may have lain ready for whoever is free first
    assert set(found) == {"told"}
    assert not processes.stop_requested()


def test_what_a_call_raises_is_raised():
    with pytest.raises(LookupError, match="no 3"):
        results(refuse, [(3,)])
    assert not multiprocessing.active_children()


def test_no_process_ever_sees_ctrl_c():
    """Not in its first moments either, when it has not begun to ignore it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGINT)
    assert results(interrupts, [(0,), (1,), (2,)]) == [(True, True)] * 3
    assert (signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("fatal", [0, 7])
def test_what_was_handed_in_before_a_process_was_killed_is_kept(fatal):
    found = []
    with pytest.raises(WorkerError, match=r"^a process was killed; go on$"):
        carry_out(
            die_at,
            ((x, fatal) for x in count()),
            1,
            take=found.append,
            watch=lambda done: False,
            killed="a process was killed; go on",
        )
    assert sorted(found) == list(range(fatal))
    assert not multiprocessing.active_children()


# Cores


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="processes cannot be bound to cores here")
def test_cores_are_those_that_this_process_may_use():
    one = min(os.sched_getaffinity(0))
    bound = f"import os; os.sched_setaffinity(0, {{{one}}})"
    code = f"{bound}\nfrom ddg_ref.tools.environment import environment; print(environment())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'cores': 1}" in done.stdout
    assert environment()["cores"] == usable_cores() == len(os.sched_getaffinity(0))


def test_cores_where_nobody_can_be_bound(monkeypatch):
    monkeypatch.delattr(cores.os, "sched_getaffinity", raising=False)
    for number, expected in ((7, 7), (None, 1)):
        monkeypatch.setattr(cores.os, "cpu_count", lambda number=number: number)
        assert usable_cores() == expected
