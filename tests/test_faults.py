"""Faults planted at any point of any worker: the caller gets the right error at once, and nothing is left behind."""

import gc
import itertools
import os
import random
import signal
import threading
import time
from contextlib import contextmanager, nullcontext
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Problem, assert_same_bits, state
from runs import finish, run_to, small_training
from stages import pipeline_of, row_of, task_of

from ddg_ref.errors import StallError, WorkerError
from ddg_ref.interleaving import interleaved
from ddg_ref.methods import METHODS
from ddg_ref.runs.checkpoints import save
from ddg_ref.timeline import Activity
from ddg_ref.workers import threads
from ddg_ref.workers.worker import work

K = 4
ITERATIONS = 6
PROBLEM = Problem(cuts=(2, 4, 6), iterations=ITERATIONS)
FORWARD_PHASES = ("take activation", "forward", "give activation")
BACKWARD_PHASES = ("take error", "backward", "give error", "update")
PROMPT = 5.0
"""Seconds after which an error is late on a busy machine; the usual time is a millisecond."""

HANG = 60.0
"""Seconds after which a run counts as hanging."""


class PlantedError(Exception):
    pass


def points(method, k, modules=K, iterations=ITERATIONS):
    """Every (iteration, phase) that module k goes through, in its order; a phase may come once for each micro-batch."""
    if method in ("2bw", "paci"):
        yield from points_by_part(method, k, modules, iterations)
        return
    parts, guesses = METHODS[method].micro_batches, method == "dni"
    delay = {"bp": 0, "gpipe": 0, "1f1b": 0, "dni": 0, "fdg": 2}.get(method, 1)  # per boundary
    late = delay * (modules - k)
    ahead = min(parts, modules - k) if method == "1f1b" else parts
    first = "guess" if guesses and k < modules else "take error"
    for t in range(iterations + max(delay * (modules - 1), guesses)):
        forward = [(t, phase) for phase in FORWARD_PHASES] if t < iterations else []
        backward = [(t, phase) for phase in (first, *BACKWARD_PHASES[1:-1])] if 0 <= t - late < iterations else []
        yield from ahead * forward
        for part in range(parts):
            yield from forward if ahead + part < parts else []
            yield from backward
        yield from [(t, "update")] if backward else []
        if guesses and k < modules and t >= 1:
            yield from ((t, phase) for phase in ("take error", "learn"))


def points_by_part(method, k, modules, iterations):
    """The same where every forward pass of a part is followed by the backward pass of one K-k parts older."""
    M, late = METHODS[method].micro_batches, modules - k
    after = -(-(modules - 1) // M)  # updates of 2bw, and the drain
    for t in range(iterations + after):
        for n in range(t * M, t * M + M):
            yield from ((t, phase) for phase in FORWARD_PHASES if t < iterations)
            if 0 <= n - late < iterations * M:
                yield from ((t, phase) for phase in BACKWARD_PHASES[:-1])
                if method == "paci" and (n - late) % M == M - 1:
                    yield t, "update"
        if method == "2bw" and 0 <= t - after < iterations:
            yield t, "update"


WORKERS = [(method, k) for method in METHODS for k in range(1, K + 1)]
EVERYWHERE = [(method, k, t, phase) for method, k in WORKERS for t, phase in dict.fromkeys(points(method, k))]


def start(method, fault, **options):
    """The pipeline and the task of a run with this fault, and the function that runs it."""
    pipeline, task = PROBLEM.pipeline(method), PROBLEM.task()
    task.fault = fault
    for name, value in options.items():
        setattr(task, name, value)
    return pipeline, lambda: threads.run(pipeline, task, 0, ITERATIONS + pipeline.delay)


def within(seconds, action):
    """Call `action` in a thread of its own; fails if it has not ended by then. Raises what it raises."""
    outcome = []

    def run():
        try:
            action()
            outcome.append(None)
        except BaseException as error:
            outcome.append(error)

    runner = threading.Thread(target=run, daemon=True)
    runner.start()
    runner.join(seconds)
    assert not runner.is_alive(), f"still running after {seconds} s"
    if outcome[0] is not None:
        raise outcome[0]


def workers():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ddg-module-")]


@contextmanager
def nothing_left():
    """No thread and no open file more than before."""
    gc.collect()
    files, active = sorted(os.listdir("/proc/self/fd")), threading.active_count()
    yield
    gc.collect()
    assert threading.active_count() == active
    assert sorted(os.listdir("/proc/self/fd")) == files


def test_the_phases_are_all_there_are():
    """The table of points is the list of what the hook is told."""
    for method in METHODS:
        seen = {k: [] for k in range(1, K + 1)}
        _, run = start(method, lambda k, phase, t, seen=seen: seen[k].append((t, phase)))
        run()
        assert seen == {k: list(points(method, k)) for k in seen}


def points_to_fail_at(method, k):
    """All of them; of a row whose workers do what those of an earlier one do, the first of each phase."""
    row, before = METHODS[method], itertools.takewhile(lambda name: name != method, METHODS)
    same = any((METHODS[name].schedule, METHODS[name].stored) == (row.schedule, row.stored) for name in before)
    return {phase: (t, phase) for t, phase in reversed(list(points(method, k)))}.values() if same else points(method, k)


@pytest.mark.parametrize(("method", "k"), WORKERS)
def test_an_error_at_any_point_reaches_the_caller(method, k):
    with nothing_left():
        for t, phase in points_to_fail_at(method, k):

            def fault(*point, here=(k, phase, t)):
                if point == here:
                    raise PlantedError("here")

            _, run = start(method, fault)
            started = time.monotonic()
            with pytest.raises(WorkerError) as caught:
                within(HANG, run)
            assert time.monotonic() - started < PROMPT
            assert str(caught.value) == f"module {k} failed in {phase} of iteration {t}: PlantedError('here')"
            assert type(caught.value.__cause__) is PlantedError
            assert not workers()
            del caught


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, StopIteration, GeneratorExit])
def test_whatever_is_raised_reaches_the_caller(error):
    def fault(k, phase, t):
        if (k, phase, t) == (2, "backward", 4):
            raise error

    with nothing_left():
        _, run = start("ddg", fault)
        with pytest.raises(WorkerError, match="module 2 failed in backward of iteration 4: ") as caught:
            within(HANG, run)
        assert type(caught.value.__cause__) is error
        del caught


def test_if_all_fail_at_once_one_error_arrives():
    barrier = threading.Barrier(K)

    def fault(k, phase, t):
        if t == 5 and phase == "take activation":
            barrier.wait(HANG)
            raise PlantedError(k)

    with nothing_left():
        _, run = start("ddg", fault)
        with pytest.raises(WorkerError, match="module 1 failed in take activation of iteration 5"):
            within(HANG, run)


@st.composite
def delays(draw):
    """A network cut into K modules, and where its workers lose time."""
    modules = draw(st.integers(1, 6))
    cuts = draw(st.sets(st.integers(1, 6), min_size=modules - 1, max_size=modules - 1))
    iterations = draw(st.integers(1, 12))
    problem = Problem(cuts=tuple(sorted(cuts)), iterations=iterations, seed=draw(st.integers(0, 99)))
    return problem, draw(st.sampled_from(sorted(METHODS))), draw(st.integers(1, 3)), draw(st.integers(0, 2**32))


@given(delays(), st.booleans())
@settings(max_examples=250)
def test_delays_change_no_bit_and_nobody_hangs(case, drain):
    problem, method, capacity, seed = case
    slow = random.Random(seed).choice([None, *range(1, problem.modules + 1)])  # perhaps one module is slow throughout

    def fault(k, phase, t):
        chance = random.Random(f"{seed} {k} {phase} {t}")  # the same delays whatever the order of the threads
        if chance.random() < (0.5 if k == slow else 0.1):
            time.sleep(chance.choice([0, 0.0002, 0.001, 0.003]))

    pipeline, task = problem.pipeline(method), problem.task()
    task.fault = fault
    stop = problem.iterations + (pipeline.delay if drain else 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "CAPACITY", capacity)
        within(HANG, lambda: threads.run(pipeline, task, 0, stop))
    assert_same_bits(state(pipeline), state(problem.run("reference", method, drain=drain)))
    assert not workers()


@given(delays(), st.integers(0, 12))
@settings(max_examples=60)
def test_delays_do_not_change_where_a_run_stops_nor_what_is_in_flight(case, stop):
    """All modules stop before the same iteration, and go on from there to the same bits."""
    problem, method, capacity, seed = case
    end = problem.iterations + problem.pipeline(method).delay

    def fault(k, phase, t):
        if random.Random(f"{seed} {k} {phase} {t}").random() < 0.1:
            time.sleep(0.001)

    pipeline, task = problem.pipeline(method), problem.task()
    task.fault = fault
    task.on_batch = lambda t: setattr(task, "stop_requested", t + 1 >= stop)
    reached = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "CAPACITY", capacity)

        def run():
            nonlocal reached
            reached = threads.run(pipeline, task, 0, end).iteration

        within(HANG, run)
        stopped = min(max(1, stop), end) if max(1, stop) < problem.iterations else end
        assert reached == stopped
        task.stop_requested = False
        task.on_batch = lambda t: None
        within(HANG, lambda: threads.run(pipeline, task, reached, end))
    assert_same_bits(state(pipeline), state(problem.run("reference", method)))


STALLS = random.Random(0).sample(EVERYWHERE, 40)


@pytest.mark.parametrize(("method", "k", "t", "phase"), STALLS)
def test_a_stall_is_reported_and_leaves_no_thread_once_it_is_over(method, k, t, phase):
    released, timeout = threading.Event(), 0.2

    def fault(*point):
        if point == (k, phase, t):
            released.wait(HANG)

    with nothing_left(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "UNWINDING_SECONDS", 0.05)
        _, run = start(method, fault, stall_timeout=timeout)
        started = time.monotonic()
        with pytest.raises(StallError) as caught:
            within(HANG, run)
        assert timeout < time.monotonic() - started < PROMPT
        message = str(caught.value)
        assert workers() == [f"ddg-module-{k}"]
        released.set()
        for thread in threading.enumerate():
            if thread.name.startswith("ddg-module-"):
                thread.join(HANG)
        del caught
    verb = "waits to" if phase in (*FORWARD_PHASES[::2], *BACKWARD_PHASES[::2]) else "is busy with"
    assert "\n" not in message
    assert message.startswith("no worker has moved: ")
    clauses = message.removeprefix("no worker has moved: ").split("; ")
    assert any(clause.startswith(f"module {k} {verb} {phase} of iteration {t} since ") for clause in clauses)
    others = [clause for clause in clauses if not clause.startswith(f"module {k} ")]
    assert all(" waits to " in clause for clause in others), "whoever is not stalled waits for a neighbour"
    since = [float(clause.split(" since ")[1].removesuffix(" s")) for clause in clauses]
    assert all(timeout - 0.1 <= seconds < PROMPT for seconds in since)


def test_a_slow_worker_is_not_a_stalled_one():
    def fault(k, phase, t):
        time.sleep(0.01)

    _, run = start("ddg", fault, stall_timeout=1.0)
    within(HANG, run)


@pytest.mark.parametrize("modules", [1, 2, 4])
def test_an_abandoned_run_does_not_go_on_in_the_background(modules):
    """After a stall the worker that caused it ends where it wakes up; it must not train on behind the caller's back."""
    problem = Problem(cuts=(2, 4, 6)[: modules - 1], iterations=1000)
    pipeline, task = problem.pipeline("ddg"), problem.task()
    released = threading.Event()
    task.stall_timeout = 0.2
    task.fault = lambda k, phase, t: released.wait(HANG) if (k, phase, t) == (modules, "forward", 5) else None
    with nothing_left(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "UNWINDING_SECONDS", 0.05)
        with pytest.raises(StallError):
            within(HANG, lambda: threads.run(pipeline, task, 0, 1000))
        released.set()
        for thread in threading.enumerate():
            if thread.name.startswith("ddg-module-"):
                thread.join(HANG)
    assert pipeline.modules[0].optimizer_state.step < 10


def test_ctrl_c_does_not_wait_for_a_stalled_worker():
    """A worker that is stuck for good must not hold the caller, who asked to stop."""
    released = threading.Event()

    def fault(k, phase, t):
        if (k, phase, t) == (2, "forward", 3):
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            released.wait(HANG)

    with nothing_left(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "UNWINDING_SECONDS", 0.05)
        _, run = start("ddg", fault)
        started = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            run()
        assert time.monotonic() - started < PROMPT
        assert workers() == ["ddg-module-2"]
        released.set()
        for thread in threading.enumerate():
            if thread.name.startswith("ddg-module-"):
                thread.join(HANG)


# Threads that stay from call to call


def seen_by(training):
    """The threads that each module has computed in, while `training` runs."""
    threads_of = {module.k: set() for module in training.pipeline.modules}
    training.task.fault = lambda k, phase, t: threads_of[k].add(threading.get_ident())
    return threads_of


def test_threads_stay_until_the_run_is_over():
    """Also where it stops for evaluation and checkpoints: each makes handles of a GPU's libraries for itself."""
    with nothing_left():
        training = small_training(engine="threads", modules=3, epochs=3, checkpoint_every=1)
        threads_of, between = seen_by(training), []
        for _ in training.epochs():
            between.append(sorted(workers()))
        assert between == [["ddg-module-1", "ddg-module-2", "ddg-module-3"]] * 3
        assert [len(found) for found in threads_of.values()] == [1, 1, 1]
        assert not workers()
        del training


@pytest.mark.parametrize("how", ["fails", "is left", "stops"])
def test_threads_do_not_stay_for_a_run_that_ends_early(how):
    with nothing_left():
        training = small_training(engine="threads", modules=3, epochs=3)

        def fault(k, phase, t):
            if how == "fails" and (k, phase, t) == (2, "backward", 3):
                raise PlantedError

        training.task.fault = fault
        training.task.stop_requested = how == "stops"
        records = training.epochs()
        with pytest.raises(WorkerError) if how == "fails" else nullcontext():
            for _ in records:
                break
        records.close()
        assert not workers()
        del training, records, fault
        gc.collect()


def test_a_thread_that_is_stuck_gets_no_more_to_do():
    """The next call has another one for its modules; it ends once it is free."""
    released, threads_of = threading.Event(), {k: [] for k in range(1, K + 1)}

    def fault(k, phase, t):
        threads_of[k].append(threading.current_thread())
        if (k, phase, t) == (2, "forward", 3) and not released.is_set():
            released.wait(HANG)

    with nothing_left(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "UNWINDING_SECONDS", 0.05)
        with threads.Hands() as hands:
            pipeline, task = PROBLEM.pipeline("ddg"), PROBLEM.task()
            task.fault, task.stall_timeout = fault, 0.2
            with pytest.raises(StallError) as caught:
                threads.run(pipeline, task, 0, ITERATIONS, hands)
            del caught
            stuck = next(thread for thread in threading.enumerate() if thread.name == "ddg-module-2")
            first = {k: found[0] for k, found in threads_of.items()}
            released.set()
            task = PROBLEM.task()
            task.fault, pipeline = fault, PROBLEM.pipeline("ddg")
            threads.run(pipeline, task, 0, ITERATIONS + pipeline.delay, hands)
            assert {k for k, found in threads_of.items() if found[-1] is not first[k]} == {2}
            stuck.join(HANG)
            del first
            threads_of.clear()
        assert not workers()
    assert_same_bits(state(pipeline), state(PROBLEM.run("reference", "ddg")))


def test_a_stuck_thread_of_several_modules_is_the_one_that_gets_no_more_to_do():
    """Whichever of them it is stuck in."""
    released, stuck_in, file = threading.Event(), [], interleaved(2, 2, 4)  # modules 1 and 3, 2 and 4

    def fault(k, phase, t):
        if (k, phase, t) == (3, "backward", 1) and not stuck_in:
            stuck_in.append(threading.current_thread())
            released.wait(HANG)

    with nothing_left(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "UNWINDING_SECONDS", 0.05)
        with threads.Hands() as hands:
            task = task_of(file.M)
            task.fault, task.stall_timeout = fault, 0.2
            with pytest.raises(StallError) as caught:
                threads.run(pipeline_of(row_of(file), file.K), task, 0, 3, hands)
            del caught
            assert [stuck_in[0].name, *hands._hands] == ["ddg-module-1", 2]
            released.set()
            stuck_in.pop().join(HANG)
    assert not workers()


@pytest.mark.parametrize("many", [0, 1, 3])
def test_threads_that_cannot_be_started_are_no_hang(many, monkeypatch):
    """As where the system grants no more of them."""
    started, usual = [], threads.Hand.start

    def start_some(self):
        if len(started) == many:
            raise RuntimeError("can't start new thread")
        started.append(self)
        usual(self)

    monkeypatch.setattr(threads.Hand, "start", start_some)
    with nothing_left():
        _, run = start("ddg", lambda *point: None)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            within(HANG, run)
        assert not workers()
        started.clear()


@pytest.mark.parametrize("timeout", [600.0, 1e12, None])
def test_no_wait_of_the_caller_is_long_whatever_the_stall_timeout(timeout, monkeypatch):
    """A Ctrl-C that comes just as a wait begins is seen only when that wait ends."""
    waits, waited = [], threading.Event()

    class Spy(threading.Event):
        def wait(self, timeout=None):
            waits.append(timeout)
            waited.set()
            return super().wait(timeout)

    monkeypatch.setattr(threads, "Event", Spy)
    _, run = start("ddg", lambda *point: waited.wait(HANG), stall_timeout=timeout)
    within(HANG, run)
    assert None not in waits
    assert max(waits) <= threads.SECONDS_BETWEEN_LOOKS <= 1


def test_a_failure_is_told_also_where_what_waits_cannot_be_read(monkeypatch):
    """After a failure nobody needs the messages that still wait; to read them may fail as well, and would hide it."""

    def fault(k, phase, t):
        if (k, phase, t) == (1, "take error", 5):
            while not pipeline.errors[0]:  # until one waits above module 1
                time.sleep(0.001)
            pipeline.modules[0].device.receive = unreadable
            raise PlantedError("here")

    def unreadable(message):
        raise MemoryError("no room for a copy")

    pipeline, run = start("ddg", fault)
    with nothing_left(), pytest.raises(WorkerError, match="module 1 failed in take error of iteration 5: Planted"):
        within(HANG, run)
    assert pipeline.errors[0]


def test_without_a_fault_the_hook_costs_nothing(monkeypatch):
    """The workers call their record directly; there is no test for a fault on their way."""
    given = []

    def spy(*arguments):
        given.append(arguments[-1])
        return work(*arguments)

    monkeypatch.setattr(threads, "work", spy)
    for fault in (None, lambda k, phase, t: None):
        _, run = start("ddg", fault)
        run()
    direct = [isinstance(begin, partial) and begin.func.__func__ is Activity.begin for begin in given]
    assert direct == [True] * K + [False] * K


def test_runs_and_checkpoints_leave_no_thread_and_no_file(tmp_path):
    save(run_to(small_training(engine="threads"), 2), tmp_path / "before")  # what is opened once stays open
    with nothing_left():
        for i in range(5):
            training = small_training(engine="threads")
            save(run_to(training, 3), tmp_path / str(i))
            finish(training)
            failing = small_training(engine="threads")
            failing.task.fault = lambda k, phase, t: 1 // (t - 2)
            with pytest.raises(WorkerError):
                finish(failing)
            del failing
