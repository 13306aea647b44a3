"""What a network gives in evaluation, part by part."""

from ddg_ref.arrays import Array, Params, to_host
from ddg_ref.computing import computing
from ddg_ref.data.samples import check_inputs, check_samples
from ddg_ref.device import Cpu, Device
from ddg_ref.layers import Sequential
from ddg_ref.losses import Loss

EVALUATION_BATCH = 250


def in_batches(x: Array) -> list[Array]:
    """x (N, ...) in parts of EVALUATION_BATCH rows; views, not copies."""
    return [x[i : i + EVALUATION_BATCH] for i in range(0, len(x), EVALUATION_BATCH)]


def infer(network: Sequential, params: Params, stats: Params, x: Array, device: Device | None = None) -> list[Array]:
    """The network's outputs for x (N, ...), as in evaluation: (n, C) in host memory for each part of `in_batches`.

    Computed on `device` or in host memory, one part after the other, so that memory does not grow with N.
    """
    device = device or Cpu()
    with computing(), device.opened():
        params, stats = device.place_all(params), device.place_all(stats)
        return [to_host(network.infer(params, stats, device.place(part))) for part in in_batches(x)]


def evaluate(
    network: Sequential,
    params: Params,
    stats: Params,
    x: Array,
    y: Array,
    loss: Loss,
    device: Device | None = None,
) -> tuple[float, float]:
    """Mean loss and exact accuracy over all samples of x (N, ...), y (N,), computed on `device` or in host memory.

    Raises InputError unless x and y are such as a Dataset may hold.
    """
    x = check_inputs("evaluate", x)
    x, y = check_samples("evaluate", x, y, network.output_shape(x.shape[1:])[-1])
    total, correct = 0.0, 0
    with computing():
        for output, labels in zip(infer(network, params, stats, x, device), in_batches(y), strict=True):
            total += float(loss(output, labels)[0]) * len(labels)
            correct += int((output.argmax(axis=1) == labels).sum())
    return total / len(x), correct / len(x)
