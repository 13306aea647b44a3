"""Somebody else's implementation of DDG: found, called, and refused in one line that names the line at fault.

The function is executed in this process, with the rights of whoever started it: this is no sandbox.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import numpy as np

from theory.checks import positive, shown
from theory.delayed import Objective
from theory.optimizers import SGD, Rule
from theory.problems import Array

CONTRACT = """iteration(problem, w0, samples, gammas) -> w

problem.blocks          the coordinates of modules 1..K, a slice each
problem.gradient(i, w)  the gradient of f_i at w, (d,) float64
w0                      the weights at the start, (d,) float64
samples                 i(0), .., i(T-1): (T,) integers
gammas                  the step sizes, (T+K-1,) float64
w                       w^0, .., w^T, then the K-1 iterations in which
                        the pipeline drains: (T+K, d) float64"""
"""What the function is given, and what it returns: one run of plain SGD with DDG's delays."""


class CandidateError(ValueError):
    """The implementation could not be found, or did not do what its contract says."""


class Given:
    """What an implementation is told of a problem."""

    def __init__(self, problem: Objective) -> None:
        self._problem = problem
        self.blocks = tuple(problem.blocks)

    def gradient(self, i: int, w: Array) -> Array:
        """grad f_i(w), (d,). Raises ValueError for a w of another shape, and for an i that is no single integer."""
        d = self.blocks[-1].stop
        if np.shape(w) != (d,):
            raise ValueError(f"problem.gradient: expected all {d} weights, (d,), got shape {np.shape(w)}")
        if not isinstance(i, int | np.integer) or isinstance(i, bool):
            raise ValueError(f"problem.gradient: expected the number of one sample, got {shown(i)}")
        return np.array(self._problem.gradient(np.array([i]), np.asarray(w, dtype=float)[None])[0])


class Candidate:
    """The implementation as an `Iteration` of theory.delayed. `calling` is when the call in progress began, if one is,
    and on what."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        """Raises CandidateError for what cannot be called with four arguments."""
        _expect_signature(name, function)
        self.name, self.function = name, function
        code = getattr(inspect.unwrap(function), "__code__", None)
        self.file: str = code.co_filename if code is not None else ""
        self.calling: tuple[float, str] | None = None

    def __call__(self, problem: Objective, w0: Array, samples: Array, rule: Rule) -> Array:
        """w^0..w^T, (T+1, R, d). Raises CandidateError."""
        if not isinstance(rule, SGD):
            raise ValueError(f"rule: expected SGD, got {rule}; an implementation on trial is given step sizes")
        return self.whole(problem, w0, samples, rule.gammas)[: samples.shape[1] + 1]

    def whole(self, problem: Objective, w0: Array, samples: Array, gammas: Array) -> Array:
        """w^0..w^T, then the K-1 draining iterations: (T+K, R, d), a call for each of the R rows of `samples`.

        Where `gammas` has fewer than T+K-1 steps, the last goes on. Raises CandidateError.
        """
        needed = samples.shape[1] + len(problem.blocks) - 1
        steps = np.pad(gammas, (0, max(0, needed - len(gammas))), mode="edge")[:needed]
        return np.stack([self._run(problem, w0, row, steps) for row in samples], axis=1)

    def _run(self, problem: Objective, w0: Array, samples: Array, gammas: Array) -> Array:
        T, K, d = len(samples), len(problem.blocks), len(w0)
        on = f"K = {K}, T = {T}, d = {d}"
        arguments = [np.array(w0, dtype=float), np.array(samples), np.array(gammas, dtype=float)]
        for argument in arguments:
            argument.flags.writeable = False
        self.calling = time.monotonic(), on
        try:
            with np.errstate(all="ignore"):
                w = self.function(Given(problem), *arguments)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # SystemExit too
            raise CandidateError(self._failure(error, on)) from error
        finally:
            self.calling = None
        if not isinstance(w, np.ndarray):
            raise CandidateError(f"{self.name}: expected a NumPy array, got {shown(w)}; return np.array(..) ({on})")
        if w.shape != (T + K, d):
            hint = "the last K-1 rows are those of the draining" if w.shape == (T + 1, d) else "one row per iteration"
            raise CandidateError(
                f"{self.name}: expected w of shape (T+K, d) = {T + K, d}, got {w.shape}; {hint} ({on})"
            )
        if w.dtype != float:
            raise CandidateError(f"{self.name}: expected float64, got {w.dtype}; make w with dtype=float ({on})")
        return np.array(w)

    def _failure(self, error: BaseException, on: str) -> str:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        line = line_of(traceback.walk_tb(error.__traceback__), self.file)
        if isinstance(error, ValueError) and "read-only" in str(error):
            return f"{self.name}{line}: writes into its arguments ({error}); take a copy, as w0.copy() ({on})"
        return f"{self.name}{line}: {text} ({on})"


def line_of(frames: Iterator[tuple[FrameType, int]], file: str) -> str:
    """' (FILE, line N)' for the innermost of the frames that is in this file, else ''."""
    lines = [number for frame, number in frames if frame.f_code.co_filename == file]
    return f" ({Path(file).name}, line {lines[-1]})" if lines else ""


def _expect_signature(name: str, function: Callable[..., Any]) -> None:
    wanted = "(problem, w0, samples, gammas)"
    if not callable(function):
        raise CandidateError(f"{name}: expected a function of {wanted}, got {shown(function)}; name the function")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none; calling will tell
        return
    try:
        signature.bind(None, None, None, None)
    except TypeError as error:
        raise CandidateError(f"{name}: expected a function of {wanted}, got one of {signature} ({error})") from None


def load(text: str) -> Candidate:
    """The function that 'package.module:function' or 'path/to/file.py:function' names. Executes that module.

    Raises CandidateError, with the line where importing failed.
    """
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name:
        raise CandidateError(f"iteration: expected module:function or path/to/file.py:function, got {text!r}")
    module = _from_file(place) if place.endswith(".py") else _from_path(place)
    if not hasattr(module, name):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise CandidateError(
            f"iteration: expected a function of {place}, got {name!r}; it has {', '.join(known) or 'none'}"
        )
    return Candidate(name, getattr(module, name))


def _from_file(place: str) -> ModuleType:
    path = Path(place)
    if not path.is_file():
        raise CandidateError(f"iteration: expected a file of Python, got {place}, which is none; check the path")
    absolute = str(path.resolve())
    spec = importlib.util.spec_from_file_location(path.stem, absolute)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    if folder not in sys.path:  # for the modules beside it, as when Python runs the file
        sys.path.insert(0, folder)
    with _importing(place, absolute):
        spec.loader.exec_module(module)
    return module


def _from_path(place: str) -> ModuleType:
    try:
        spec = importlib.util.find_spec(place)
    except (ImportError, ValueError):  # a package above it is missing, or it is no name
        spec = None
    if spec is None:
        raise CandidateError(
            f"iteration: expected a module on Python's path, got {place!r}; check the name, or give its file"
        )
    with _importing(place, spec.origin or ""):
        return importlib.import_module(place)


@contextmanager
def _importing(place: str, file: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        line = line_of(traceback.walk_tb(error.__traceback__), file)
        if isinstance(error, SyntaxError) and error.filename == file:
            line = f" (line {error.lineno})"
        text = error.msg if isinstance(error, SyntaxError) else error
        raise CandidateError(f"iteration: importing {place} failed{line}: {type(error).__name__}: {text}") from error


@contextmanager
def time_limit(candidate: Candidate, seconds: float, expired: Callable[[str], None]) -> Iterator[None]:
    """While the block runs, call `expired(message)`, from another thread, once a call has taken longer than `seconds`.

    Nothing can end such a call but the end of its process. Raises ValueError for seconds <= 0.
    """
    positive("time-limit", seconds)
    done, caller = threading.Event(), threading.get_ident()

    def watch() -> None:
        while not done.wait(min(0.1, seconds / 4)):
            calling = candidate.calling
            if calling is not None and time.monotonic() - calling[0] > seconds:
                line = line_of(reversed(list(traceback.walk_stack(sys._current_frames()[caller]))), candidate.file)
                expired(f"{candidate.name}{line}: did not end within {seconds:g} s ({calling[1]}); see --time-limit")
                return

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()


def leave(message: str) -> None:
    """End this process with the line on stderr and exit status 2, whatever its other threads do."""
    sys.stdout.flush()
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    os._exit(2)
