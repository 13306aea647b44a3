"""Hypothesis profiles, and a home for what tests leave on disk.

`ci` (the default) draws the same few examples every time, so that the suite is never flaky. To go looking for new ones:

    HYPOTHESIS_PROFILE=explore python -m pytest
"""

import os
import signal
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from typing import Any

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a shell's background job: tests send it to processes
    signal.signal(signal.SIGINT, signal.default_int_handler)
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy loads, and for the processes that tests start

import pytest
from hypothesis import HealthCheck, settings

# A busy machine is slow, which is no failure: no deadline, no complaint about slow examples.
settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "explore",
    deadline=None,
    max_examples=1000,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """Where there is no wheel of safetensors, tests are skipped that find its absence said, as a user would."""
    try:
        return (yield)
    except Exception as error:
        if find_spec("safetensors") is None and str(error).startswith("safetensors: expected this package"):
            pytest.skip(str(error))
        raise


@pytest.fixture(scope="module")
def world() -> Iterator[Any]:
    """GPUs for the tests of a file: checked ones, or where there are real ones, those."""
    import checked

    if checked.REAL:
        yield None
        return
    with checked.installed(checked.GPUS) as devices:
        yield devices


@pytest.fixture(scope="session", autouse=True)
def cache_directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Remembered layer costs go to a directory of this session, also those of processes that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDG_REF_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
