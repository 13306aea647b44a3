"""Synthesizers: small networks that guess a module's error gradient from its output.

Jaderberg, Czarnecki, Osindero, Vinyals, Graves, Silver, Kavukcuoglu, ICML 2017.
"""

from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from itertools import pairwise
from math import prod

import numpy as np
import numpy.typing as npt

from ddg_ref.arrays import Array, Params, Shape, xp_of
from ddg_ref.layers import BatchNorm, Conv2d, Layer, Linear, ReLU, Sequential
from ddg_ref.losses import mean_squared_error, one_hot
from ddg_ref.methods import Method
from ddg_ref.optimizers import Adam
from ddg_ref.seeds import Purpose, generator
from ddg_ref.workers.neighbours import Right

UNITS, CHANNELS = 256, 16
"""The hidden layer has as many as the module's output, but these at least, where nothing else is asked for."""


class Synthesizer:
    """Guesses dy from y (N, *shape), and from the labels if it is told them: two layers, batch norm and ReLU between.

    Images (H, W, C) pass through 3x3 convolutions, (2, H, W, C) as images of 2C channels, everything else through
    linear layers. The output layer begins at zero, so the first guess is zero. Batch norm bounds a guess whatever has
    become of y: without it, guesses and outputs drive each other up. Always over the batch, so it has no statistics.

    What it learns is N dy, the gradient of a sample's own loss: its size does not depend on the batch's.
    `outputs` holds the outputs whose error gradients are still to come, oldest first: (batch, y).
    """

    def __init__(
        self, shape: Shape, classes: int, method: Method, rng: np.random.Generator, dtype: npt.DTypeLike
    ) -> None:
        self._image, self._classes = _image_shape(shape), classes if method.synthesizer_labels else 0
        *pixels, channels = self._image or (prod(shape),)
        self._input_shape = (*pixels, channels + self._classes)
        self.layers = layers_for(shape, classes, method)
        self.params: Params = self.layers.init(rng, dtype)
        self.optimizer, self._gamma = Adam(), method.synthesizer_lr
        self.optimizer_state = self.optimizer.init(self.params)
        self.outputs: deque[tuple[int, Array]] = deque()

    def placed(self, place: Callable[[Array], Array]) -> "Synthesizer":
        """The same, with all its arrays where `place` puts them."""
        other = copy(self)
        other.params = {name: place(array) for name, array in self.params.items()}
        other.optimizer_state = self.optimizer_state.placed(place)
        other.outputs = deque((batch, place(y)) for batch, y in self.outputs)
        return other

    def beside(self, right: Right, labels: Callable[[int], Array]) -> Right:
        """A neighbour that answers with its guess."""
        return Guessing(self, right, labels)

    def fewest_samples(self) -> int:
        """How many samples a batch must have at least for a guess to depend on them."""
        return self.layers.fewest_samples(self._input_shape)

    def predict(self, batch: int, labels: Callable[[int], Array]) -> Array:
        """The guess for `batch`, whose output came last; `labels(batch)` gives its labels."""
        newest, y = self.outputs[-1]
        assert newest == batch
        guess, _ = self.layers.forward(self.params, self._features(y, batch, labels))
        return self._like_output(guess, y.shape) / len(y)

    def train(self, batch: int, dy: Array, labels: Callable[[int], Array]) -> None:
        """One step of Adam on the mean squared error of what it would guess now, given what has come down from above.

        Raises RuntimeError if the output that waited longest is another batch's.
        """
        oldest, y = self.outputs.popleft()
        if oldest != batch:
            raise RuntimeError(f"synthesizer: error gradient of batch {batch} met the output of batch {oldest}")
        guess, cache = self.layers.forward(self.params, self._features(y, batch, labels))
        _, error = mean_squared_error(guess, self._like_features(dy * len(dy)))
        grads = self.layers.gradients(self.params, cache, error)
        self.params, self.optimizer_state = self.optimizer.update(self.params, grads, self.optimizer_state, self._gamma)

    def _features(self, y: Array, batch: int, labels: Callable[[int], Array]) -> Array:
        """What the layers take: y as images or rows, and after its channels one for each class."""
        x = self._like_features(y)
        if not self._classes:
            return x
        xp = xp_of(y)
        told = one_hot(xp.asarray(labels(batch)), xp.empty((len(y), self._classes), dtype=y.dtype))
        everywhere = told.reshape(len(y), *(1,) * (x.ndim - 2), self._classes)  # (N, 1, 1, classes) for images
        joined: Array = xp.concatenate((x, xp.broadcast_to(everywhere, (*x.shape[:-1], self._classes))), axis=-1)
        return joined

    def _like_features(self, y: Array) -> Array:
        if self._image is None:
            return y.reshape(len(y), -1)
        if y.ndim == 5:
            y = y.transpose(0, 2, 3, 1, 4)  # (N, H, W, 2, C)
        return xp_of(y).ascontiguousarray(y.reshape(len(y), *self._image))  # type: ignore[no-any-return]

    def _like_output(self, guess: Array, shape: Shape) -> Array:
        if len(shape) != 5:
            return guess.reshape(shape)
        n, two, h, w, c = shape
        apart = guess.reshape(n, h, w, two, c).transpose(0, 3, 1, 2, 4)
        return xp_of(guess).ascontiguousarray(apart)  # type: ignore[no-any-return]


class Guessing(Right):
    """A right-hand neighbour that guesses by a synthesizer, in front of the one that knows."""

    def __init__(self, synthesizer: Synthesizer, right: Right, labels: Callable[[int], Array]) -> None:
        self._synthesizer, self._right, self._labels = synthesizer, right, labels

    def give_activation(self, number: int, y: Array | None) -> None:
        if y is not None:
            self._synthesizer.outputs.append((number, y))
        self._right.give_activation(number, y)

    def take_error(self, number: int) -> Array:
        return self._right.take_error(number)

    def guess(self, number: int) -> Array:
        return self._synthesizer.predict(number, self._labels)

    def learn(self, number: int, dy: Array) -> None:
        self._synthesizer.train(number, dy, self._labels)


def layers_for(shape: Shape, classes: int, method: Method) -> Sequential:
    """The layers of a synthesizer for outputs (N, *shape)."""
    image, told = _image_shape(shape), classes if method.synthesizer_labels else 0
    if image is not None:
        channels = image[2]
        width = method.synthesizer_width or max(channels, CHANNELS)
        first: Layer = Conv2d(channels + told, width, padding=1, bias=False)
        last: Layer = Conv2d(width, channels, padding=1, init=zeros)
    else:
        size = prod(shape)
        width = method.synthesizer_width or max(size, UNITS)
        first, last = Linear(size + told, width), Linear(width, size, init=zeros)
    return Sequential([first, BatchNorm(width), ReLU(), last])


def zeros(rng: np.random.Generator, shape: Shape, dtype: npt.DTypeLike) -> Array:
    """An output layer that begins by giving zero."""
    return np.zeros(shape, dtype)


def _image_shape(shape: Shape) -> Shape | None:
    """Samples of this shape as images, or None."""
    if len(shape) == 4 and shape[0] == 2:
        return (*shape[1:3], 2 * shape[3])
    return shape if len(shape) == 3 else None


def boundaries(method: Method, network: Sequential, cuts: Sequence[int], input_shape: Shape) -> list[Shape]:
    """The shapes of the outputs that `method` has synthesizers for: those of all modules but the last, or none."""
    if not method.guesses:
        return []
    shapes = [input_shape]
    for start, stop in pairwise([0, *cuts]):
        shapes.append(network.part(start, stop).output_shape(shapes[-1]))
    return shapes[1:]


def synthesizers_for(
    method: Method, network: Sequential, cuts: Sequence[int], input_shape: Shape, seed: int, dtype: npt.DTypeLike
) -> list[Synthesizer | None]:
    """One for each module that `method` gives one: all but the last, or none. Their weights are drawn from `seed`."""
    (classes,) = network.output_shape(input_shape)
    found: list[Synthesizer | None] = [
        Synthesizer(shape, classes, method, generator(Purpose.SYNTHESIZER, seed, k), dtype)
        for k, shape in enumerate(boundaries(method, network, cuts, input_shape), 1)
    ]
    return found + [None] * (len(cuts) + 1 - len(found))
