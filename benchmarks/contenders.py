"""Who is timed: training runs of this project, and the same ones in PyTorch."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.timing import Contender
from ddg_ref import Config, Dataset
from ddg_ref.computing import computing
from ddg_ref.data import digits
from ddg_ref.losses import softmax_cross_entropy
from ddg_ref.runs.engines import ENGINES
from ddg_ref.runs.training import Training


def noise(shape: tuple[int, ...], classes: int, samples: int) -> Dataset:
    """Noise with labels: for timing it does not matter what is learned."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((samples, *shape), dtype=np.float32), np.arange(samples) % classes
    return Dataset("noise", x, y, x[:classes], y[:classes], classes)


@dataclass(frozen=True)
class Work:
    """A training run, and how many iterations of it make one repetition."""

    title: str
    data: Callable[[], Dataset]
    config: Config
    iterations: int

    def training(self, method: str, K: int, engine: str) -> Training:
        """The run from its beginning, trained in one of the ways."""
        config = replace(self.config, method=method, modules=K, engine=engine, iterations=10**9, epochs=None)
        return Training(config, self.data())

    def ours(self, method: str, K: int, engine: str) -> Contender:
        """This project: some more iterations at each call."""
        training, done = self.training(method, K, engine), 0

        def work() -> None:
            nonlocal done
            ENGINES[engine](training.pipeline, training.task, done, done + self.iterations)
            training.task.results.clear()
            done += self.iterations

        return work

    def torch(self, threads: int, *, channels_last: bool = False, device: str = "cpu") -> Contender:
        """PyTorch, eager, backpropagation on `threads` threads: some more iterations at each call.

        On another device than "cpu" batches are chosen in host memory and copied there, as ours are.
        """
        import torch

        from benchmarks.yardstick import Twin, images

        training = self.training("bp", 1, "reference")
        momentum = 0.9 if self.config.momentum is None else self.config.momentum
        twin = Twin(
            training.network,
            training.pipeline.params,
            lr=self.config.lr,
            momentum=momentum,
            channels_last=channels_last,
            device=device,
        )
        x, y = images(training.data.x_train, channels_last=channels_last), torch.from_numpy(training.data.y_train)
        done = 0

        def work() -> None:
            nonlocal done
            torch.set_num_threads(threads)
            for t in range(done, done + self.iterations):
                chosen = torch.from_numpy(training.batches.indices(t).copy())
                twin.iterate(x[chosen].to(device, non_blocking=True), y[chosen].to(device, non_blocking=True))
            if device != "cpu":
                torch.cuda.synchronize()
            done += self.iterations

        return work

    def difference_to_torch(self) -> float:
        """Our gradients of the first batch against PyTorch's: the largest relative difference of a parameter's.

        In double precision: in single precision a unit whose input rounds to the other side of 0 passes its gradient on
        in one of the two and not in the other, which moves those of ResNet-8 by a thousandth.
        """
        from benchmarks.yardstick import largest_difference

        training = replace(self, config=replace(self.config, dtype="float64")).training("bp", 1, "reference")
        params, (x, y) = training.pipeline.params, training.batches(0)
        with computing():
            output, cache = training.network.forward(params, x)
            _, grads = training.network.backward(params, cache, softmax_cross_entropy(output, y)[1])
        return largest_difference(training.network, params, grads, x, y)


def mlp(width: int, batch: int, *, depth: int = 8, iterations: int = 10) -> Work:
    """`depth` linear layers, all width x width."""
    config = Config(model="mlp", width=width, depth=depth, batch_size=batch, momentum=0.0, lr=1e-3)
    return Work(f"MLP {depth} x {width}, batch {batch}", lambda: noise((width,), width, 10 * batch), config, iterations)


def resnet(depth: int, batch: int, *, iterations: int = 8) -> Work:
    """A CIFAR ResNet on 32x32x3 images, SGD with momentum."""
    config = Config(model="resnet", depth=depth, batch_size=batch, lr=1e-3)
    return Work(f"ResNet-{depth}, batch {batch}", lambda: noise((32, 32, 3), 10, 4 * batch), config, iterations)


def digits_cnn(*, iterations: int = 8) -> Work:
    """The demo."""
    return Work("digits CNN, the demo's settings", digits, Config(), iterations)
