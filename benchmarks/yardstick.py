"""The same networks in PyTorch, eager, with the same weights: what the benchmarks measure against."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from ddg_ref.arrays import Array, Params
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
)


class Shortcut(nn.Module):
    """Subsample, NCHW."""

    def __init__(self, layer: Subsample) -> None:
        super().__init__()
        self.stride, self.missing = layer.stride, layer.c_out - layer.c_in

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))


class Block(nn.Module):
    """Residual, NCHW."""

    def __init__(self, layer: Residual) -> None:
        super().__init__()
        self.body, self.shortcut = translate(layer.body.layers), Shortcut(layer.shortcut)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x) + self.shortcut(x)


def translate(layers: Sequence[Layer]) -> nn.Sequential:
    """PyTorch's module for each of our layers; images are NCHW there."""
    return nn.Sequential(*map(_one, layers))


def _one(layer: Layer) -> nn.Module:
    match layer:
        case Linear():
            return nn.Linear(layer.n_in, layer.n_out)
        case Conv2d():
            return nn.Conv2d(layer.c_in, layer.c_out, layer.kernel, layer.stride, layer.padding, bias=layer.bias)
        case BatchNorm():
            return nn.BatchNorm2d(layer.channels, layer.eps, layer.momentum)
        case ReLU():
            return nn.ReLU()
        case MaxPool():
            return nn.MaxPool2d(layer.kernel, layer.stride)
        case GlobalAvgPool():
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case Flatten():
            return nn.Flatten()
        case Residual():
            return Block(layer)
    raise TypeError(f"no translation for {layer}; add one")


def named_parameters(layers: Sequence[Layer], module: nn.Sequential, prefix: str = "") -> dict[str, Tensor]:
    """PyTorch's parameters by our names."""
    found: dict[str, Tensor] = {}
    for i, (layer, twin) in enumerate(zip(layers, module, strict=True)):
        if isinstance(layer, Residual):
            found |= named_parameters(layer.body.layers, twin.body, f"{prefix}{i}.")
        names = {"scale": "weight", "shift": "bias"} if isinstance(layer, BatchNorm) else {}
        for name in layer.parameter_shapes() if not isinstance(layer, Residual) else ():
            found[f"{prefix}{i}.{name}"] = getattr(twin, names.get(name, name))
    return found


def to_torch(array: Array) -> Tensor:
    """Kernels (kh, kw, in, out) -> (out, in, kh, kw), matrices (in, out) -> (out, in), vectors as they are."""
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[array.ndim]
    return torch.from_numpy(np.ascontiguousarray(array.transpose(axes)))


def images(x: Array, *, channels_last: bool) -> Tensor:
    """A batch as PyTorch wants it: images NCHW, in either memory format."""
    tensor = torch.from_numpy(x)
    if x.ndim == 4:
        tensor = tensor.permute(0, 3, 1, 2)
        tensor = tensor.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)
    return tensor


class Twin:
    """One training run in PyTorch: a network, its optimizer, and one iteration of it."""

    def __init__(
        self,
        network: Sequential,
        params: Params,
        *,
        lr: float,
        momentum: float,
        channels_last: bool = False,
        device: str = "cpu",
    ) -> None:
        self.module = translate(network.layers).to(to_torch(next(iter(params.values()))).dtype)
        self.parameters = named_parameters(network.layers, self.module)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(to_torch(params[name]))
        self.module = self.module.to(device)
        if channels_last:
            self.module = self.module.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=lr, momentum=momentum)

    def iterate(self, x: Tensor, y: Tensor) -> None:
        """Forward, backward, update."""
        self.optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(self.module(x), y).backward()
        self.optimizer.step()

    def gradients(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The gradient of each parameter, in PyTorch's layout."""
        self.optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(self.module(x), y).backward()
        gradients = {name: parameter.grad for name, parameter in self.parameters.items()}
        return {name: gradient for name, gradient in gradients.items() if gradient is not None}


def largest_difference(network: Sequential, params: Params, ours: Params, x: Array, y: Array) -> float:
    """The largest over all parameters of |our gradient - PyTorch's| / |PyTorch's|, in the 2-norm."""
    twin = Twin(network, params, lr=1.0, momentum=0.0)
    theirs = twin.gradients(images(x, channels_last=False), torch.from_numpy(y))
    assert theirs.keys() == ours.keys()
    return max(
        float(torch.linalg.vector_norm(to_torch(ours[name]) - theirs[name]) / torch.linalg.vector_norm(theirs[name]))
        for name in ours
    )
