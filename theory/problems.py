"""Objectives f = (1/n) sum_i f_i on R^d, cut into K blocks, with certified constants.

Certified means: L is a proven Lipschitz constant of grad f, M a proven bound of ||grad f_i||^2 at every w,
`variance` a proven bound of (1/n) sum_i ||grad f_i - grad f||^2, and f_star a proven lower bound of f.
None is fitted or sampled; each derivation stands in the docstring of its class.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from theory.checks import integer

Array: TypeAlias = npt.NDArray[Any]


def split(d: int, K: int) -> tuple[slice, ...]:
    """Cut d coordinates into K consecutive blocks whose sizes differ by one at most."""
    integer("K", K, 1)
    if d < K:
        raise ValueError(f"d: expected at least one coordinate per block (K = {K}), got {d}; raise d or lower K")
    edges = [d * k // K for k in range(K + 1)]
    return tuple(slice(a, b) for a, b in itertools.pairwise(edges))


class Problem(ABC):
    """What DDG needs to know of f_1..f_n, and the constants that the bounds need.

    Every array method takes w of shape (..., d): leading axes are independent points.
    """

    name: str
    n: int
    blocks: tuple[slice, ...]
    L: float
    M: float | None
    variance: float
    f_star: float

    @property
    def K(self) -> int:  # noqa: N802
        """Number of blocks (modules)."""
        return len(self.blocks)

    @property
    def d(self) -> int:
        """Dimension."""
        return int(self.blocks[-1].stop)

    @abstractmethod
    def values(self, w: Array) -> Array:
        """f_1(w)..f_n(w): (..., d) -> (..., n)."""

    @abstractmethod
    def gradient(self, i: int | Array, w: Array) -> Array:
        """grad f_i(w): (...), (..., d) -> (..., d)."""

    def f(self, w: Array) -> Array:
        """The average f(w): (..., d) -> (...)."""
        return np.asarray(self.values(w).mean(axis=-1))

    def grad(self, w: Array) -> Array:
        """grad f(w): (..., d) -> (..., d)."""
        total = self.gradient(0, w)
        for i in range(1, self.n):
            total = total + self.gradient(i, w)
        return total / self.n

    def gradient_bound(self) -> float:
        """M, or ValueError where the gradients of this problem are not bounded."""
        if self.M is None:
            raise ValueError(
                f"M: expected a problem with bounded gradients, got {self.name!r}, which has none; "
                "use a statement without M (theorem_d0, theorem_d) or another family"
            )
        return self.M


@dataclass(frozen=True)
class Ridge:
    """A function R -> R with |phi'| <= 1 and |phi''| <= 1 everywhere, and its exact range."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]
    infimum: float
    supremum: float


def _logcosh(x: Array) -> Array:
    size = np.abs(x)
    return np.asarray(size + np.log1p(np.exp(-2 * size)) - np.log(2.0))


def _huber(x: Array) -> Array:
    size = np.abs(x)
    return np.where(size <= 1, x * x / 2, size - 0.5)


RIDGES = {
    "sqrt": Ridge(lambda x: np.sqrt(1 + x * x), lambda x: x / np.sqrt(1 + x * x), 1.0, np.inf),
    "logcosh": Ridge(_logcosh, np.tanh, 0.0, np.inf),
    "huber": Ridge(_huber, lambda x: np.clip(x, -1, 1), 0.0, np.inf),
    "sine": Ridge(np.sin, np.cos, -1.0, 1.0),
}


@dataclass
class RidgeSum(Problem):
    """f_i(w) = sum_j C_ij phi(<a_j, w>) + <e_i, w>, with sum_i e_i = 0 and c_j := (1/n) sum_i C_ij.

    L: grad^2 f(w) = sum_j c_j phi''(<a_j, w>) a_j a_j^T and |phi''| <= 1, so for every u
       |<u, grad^2 f(w) u>| <= sum_j |c_j| <a_j, u>^2 <= lambda_max(sum_j |c_j| a_j a_j^T) ||u||^2.
    M: grad f_i(w) = sum_j C_ij s_j a_j + e_i with s = phi'(.) in the cube [-1, 1]^m. The squared norm is
       convex in s, so its maximum over the cube is attained at one of the 2^m corners, which are enumerated.
    variance: (1/n) sum_i ||sum_j (C_ij - c_j) s_j a_j + e_i||^2 is convex in s too: corners again.
    f_star: sum_j inf(c_j phi), term by term; attained at w = 0 for "sqrt", "logcosh" and "huber" with c >= 0.

    Shapes: directions (m, d), coefficients (n, m), tilt (n, d) with zero column sums. All float64.
    """

    ridge: str
    directions: Array
    coefficients: Array
    tilt: Array
    K_blocks: int
    name: str = field(init=False)
    n: int = field(init=False)
    blocks: tuple[slice, ...] = field(init=False)
    L: float = field(init=False)
    M: float | None = field(init=False)
    variance: float = field(init=False)
    f_star: float = field(init=False)

    def __post_init__(self) -> None:
        self.phi = RIDGES[self.ridge]
        self.name = self.ridge + ("+noise" if np.any(self.tilt) else "")
        self.n = len(self.coefficients)
        self.blocks = split(self.directions.shape[1], self.K_blocks)
        average = self.coefficients.mean(axis=0)
        if np.isinf(self.phi.supremum) and (average < 0).any():
            raise ValueError(
                f"coefficients: expected column means >= 0 for {self.ridge!r}, got {average.min():g}; "
                "f would be unbounded below"
            )
        a = self.directions
        self.L = float(np.linalg.eigvalsh((a.T * np.abs(average)) @ a)[-1])
        corners = np.array(list(itertools.product([-1.0, 1.0], repeat=len(a))))
        at_corners = (corners[:, None, :] * self.coefficients) @ a + self.tilt  # (2^m, n, d)
        self.M = float((at_corners**2).sum(axis=-1).max())
        centred = at_corners - at_corners.mean(axis=1, keepdims=True)
        self.variance = float((centred**2).sum(axis=-1).mean(axis=1).max())
        rising, falling = average > 0, average < 0
        self.f_star = float((average[rising] * self.phi.infimum).sum() + (average[falling] * self.phi.supremum).sum())

    def values(self, w: Array) -> Array:
        return np.asarray(self.phi.value(w @ self.directions.T) @ self.coefficients.T + w @ self.tilt.T)

    def gradient(self, i: int | Array, w: Array) -> Array:
        slopes = self.phi.slope(w @ self.directions.T)  # (..., m)
        return np.asarray((slopes * self.coefficients[i]) @ self.directions + self.tilt[i])


@dataclass
class Logistic(Problem):
    """f_i(w) = log(1 + exp(-<a_i, w>)) + rho sum_j p(w_j), p(u) = u^2/(1+u^2); a_i = label times features.

    p' = 2u/(1+u^2)^2 is largest at u = 1/sqrt(3), where it is 3 sqrt(3)/8; p'' = 2(1-3u^2)/(1+u^2)^3 lies in
    [-1/2, 2] (smallest at u = 1): the penalty is bounded and not convex.

    L: the logistic part has curvature in (0, 1/4], so L = lambda_max(sum_i a_i a_i^T)/(4n) + 2 rho.
    M: grad f_i = -q a_i + rho p'(w) with q in [0, 1] and |p'| <= 3 sqrt(3)/8 per coordinate; convex in (q,
       p'), so the maximum over that box is at a corner: M = max_i sum_j (|a_ij| + rho 3 sqrt(3)/8)^2.
    variance: the penalty cancels: (1/n) sum_i ||q_i a_i - mean||^2 <= (1/n) sum_i ||a_i||^2.
    f_star: both terms are nonnegative, so 0.

    Shapes: features (n, d). All float64.
    """

    features: Array
    rho: float
    K_blocks: int
    name: str = field(init=False, default="logistic")
    n: int = field(init=False)
    blocks: tuple[slice, ...] = field(init=False)
    L: float = field(init=False)
    M: float | None = field(init=False)
    variance: float = field(init=False)
    f_star: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        a = self.features
        self.n = len(a)
        self.blocks = split(a.shape[1], self.K_blocks)
        self.L = float(np.linalg.eigvalsh(a.T @ a)[-1]) / (4 * self.n) + 2 * self.rho
        steepest = self.rho * 3 * np.sqrt(3) / 8
        self.M = float(((np.abs(a) + steepest) ** 2).sum(axis=1).max())
        self.variance = float((a**2).sum(axis=1).mean())

    def values(self, w: Array) -> Array:
        penalty = self.rho * (w * w / (1 + w * w)).sum(axis=-1, keepdims=True)
        return np.asarray(np.logaddexp(0, -(w @ self.features.T)) + penalty)

    def gradient(self, i: int | Array, w: Array) -> Array:
        a = self.features[i]
        margin = (w * a).sum(axis=-1, keepdims=True)
        q = 0.5 * (1 - np.tanh(margin / 2))  # 1/(1 + exp(margin)) without overflow
        return np.asarray(-q * a + self.rho * 2 * w / (1 + w * w) ** 2)


@dataclass
class Quadratic(Problem):
    """f_i(w) = <w, H w>/2 + <e_i, w> with H symmetric positive semidefinite and sum_i e_i = 0.

    L = lambda_max(H) exactly; the gradients are unbounded, so there is no M;
    variance = (1/n) sum_i ||e_i||^2 exactly, at every w; f_star = f(0) = 0 exactly.

    Shapes: H (d, d), tilt (n, d) with zero column sums. All float64.
    """

    H: Array
    tilt: Array
    K_blocks: int
    name: str = field(init=False, default="quadratic")
    n: int = field(init=False)
    blocks: tuple[slice, ...] = field(init=False)
    L: float = field(init=False)
    M: float | None = field(init=False, default=None)
    variance: float = field(init=False)
    f_star: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.n = len(self.tilt)
        self.blocks = split(len(self.H), self.K_blocks)
        self.L = float(np.linalg.eigvalsh(self.H)[-1])
        self.variance = float((self.tilt**2).sum(axis=1).mean())

    def values(self, w: Array) -> Array:
        return np.asarray(0.5 * (w * (w @ self.H)).sum(axis=-1, keepdims=True) + w @ self.tilt.T)

    def gradient(self, i: int | Array, w: Array) -> Array:
        return np.asarray(w @ self.H + self.tilt[i])


@dataclass
class Radial(Problem):
    """f_i(w) = h(||B w||) for every i, with Huber's h(r) = r^2/2 for r <= 1, r - 1/2 beyond.

    v -> h(||v||) is convex and v/max(1, ||v||), its gradient, is the projection onto the unit ball, which is
    1-Lipschitz and no longer than 1; so
    L: ||B^T (p(Bw) - p(Bw'))|| <= ||B|| ||B(w - w')|| <= lambda_max(B^T B) ||w - w'||;
    M: ||B^T p||^2 <= lambda_max(B^T B).
    variance: 0, as all samples are alike; f_star = f(0) = 0 exactly.

    Shapes: B (m, d). All float64.
    """

    B: Array
    n: int
    K_blocks: int
    name: str = field(init=False, default="radial")
    blocks: tuple[slice, ...] = field(init=False)
    L: float = field(init=False)
    M: float | None = field(init=False)
    variance: float = field(init=False, default=0.0)
    f_star: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.blocks = split(self.B.shape[1], self.K_blocks)
        self.L = float(np.linalg.eigvalsh(self.B.T @ self.B)[-1])
        self.M = self.L

    def values(self, w: Array) -> Array:
        size = np.linalg.norm(w @ self.B.T, axis=-1, keepdims=True)
        return np.repeat(_huber(size), self.n, axis=-1)

    def gradient(self, i: int | Array, w: Array) -> Array:
        v = w @ self.B.T
        return np.asarray(v / np.maximum(1, np.linalg.norm(v, axis=-1, keepdims=True)) @ self.B)
