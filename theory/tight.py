"""Exact worst cases by semidefinite programming: the largest S_T over all L-smooth f of any dimension.

Performance estimation (Drori, Teboulle, Math. Program. 145, 2014; Taylor, Hendrickx, Glineur, Math. Program. 161,
2017): what a smooth function can do along w^0..w^{T-1} is a set of inequalities, linear in its values and in the inner
products of its gradients. DDG moves the blocks on their own, so there is one Gram matrix per block, and only the
values tie them together. L = 1 throughout: a step is gamma L, S_T in units of L A, M and nu^2 in units of L^2.

Needs cvxpy and clarabel (`pip install cvxpy clarabel`), which nothing else here does.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np

from theory import conjectures
from theory.certificates import Certificate, fault, interpolation, positions
from theory.checks import NotFiniteError, integer, nonnegative, positive
from theory.problems import Array

DIGITS = 10**6
"""Multipliers are rounded to this denominator before they are repaired."""


def solver() -> Any:
    """cvxpy, or ValueError where it or its solver is not installed."""
    try:
        import clarabel  # noqa: F401
        import cvxpy
    except ImportError as error:
        raise ValueError(f"tight: expected cvxpy and clarabel, got {error}; pip install cvxpy clarabel") from None
    return cvxpy


def solve(problem: Any) -> float:
    """The value of a problem; NotFiniteError unless the solver says that it has found the optimum."""
    cp = solver()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a solution that is not as accurate as was asked for
            problem.solve(solver=cp.CLARABEL, tol_gap_abs=1e-9, tol_gap_rel=1e-9, tol_feas=1e-9)
    except cp.error.SolverError as error:
        raise NotFiniteError(f"tight: expected an optimum, got {error}; take fewer iterations") from None
    if problem.status not in ("optimal", "optimal_inaccurate"):
        raise NotFiniteError(f"tight: expected an optimum, got {problem.status!r}; take fewer iterations")
    return float(problem.value)


# --- exact gradients ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Multipliers:
    """The unknowns of a certificate, y of the `pairs` and z, and S_k = sum_p y_p forms[k, p] + diag(z)/2 - 1."""

    K: int
    T: int
    step: Fraction

    def __post_init__(self) -> None:
        integer("K", self.K, 1)
        integer("T", self.T, 2)
        positive("step", self.step)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """All ordered pairs of iterations."""
        return [(i, j) for i, j in product(range(self.T), repeat=2) if i != j]

    def exact_forms(self) -> Iterator[list[dict[tuple[int, int], Fraction]]]:
        """Per block, the forms of all pairs."""
        for k in range(1, self.K + 1):
            w = positions(self.K, self.T, self.step, k)
            yield [interpolation(w, i, j) for i, j in self.pairs]

    def forms(self) -> Array:
        """The same as one array, (K, pairs, T * T) float64."""
        array = np.zeros((self.K, len(self.pairs), self.T, self.T))
        for k, block in enumerate(self.exact_forms()):
            for p, form in enumerate(block):
                for place, value in form.items():
                    array[k, p][place] = float(value)
        return array.reshape(self.K, len(self.pairs), -1)

    def flow(self) -> Array:
        """(T, pairs + T) whole numbers: what each multiplier adds to the factor of f_t."""
        rows = np.zeros((self.T, len(self.pairs) + self.T), dtype=int)
        for p, (i, j) in enumerate(self.pairs):
            rows[i, p], rows[j, p] = 1, -1
        rows[:, len(self.pairs) :] = np.eye(self.T, dtype=int)
        return rows


def worst_sum(K: int, T: int, step: Fraction) -> float:
    """The largest sum_{t<T} ||grad f(w^t)||^2 in units of L (f(w^0) - f*), from above: the dual of the worst case."""
    cp, unknown = solver(), Multipliers(K, T, step)
    y, z, value = cp.Variable(len(unknown.pairs), nonneg=True), cp.Variable(T, nonneg=True), cp.Variable()
    target = cp.hstack([value, np.zeros(T - 1)])
    constraints = [unknown.flow() @ cp.hstack([y, z]) == target]
    constraints += [S >> 0 for S in _remainders(unknown, y, z)]
    return solve(cp.Problem(cp.Minimize(value), constraints))


def _remainders(unknown: Multipliers, y: Any, z: Any) -> list[Any]:
    cp, T = solver(), unknown.T
    return [cp.reshape(y @ forms, (T, T), order="C") + cp.diag(z) / 2 - np.eye(T) for forms in unknown.forms()]


def certificate(K: int, T: int, step: Fraction) -> Certificate:
    """A certificate that `certificates.fault` accepts. Its value is that of f = (L/2) w_1^2 if that can be had, which
    is then proved to be the worst case; else it is a millionth above what the solver finds.

    Multipliers as far inside as they can be are rounded, and moved by least squares, exactly, to where the equations
    hold: they stay inside. At the value of f = (L/2) w_1^2, S_1 must vanish on its gradients r: T equations more.
    """
    unknown = Multipliers(K, T, step)
    reached: Fraction = conjectures.worst_sum(K, step, T)
    found = worst_sum(K, T, step)
    for value, r in (
        (reached, conjectures.responses(K, step, T)),
        (Fraction(math.ceil(max(found, float(reached)) * (1 + 1e-6) * DIGITS), DIGITS), None),
    ):
        if r is not None and found > float(reached) * (1 + 1e-5):
            continue
        made = _rounded(unknown, value, r)
        if made is not None and fault(made) is None:
            return made
    raise NotFiniteError("certificate: expected multipliers with room to round, got none; take fewer iterations")


def _rounded(unknown: Multipliers, value: Fraction, r: list[Fraction] | None) -> Certificate | None:
    """Multipliers of a certificate of this value, or None where the solver finds no room; with r, S_1 r = 0."""
    rows = [[Fraction(int(entry)) for entry in row] for row in unknown.flow()]
    sides = [value, *[Fraction(0)] * (unknown.T - 1)]
    if r is not None:
        (first, *_), T, count = unknown.exact_forms(), unknown.T, len(unknown.pairs)
        rows += [[Fraction(0)] * (count + T) for _ in range(T)]
        for p, form in enumerate(first):
            for (a, s), x in form.items():
                rows[T + a][p] += x * r[s]
        for t in range(T):
            rows[T + t][count + t] += r[t] / 2
        sides += r
    inside = _centre(unknown, np.array(rows, dtype=float), np.array(sides, dtype=float), r)
    if inside is None:
        return None
    y = _repaired([Fraction(round(float(v) * DIGITS), DIGITS) for v in inside], rows, sides)
    count = len(unknown.pairs)
    pairs = dict(zip(unknown.pairs, y[:count], strict=True))
    return Certificate(unknown.K, unknown.T, unknown.step, value, pairs, tuple(y[count:]))


def _centre(unknown: Multipliers, rows: Array, sides: Array, r: list[Fraction] | None) -> Array | None:
    """The multipliers that are farthest from all boundaries, if there is room."""
    cp, T = solver(), unknown.T
    y, z, room = cp.Variable(len(unknown.pairs)), cp.Variable(T), cp.Variable()
    constraints = [rows @ cp.hstack([y, z]) == sides, y >= room, z >= room, room <= 0.05]
    for k, S in enumerate(_remainders(unknown, y, z)):
        if k == 0 and r is not None:
            across = np.linalg.svd(np.array([r], dtype=float))[2][1:].T
            constraints.append(across.T @ S @ across >> room * np.eye(T - 1))
        else:
            constraints.append(S >> room * np.eye(T))
    try:
        solve(cp.Problem(cp.Maximize(room), constraints))
    except NotFiniteError:
        return None
    return None if room.value < 1e-7 else np.concatenate([y.value, z.value])


def _repaired(y: list[Fraction], rows: list[list[Fraction]], sides: list[Fraction]) -> list[Fraction]:
    """The nearest y with rows y = sides, exactly: y + R^T u, R R^T u = sides - R y (which may be singular)."""
    gap = [side - _dot(row, y) for row, side in zip(rows, sides, strict=True)]
    u = _solution([[_dot(a, b) for b in rows] for a in rows], gap)
    return [value + _dot([row[c] for row in rows], u) for c, value in enumerate(y)]


def _dot(a: list[Fraction], b: list[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True) if x and y), start=Fraction(0))


def _solution(matrix: list[list[Fraction]], right: list[Fraction]) -> list[Fraction]:
    """One solution of a consistent system, by elimination; what is free is 0."""
    rows = [[*row, side] for row, side in zip(matrix, right, strict=True)]
    places: list[int] = []
    for column in range(len(matrix[0])):
        at = next((i for i in range(len(places), len(rows)) if rows[i][column]), None)
        if at is None:
            continue
        here = len(places)
        rows[here], rows[at] = rows[at], rows[here]
        rows[here] = [x / rows[here][column] for x in rows[here]]
        for i, row in enumerate(rows):
            if i != here and row[column]:
                factor = row[column]
                rows[i] = [x - factor * y for x, y in zip(row, rows[here], strict=True)]
        places.append(column)
    solution = [Fraction(0)] * len(matrix[0])
    for i, column in enumerate(places):
        solution[column] = rows[i][-1]
    return solution


# --- samples -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sampled:
    """DDG on f = (1/n) sum_i f_i, n = inf for samples that never come twice; A = f(w^0) - f*; and either
    ||grad f_i||^2 <= M (A2), or a sampling variance of at most nu2.

    The samples may be renamed at every node of the tree of histories (n^t of them at time t), so a worst case may be
    taken to be symmetric. Then each vector is a sum of martingale differences, one per level l = -1 (the mean), 0, ..,
    T-1: what draw l added. a_t = grad f(w^t) has parts l < t; the noise z_t of the gradient drawn at t is of level t.
    Parts of two histories that share their first c draws, and no more, have the inner product of those of one history,
    times 1 for l < c, times -1/(n-1) for l = c (the draws differ, and all n add up to 0), and times 0 beyond. So one
    Gram matrix per block and level is enough, and one inequality per pair of times and c, in place of n^t n^u.
    """

    K: int
    T: int
    step: float
    n: float
    A: float
    M: float | None = None
    nu2: float | None = None

    def __post_init__(self) -> None:
        integer("K", self.K, 1)
        integer("T", self.T, 1)
        positive("step", self.step)
        positive("A", self.A)
        if self.n != math.inf:
            integer("n", self.n, 2)
        if (self.M is None) == (self.nu2 is None):
            raise ValueError("M: expected M or nu2, got both or none; give one of them")
        nonnegative("M or nu2", self.M if self.nu2 is None else self.nu2)

    def vectors(self, l: int, d: int) -> tuple[Array, Array, Array]:  # noqa: E741
        """Parts of level l of the a_t, the w^t - w^0 and the z_t of a block of delay d: (T, basis) each. The basis is
        z_l, then a_{l+1}..a_{T-1}."""
        T = self.T
        first = max(l + 1, 0)
        size = T - first + (l >= 0)
        a, w, z = np.zeros((3, T, size))
        for t in range(first, T):
            a[t, t - first + (l >= 0)] = 1
        if l >= 0:
            z[l, 0] = 1
        for t in range(T):
            w[t] = -self.step * (a + z)[: max(0, t - d)].sum(axis=0)
        return a, w, z

    def pairs(self) -> list[tuple[int, int, int]]:
        """Times t and u of two nodes and how many draws they share, up to relabelling; not the same node twice."""
        times = range(self.T)
        return [(t, u, c) for t in times for u in times for c in range(min(t, u) + 1) if not t == u == c]

    def alike(self, l: int, t: int, u: int, c: int) -> float:  # noqa: E741
        """The inner product of parts of level l of two nodes, relative to that of one."""
        if l < c:
            return 1.0
        return -1 / (self.n - 1) if l == c < min(t, u) else 0.0


def symmetric(u: Array, v: Array) -> Array:
    """The matrix of <u, v> in the Gram matrix of the basis."""
    return np.asarray((np.outer(u, v) + np.outer(v, u)) / 2)


def worst_mean(sampled: Sampled) -> float:
    """The largest S_T = (1/T) sum_{t<T} E||grad f(w^t)||^2, the expectation over all n^T sequences."""
    cp, T, pairs = solver(), sampled.T, sampled.pairs()
    f = cp.Variable(T)
    jumps = np.zeros((len(pairs), T))
    for p, (t, u, _) in enumerate(pairs):
        jumps[p, t] += 1
        jumps[p, u] -= 1
    needed, squares, noise = 0, [0] * T, [0] * T
    for d, l in product(range(sampled.K), range(-1, T)):  # noqa: E741
        a, w, z = sampled.vectors(l, d)
        gram = cp.Variable((a.shape[1], a.shape[1]), PSD=True)
        rows = np.zeros((len(pairs), gram.size))
        for p, (t, u, c) in enumerate(pairs):
            alike = sampled.alike(l, t, u, c)
            inner = (
                symmetric(a[t], w[t]) - symmetric(a[u], w[u]) + alike * (symmetric(a[u], w[t]) - symmetric(a[t], w[u]))
            )
            bent = _distance(a[t], a[u], alike) - _distance(w[t], w[u], alike)
            rows[p] = (inner / 2 + bent / 4).ravel()
        needed = needed + rows @ cp.vec(gram, order="C")
        for t in range(T):
            squares[t] = squares[t] + cp.trace(gram @ np.outer(a[t], a[t]))
            noise[t] = noise[t] + cp.trace(gram @ np.outer(z[t], z[t]))
    constraints = [jumps @ f >= needed, f[0] <= sampled.A, *(f[t] >= squares[t] / 2 for t in range(T))]
    if sampled.M is not None:
        constraints += [squares[t] + noise[t] <= sampled.M for t in range(T)]
    else:
        constraints += [noise[t] <= np.array(sampled.nu2) for t in range(T)]
    return solve(cp.Problem(cp.Maximize(sum(squares) / T), constraints))


def _distance(u: Array, v: Array, alike: float) -> Array:
    """||u - v||^2 where <u, v> is `alike` times what it is in one history."""
    return np.asarray(np.outer(u, u) + np.outer(v, v) - 2 * alike * symmetric(u, v))
