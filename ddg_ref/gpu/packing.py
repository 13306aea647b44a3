"""Arrays of a GPU as parts of one, so that one kernel does for all of them what is done to each number by itself."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import prod

from ddg_ref.arrays import Array, Params, Shape, cupy

ALIGNED = 512
"""Bytes: CuPy's arrays begin at multiples of them. From other places cuBLAS may compute otherwise, by the last bits."""


class Packed(Params):
    """Named arrays of one type that lie in one, `whole`, each from a multiple of ALIGNED bytes on."""

    def __init__(self, whole: Array, shapes: Mapping[str, Shape]) -> None:
        self.whole, start, unit = whole, 0, ALIGNED // whole.itemsize
        for name, shape in shapes.items():
            self[name] = whole[start : start + prod(shape)].reshape(shape)
            start += unit * -(-prod(shape) // unit)


def packed(arrays: Params, order: Iterable[str]) -> Packed:
    """The arrays in that order, as parts of one: themselves if they are, else copies, made all at once."""
    names = list(order)
    if isinstance(arrays, Packed) and list(arrays) == names:
        return arrays
    first = arrays[names[0]]
    gap = cupy().zeros(ALIGNED // first.itemsize, first.dtype)
    parts = []
    for name in names:
        parts.append(arrays[name].ravel())
        if missing := -arrays[name].size % len(gap):
            parts.append(gap[:missing])
    return Packed(cupy().concatenate(parts), {name: arrays[name].shape for name in names})


def for_all(arrays: Params, rule: Callable[..., Sequence[Array]], *others: Params, results: int = 1) -> list[Params]:
    """`ddg_ref.arrays.for_each`, on all names at once."""
    wholes = [packed(each, arrays).whole for each in (arrays, *others)]
    shapes = {name: x.shape for name, x in arrays.items()}
    return [Packed(made, shapes) for _, made in zip(range(results), rule(*wholes), strict=True)]
