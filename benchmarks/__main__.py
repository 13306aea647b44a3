"""`python -m benchmarks`: how much faster DDG trains than backpropagation here, as ratios."""

from argparse import ArgumentParser

import numpy as np

from benchmarks.timing import Contender, ratio, take_turns
from ddg_ref import Config, Dataset
from ddg_ref.engines import ENGINES
from ddg_ref.training import Training

WIDTH, DEPTH, BATCH, ITERATIONS = 512, 8, 128, 20


def random_data(width: int, classes: int, samples: int) -> Dataset:
    """Noise with labels: for timing it does not matter what is learned."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((samples, width)).astype(np.float32), np.arange(samples) % classes
    return Dataset("noise", x, y, x[:classes], y[:classes], classes)


def contender(
    data: Dataset,
    method: str,
    K: int,
    engine: str,
    width: int = WIDTH,
    depth: int = DEPTH,
    batch: int = BATCH,
    iterations: int = ITERATIONS,
) -> Contender:
    """`iterations` more iterations of one training run of an MLP at each call."""
    config = Config(
        data=data.name,
        model="mlp",
        width=width,
        depth=depth,
        batch_size=batch,
        method=method,
        modules=K,
        engine=engine,
        momentum=0,
        lr=1e-3,
        iterations=10**9,
    )
    training = Training(config, data)
    done = 0

    def work() -> None:
        nonlocal done
        ENGINES[engine](training.pipeline, training.task, done, done + iterations)
        training.task.results.clear()
        done += iterations

    return work


def main() -> None:
    parser = ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=11, help="turns of each contender (default 11)")
    repetitions = max(1, parser.parse_args().repetitions)
    data = random_data(WIDTH, WIDTH, 10 * WIDTH)
    seconds = take_turns(
        {
            "bp": contender(data, "bp", 1, "reference"),
            "ddg": contender(data, "ddg", 2, "threads"),
            "machinery": contender(data, "bp", 1, "threads"),
        },
        repetitions,
    )
    print(f"MLP {DEPTH} x {WIDTH}, batch {BATCH}, float32, SGD; medians of {repetitions} turns (lowest to highest)")
    for text, above, below in (
        ("bp, one thread / ddg K=2, two threads: speed-up", "bp", "ddg"),
        ("K=1 on engine threads / engine reference: cost of the machinery", "machinery", "bp"),
    ):
        r = ratio(seconds[above], seconds[below])
        print(f"{text:<66} {r.median:.2f}  ({r.lowest:.2f} to {r.highest:.2f})")


if __name__ == "__main__":
    main()
