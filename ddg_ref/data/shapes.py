"""Procedural images: coloured shapes, turned, scaled and shifted at random, on noisy backgrounds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ddg_ref.arrays import Array
from ddg_ref.data.dataset import Dataset
from ddg_ref.errors import whole
from ddg_ref.seeds import Purpose, generator

SIZE = 32
NOISE = 0.06


def _polygon(corners: int) -> Callable[[Array, Array], Array]:
    def inside(u: Array, v: Array) -> Array:
        sector = 2 * np.pi / corners
        angle = (np.arctan2(v, u) + sector / 2) % sector - sector / 2
        distance: Array = np.cos(sector / 2) * 1.05 - np.hypot(u, v) * np.cos(angle)
        return distance

    return inside


SHAPES: dict[str, Callable[[Array, Array], Array]] = {
    "disc": lambda u, v: 0.9 - np.hypot(u, v),
    "ring": lambda u, v: 0.22 - np.abs(np.hypot(u, v) - 0.72),
    "triangle": _polygon(3),
    "square": _polygon(4),
    "pentagon": _polygon(5),
    "cross": lambda u, v: np.minimum(0.28 - np.minimum(abs(u), abs(v)), 0.95 - np.maximum(abs(u), abs(v))),
    "star": lambda u, v: 0.66 + 0.32 * np.cos(5 * np.arctan2(v, u)) - np.hypot(u, v),
    "crescent": lambda u, v: np.minimum(0.95 - np.hypot(u, v), np.hypot(u - 0.45, v) - 0.72),
    "half disc": lambda u, v: np.minimum(0.95 - np.hypot(u, v), v + 0.1),
    "bars": lambda u, v: np.minimum(0.2 - np.abs(abs(u) - 0.45), 0.85 - abs(v)),
}
"""Class name -> f(u, v), positive inside the shape, which fills about the unit disc."""


def draw(labels: Array, rng: np.random.Generator) -> Array:
    """One image per label: (N, 32, 32, 3) float32, centred on 0."""
    n = len(labels)
    radius = rng.uniform(9, 14, n).astype(np.float32)  # pixels
    centre = SIZE / 2 + rng.uniform(-1, 1, (2, n)).astype(np.float32) * (SIZE / 2 - radius)
    angle = rng.uniform(0, 2 * np.pi, n).astype(np.float32)
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)  # (32, 32) each
    dy = (rows[None] - centre[0][:, None, None]) / radius[:, None, None]  # (N, 32, 32)
    dx = (columns[None] - centre[1][:, None, None]) / radius[:, None, None]
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    u, v = cos * dx + sin * dy, cos * dy - sin * dx

    inside = np.empty((n, SIZE, SIZE), dtype=np.float32)
    for label, shape in enumerate(SHAPES.values()):
        chosen = labels == label
        inside[chosen] = shape(u[chosen], v[chosen])
    cover = np.clip(inside * radius[:, None, None] + 0.5, 0, 1)[..., None]  # (N, 32, 32, 1), edges one pixel soft

    background = rng.uniform(0, 1, (n, 1, 1, 3))
    towards = rng.standard_normal((n, 1, 1, 3))
    towards /= np.linalg.norm(towards, axis=-1, keepdims=True)
    foreground = background + rng.uniform(0.5, 0.9, (n, 1, 1, 1)) * towards
    slope = rng.uniform(-0.2, 0.2, (2, n, 1, 1, 3))
    shading = (slope[0] * rows[None, :, :, None] + slope[1] * columns[None, :, :, None]) / SIZE
    noise = NOISE * rng.standard_normal((n, SIZE, SIZE, 3), dtype=np.float32)
    images: Array = background * (1 - cover) + foreground * cover + shading + noise
    return np.asarray(images - 0.5, dtype=np.float32)


def shapes(*, train: int = 4000, test: int = 1000, seed: int = 0) -> Dataset:
    """`train` + `test` images 32x32x3 of the ten SHAPES, every class equally often up to one."""
    train, test, seed = whole("train", train, 1), whole("test", test, 1), whole("seed", seed, 0)
    parts = []
    for part, n in enumerate((train, test)):
        rng = generator(Purpose.SHAPES, seed, part)
        y = rng.permutation(np.arange(n) % len(SHAPES))
        parts.append((draw(y, rng), y))
    (x_train, y_train), (x_test, y_test) = parts
    return Dataset("shapes", x_train, y_train, x_test, y_test, len(SHAPES))
