"""A case: everything an experiment depends on, in eight plain values that fit on a line of JSON."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from theory.checks import integer, number, positive
from theory.delayed import Iteration, Run, ddg
from theory.exact import Sequences
from theory.families import direction, make_problem
from theory.problems import Array, Problem
from theory.steps import step_sizes


@dataclass(frozen=True)
class Case:
    """A problem, a start and a step-size sequence; `gamma_L` is L times the largest step, `start` scales w^0.

    Raises ValueError for K, n or T < 1, a gamma_L <= 0, an unknown family or kind of steps.
    """

    family: str
    K: int
    n: int
    T: int
    steps: str
    gamma_L: float  # noqa: N815
    start: float
    seed: int

    def __post_init__(self) -> None:
        for name in ("K", "n", "T"):
            integer(name, getattr(self, name), 1)
        positive("gamma_L", self.gamma_L)
        number("start", self.start)

    @cached_property
    def problem(self) -> Problem:
        """The problem that family, K, n and seed determine."""
        return make_problem(self.family, self.K, self.n, self.seed)

    @property
    def gamma(self) -> float:
        """The largest step size."""
        return self.gamma_L / self.problem.L

    @cached_property
    def gammas(self) -> Array:
        """T+K-1 step sizes."""
        return step_sizes(self.steps, self.gamma, self.T + self.K - 1, self.seed)

    @cached_property
    def w0(self) -> Array:
        """`start` times the family's direction, (d,)."""
        return self.start * direction(self.family, self.problem.d, self.seed)

    @property
    def A(self) -> float:  # noqa: N802
        """f(w^0) - f_star; the difference may round to just below 0, which it cannot be."""
        return float(np.maximum(0.0, self.problem.f(self.w0) - self.problem.f_star))

    @cached_property
    def sequences(self) -> Sequences:
        """All sample sequences, or random ones where there are too many."""
        return Sequences.of(self.n, self.T, draws=512, seed=self.seed)

    def run(self, iteration: Iteration = ddg) -> Run:
        """Run the iteration over every sequence."""
        return Run.of(self.problem, self.w0, self.sequences.samples, self.gammas, iteration)
