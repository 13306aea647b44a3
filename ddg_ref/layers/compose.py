"""Layers made of layers: a cache is the children's caches, a parameter's name begins with the child's number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ddg_ref.arrays import Array, Params, Shape
from ddg_ref.errors import InputError, shown, whole
from ddg_ref.layers.base import Layer


def as_layers(name: str, layers: Any) -> list[Layer]:
    """The layers as a list, which for a Sequential is a list of its layers, and for another layer itself alone.

    Raises InputError if they are anything else.
    """
    if isinstance(layers, Layer):
        return list(layers.layers) if isinstance(layers, Sequential) else [layers]
    if isinstance(layers, str) or not isinstance(layers, Iterable):
        raise InputError(f"{name}: expected a list of layers, got {shown(layers)}; give one")
    found = list(layers)
    for layer in found:
        if not isinstance(layer, Layer):
            raise InputError(f"{name}: expected layers, got {shown(layer)} among them; make a layer of it")
    return found


Chain: TypeAlias = tuple[Any, ...]
"""The caches of a sequence: () or (those of all layers but the last, the last one's). What they keep likewise.

Whoever goes back along it lets go of each as he has used it, and it is freed if nobody else holds the whole.
"""


class Sequential(Layer):
    """y = f_n(... f_1(x)). The arrays of layer i are named "i.name"; `first` is the number of the first layer.

    A module of a cut network is a Sequential whose `first` is its place in the whole: names do not depend on the cut.
    """

    def __init__(self, layers: Iterable[Layer], *, first: int = 0) -> None:
        self.layers, self.first = as_layers("layers", layers), whole("first", first, 0)
        with_parameters = (i for i, layer in enumerate(self.layers) if layer.parameter_shapes())
        self._first_with_parameters = next(with_parameters, len(self.layers))
        self._names = [
            {name: f"{i}.{name}" for name in layer.parameter_shapes() | layer.stats_shapes()}
            for i, layer in self._numbered()
        ]

    def _numbered(self) -> Iterator[tuple[int, Layer]]:
        return enumerate(self.layers, self.first)

    def _part(self, arrays: Params, place: int) -> Params:
        """The arrays of one layer, under the names that it uses itself."""
        names = self._names[place]
        return {name: arrays[full] for name, full in names.items() if full in arrays}

    def _whole(self, arrays: Params, place: int) -> Params:
        return {self._names[place][name]: array for name, array in arrays.items()}

    def steps(self) -> list[tuple[str, Layer]]:
        return [(f"{i}.{name}", step) for i, layer in self._numbered() for name, step in layer.steps()]

    def part(self, start: int, stop: int) -> Sequential:
        parts, numbers, begin = [], [], 0
        for i, layer in self._numbered():
            end = begin + len(layer.steps())
            if begin < stop and start < end:
                numbers.append(i)
                parts.append(layer.part(max(start, begin) - begin, min(stop, end) - begin))
            begin = end
        return Sequential(parts, first=numbers[0])

    def parameter_shapes(self) -> dict[str, Shape]:
        return {
            f"{i}.{name}": shape for i, layer in self._numbered() for name, shape in layer.parameter_shapes().items()
        }

    def stats_shapes(self) -> dict[str, Shape]:
        return {f"{i}.{name}": shape for i, layer in self._numbered() for name, shape in layer.stats_shapes().items()}

    def init(self, rng: np.random.Generator, dtype: npt.DTypeLike = np.float32) -> Params:
        return {f"{i}.{name}": array for i, layer in self._numbered() for name, array in layer.init(rng, dtype).items()}

    def init_stats(self, dtype: npt.DTypeLike = np.float32) -> Params:
        return {
            f"{i}.{name}": array for i, layer in self._numbered() for name, array in layer.init_stats(dtype).items()
        }

    def output_shape(self, input_shape: Shape) -> Shape:
        for layer in self.layers:
            input_shape = layer.output_shape(input_shape)
        return input_shape

    def fewest_samples(self, input_shape: Shape) -> int:
        fewest = 1
        for layer in self.layers:
            fewest = max(fewest, layer.fewest_samples(input_shape))
            input_shape = layer.output_shape(input_shape)
        return fewest

    def forward(self, params: Params, x: Array) -> tuple[Array, Chain]:
        chain: Chain = ()
        for place, layer in enumerate(self.layers):
            x, cache = layer.forward(self._part(params, place), x)
            chain = (chain, cache)
        return x, chain

    # the chain rule: the error gradient passes through the layers in reverse
    def backward(self, params: Params, cache: Chain, dy: Array) -> tuple[Array, Params]:
        grads: Params = {}
        for place in reversed(range(len(self.layers))):
            cache, last = cache
            dy, part = self.layers[place].backward(self._part(params, place), last, dy)
            grads |= self._whole(part, place)
        return dy, grads

    def gradients(self, params: Params, cache: Chain, dy: Array) -> Params:
        grads: Params = {}
        for place in reversed(range(self._first_with_parameters, len(self.layers))):
            cache, last = cache
            layer, own = self.layers[place], self._part(params, place)
            if place == self._first_with_parameters:
                part = layer.gradients(own, last, dy)
            else:
                dy, part = layer.backward(own, last, dy)
            grads |= self._whole(part, place)
        return grads

    # what each layer kept, among it the error gradient that it met, in a chain: the first layer's is the last link
    def input_gradient(self, params: Params, cache: Chain, dy: Array) -> tuple[Array, Chain]:
        chain: Chain = ()
        for place in reversed(range(len(self.layers))):
            cache, last = cache
            dy, kept = self.layers[place].input_gradient(self._part(params, place), last, dy)
            chain = (chain, kept)
        return dy, chain

    def weight_gradients(self, params: Params, kept: Chain) -> Params:
        grads: Params = {}
        for place, layer in enumerate(self.layers):
            kept, own = kept
            grads = self._whole(layer.weight_gradients(self._part(params, place), own), place) | grads
        return grads

    def infer(self, params: Params, stats: Params, x: Array) -> Array:
        for place, layer in enumerate(self.layers):
            x = layer.infer(self._part(params, place), self._part(stats, place), x)
        return x

    def advance(self, stats: Params, cache: Chain) -> Params:
        new: Params = {}
        for place in reversed(range(len(self.layers))):
            cache, last = cache
            new = self._whole(self.layers[place].advance(self._part(stats, place), last), place) | new
        return new
