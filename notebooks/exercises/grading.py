"""What the tests of all exercises share: drawn inputs, a time limit, and messages that help.

A message says what was expected, what came, for which input, and gives a hint. Inputs are drawn by Hypothesis, the same
ones in every run and for every student; what fails is made as small as possible before it is shown. Every test imports
what it uses from here, so that it does not matter what else an answer has given the same name.
"""

import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, FunctionType
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import SearchStrategy

from ddg_ref.arrays import Array, Params
from ddg_ref.errors import StallError

SECONDS = 10
"""Time limit for one input. Every reference solution needs a small fraction of a second."""


class AnswerError(AssertionError):
    """An answer failed a test; the message is for the student.

    IPython leaves functions with `__tracebackhide__` out of what it shows: the student's cell and the message remain.
    """


class _Stop(BaseException):
    """A wrong answer that costs too much time to be made smaller. Passes through Hypothesis."""


def for_every(*, examples: int = 25, **inputs: SearchStrategy[Any]) -> Callable[[Callable[..., None]], None]:
    """Decorator: run the test at once on drawn inputs. Raises AnswerError for the smallest input found that fails."""

    def run(test: Callable[..., None]) -> None:
        __tracebackhide__ = True
        failures: list[str] = []

        def example(**values: Any) -> None:
            costly = False
            try:
                with time_limit(SECONDS):
                    test(**values)
                return
            except AnswerError as error:
                reason = str(error)
            except TimeoutError as error:
                reason, costly = str(error), True
            except StallError as error:
                reason, costly = f"the workers wait for each other for ever: {error}", True
            except NotImplementedError:
                reason = "nothing to grade yet: expected your code in place of `raise NotImplementedError()`"
            except (Exception, SystemExit) as error:
                reason = f"your code raised {type(error).__name__}: {error}{_place(error, test)}"
            failures.append(f"{reason}\nInput: " + ", ".join(f"{name} = {value!r}" for name, value in values.items()))
            raise _Stop if costly else AnswerError(failures[-1])

        property_test = settings(
            derandomize=True,
            database=None,
            deadline=None,
            max_examples=examples,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )(given(**inputs)(example))
        try:
            property_test()
        except (Exception, _Stop):
            if not failures:
                raise
        if failures:
            raise AnswerError(failures[-1]) from None

    return run


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TimeoutError in the block after so many seconds; loops and waiting threads are interrupted alike.

    Needs the main thread and a system with timers (not Windows, where only nbgrader's own limit per cell remains).
    """
    if not hasattr(signal, "setitimer"):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(
            f"expected an answer within {seconds} seconds, none came. "
            "Hint: look for a loop that never ends, a wait for something that never comes, or far too many cases."
        )

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _place(error: BaseException, test: Callable[..., None]) -> str:
    """The student's line that raised; not the test's, which stands in another cell."""
    frames = traceback.extract_tb(error.__traceback__)
    files = [frame.filename for frame in frames]
    lines = [
        frame.line
        for frame, file in zip(frames, files, strict=True)
        if "ipykernel" in file and file != test.__code__.co_filename
    ]
    return f" (in the line `{lines[-1]}`)" if lines else ""


@contextmanager
def own_work(*answers: FunctionType) -> Iterator[None]:
    """In the block, these functions of the library raise AnswerError instead of giving the answer.

    Their code is exchanged, not their names: who has imported one holds the same function.
    """

    def refuse(*arguments: Any, **options: Any) -> None:
        from notebooks.exercises.grading import AnswerError

        raise AnswerError("expected code of your own, got a call of the function that already does it. Hint: write it")

    codes = [answer.__code__ for answer in answers]
    try:
        for answer in answers:
            answer.__code__ = refuse.__code__
        yield
    finally:
        for answer, code in zip(answers, codes, strict=True):
            answer.__code__ = code


def expect(holds: object, message: str) -> None:
    """Raises AnswerError with the message unless `holds`."""
    __tracebackhide__ = True
    if not holds:
        raise AnswerError(message)


def expect_equal(what: str, got: object, expected: object, hint: str) -> None:
    """Raises AnswerError unless got == expected; lists, tuples, ranges and arrays of the same numbers are equal."""
    __tracebackhide__ = True
    expect(_plain(got) == _plain(expected), f"{what}: expected {expected!r}, got {got!r}. Hint: {hint}")


def _plain(value: Any) -> Any:
    """With lists for all sequences, and Python's numbers for NumPy's."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple | range | deque):
        return [_plain(entry) for entry in value]
    return {key: _plain(entry) for key, entry in value.items()} if type(value) is dict else value


def expect_close(what: str, got: Any, expected: Any, hint: str, *, tolerance: float = 1e-7) -> None:
    """Raises AnswerError, which shows the worst entry, unless `got` is `expected` in shape and up to rounding."""
    __tracebackhide__ = True
    expected = np.asarray(expected)
    try:
        numbers = np.asarray(got)  # of a list, a tuple or a range as well
    except ValueError:
        numbers = np.asarray(None)
    expect(
        numbers.dtype.kind in "biuf",
        f"{what}: expected numbers of shape {expected.shape}, got {type(got).__name__}. Hint: return a value",
    )
    got = numbers
    expect(got.shape == expected.shape, f"{what}: expected shape {expected.shape}, got shape {got.shape}. Hint: {hint}")
    error = np.nan_to_num(np.abs(got - expected) / np.maximum(1, np.abs(expected)), nan=np.inf)
    if error.size and error.max() > tolerance:
        worst = np.unravel_index(error.argmax(), error.shape)
        at = f" at {tuple(int(i) for i in worst)}" if worst else ""
        raise AnswerError(f"{what}: expected {expected[worst]:.6g}{at}, got {got[worst]:.6g}. Hint: {hint}")


def expect_same_bits(what: str, got: Params, expected: Params, hint: str) -> None:
    """Raises AnswerError unless both hold the same arrays, bit for bit."""
    __tracebackhide__ = True
    for name, array in expected.items():
        if got[name].tobytes() != array.tobytes():
            distance = np.abs(got[name] - array).max()
            raise AnswerError(
                f"{what}: expected {name} as ddg_ref trains it, got weights {distance:.2g} away. Hint: {hint}"
            )


def numeric_gradient(f: Callable[[Array], float], x: Array) -> Array:
    """The gradient of f at x in float64 by central differences, entry by entry; good to about 1e-7."""
    gradient, h = np.zeros_like(x), 1e-6
    for place in np.ndindex(x.shape):
        forth, back = x.copy(), x.copy()
        forth[place] += h
        back[place] -= h
        gradient[place] = (f(forth) - f(back)) / (2 * h)
    return gradient


def unchanged(what: str, arrays: Mapping[str, Array]) -> Callable[[], None]:
    """Remembers the arrays; the returned function raises AnswerError if one of them has been written into since."""
    before = {name: array.copy() for name, array in arrays.items()}

    def verify() -> None:
        __tracebackhide__ = True
        for name, array in arrays.items():
            expect(
                np.array_equal(array, before[name], equal_nan=True),
                f"{what}: expected {name} to be left as it was, got an array that was written into. "
                "Hint: compute new arrays; `x += ...` changes the caller's",
            )

    return verify
