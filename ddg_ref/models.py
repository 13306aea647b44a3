"""Networks as lists of layers, for any input shape and number of classes. Each layer of the list can start a module,
and so can each layer inside a residual block."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from ddg_ref.arrays import Shape
from ddg_ref.errors import InputError, shown, whole
from ddg_ref.layers import (
    BatchNorm,
    Conv2d,
    Flatten,
    GlobalAvgPool,
    Layer,
    Linear,
    MaxPool,
    ReLU,
    Residual,
    Sequential,
    Subsample,
    glorot_uniform,
)
from ddg_ref.layers.compose import as_layers
from ddg_ref.layers.images import check_images


def mlp(input_shape: Shape, classes: int, *, width: int = 256, depth: int = 4) -> list[Layer]:
    """`depth` linear layers, the hidden ones `width` wide and followed by ReLU. Any input shape: it is flattened."""
    input_shape, classes, width, depth = _sizes(input_shape, classes, width, depth)
    layers: list[Layer] = [] if len(input_shape) == 1 else [Flatten()]
    size = Flatten().output_shape(input_shape)[0]
    for _ in range(depth - 1):
        layers += [Linear(size, width), ReLU()]
        size = width
    return [*layers, Linear(size, classes, init=glorot_uniform)]


def cnn(input_shape: Shape, classes: int, *, width: int = 32, depth: int = 4) -> list[Layer]:
    """`depth` 3x3 convolutions with batch norm and ReLU, then a linear layer on the mean over the pixels.

    After every second convolution the images are halved by max pooling while they are at least 4x4, and the channels,
    `width` to begin with, are doubled.
    """
    input_shape, classes, width, depth = _sizes(input_shape, classes, width, depth)
    h, w, channels = _image(input_shape, "cnn")
    layers: list[Layer] = []
    for i in range(depth):
        layers += [Conv2d(channels, width, padding=1, bias=False), BatchNorm(width), ReLU()]
        channels = width
        if i % 2 and i < depth - 1 and min(h, w) >= 4:
            layers.append(MaxPool(2))
            h, w, width = h // 2, w // 2, 2 * width
    return [*layers, GlobalAvgPool(), Linear(channels, classes, init=glorot_uniform)]


def resnet(input_shape: Shape, classes: int, *, width: int = 16, depth: int = 8) -> list[Layer]:
    """The CIFAR ResNet of depth 6n+2: three stages of n residual blocks, option A shortcuts.

    He, Zhang, Ren, Sun, CVPR 2016, section 4.2; `width` channels in the first stage (16 there), doubled per stage.
    """
    input_shape, classes, width, depth = _sizes(input_shape, classes, width, depth)
    n, remainder = divmod(depth - 2, 6)
    if n < 1 or remainder:
        raise InputError(
            f"depth: expected 6n+2 for a resnet (8, 14, 20, 32, 44, 56, 110, ...), got {depth}; choose one"
        )
    _, _, channels = _image(input_shape, "resnet")
    layers: list[Layer] = [Conv2d(channels, width, padding=1, bias=False), BatchNorm(width), ReLU()]
    channels = width
    for stage in range(3):
        for block in range(n):
            stride = 2 if stage > 0 and block == 0 else 1
            c_out = width * 2**stage
            layers += [_residual_block(channels, c_out, stride), ReLU()]
            channels = c_out
    return [*layers, GlobalAvgPool(), Linear(channels, classes, init=glorot_uniform)]


def _residual_block(c_in: int, c_out: int, stride: int) -> Residual:
    body = [
        Conv2d(c_in, c_out, stride=stride, padding=1, bias=False),
        BatchNorm(c_out),
        ReLU(),
        Conv2d(c_out, c_out, padding=1, bias=False),
        BatchNorm(c_out),
    ]
    return Residual(body, Subsample(c_in, c_out, stride), open=True)


def _sizes(input_shape: Shape, classes: int, width: int, depth: int) -> tuple[Shape, int, int, int]:
    """All of them as Python ints. Raises InputError for what is no size."""
    return _shape(input_shape), whole("classes", classes, 1), whole("width", width, 1), whole("depth", depth, 1)


def _shape(input_shape: Any) -> Shape:
    if isinstance(input_shape, str) or not isinstance(input_shape, Iterable):
        raise InputError(
            f"input shape: expected that of one sample, like (8, 8, 1), got {shown(input_shape)}; give a tuple"
        )
    return tuple(whole("input shape", length, 1) for length in input_shape)


LEAST_PLANE = 8
"""So many pixels high and wide is a square that is taken for a colour plane. A layer list takes any shape."""


def _image(input_shape: Shape, model: str) -> tuple[int, int, int]:
    h, w, channels = check_images(model, input_shape, otherwise="; or use model mlp")
    if h in (1, 3) and w == channels >= LEAST_PLANE:
        raise InputError(
            f"{model}: expected images (height, width, channels), got {input_shape}, which seem to be (channels, "
            "height, width); reshape the data: x.transpose(0, 2, 3, 1) has the channels last"
        )
    return h, w, channels


Model: TypeAlias = Callable[..., list[Layer]]
MODELS: dict[str, Model] = {"mlp": mlp, "cnn": cnn, "resnet": resnet}


def check_network(layers: Iterable[Layer], input_shape: Shape, classes: int) -> Sequential:
    """The layers as one network, once it is sure that they fit each other, the data and the classes."""
    network, classes = Sequential(as_layers("model", layers)), whole("classes", classes, 1)
    if not network.layers:
        raise InputError("model: expected at least one layer, got none; give a list of layers")
    output = network.output_shape(_shape(input_shape))
    if output != (classes,):
        raise InputError(
            f"model: expected {classes} outputs, one per class, got {output}; end with Linear(..., {classes})"
        )
    return network
