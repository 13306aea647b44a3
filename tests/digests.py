"""Digests of the weights that every method gives: `python -m tests.digests FILE`.

Writes the table if FILE does not exist; else compares, and names what differs. Two versions of this project are meant
to give the same table on the same machine: another processor's BLAS rounds otherwise.
"""

import json
import sys
from hashlib import sha256
from itertools import product
from pathlib import Path

from ddg_ref.errors import DivergenceError, InputError
from ddg_ref.methods import METHODS
from ddg_ref.runs.config import Config
from ddg_ref.runs.training import Training

MODELS = {
    "mlp": {"model": "mlp", "width": 12, "depth": 6},
    "cnn": {"model": "cnn", "width": 3},
    "resnet": {"model": "resnet", "width": 2, "depth": 8},
}
OPTIMIZERS = {
    "sgd": {"lr": 0.02, "momentum": 0.9},
    "nesterov": {"lr": 0.02, "momentum": 0.9, "nesterov": True, "weight_decay": 1e-3},
    "adam": {"optimizer": "adam", "lr": 0.003},
    "nadam": {"optimizer": "nadam", "lr": 0.003},
}
OPTIONS = {
    "fdg": [{}, {"shrink": 0.5}],
    "gpipe": [{}, {"micro_batches": 3}],
    "1f1b": [{}, {"micro_batches": 3}],
    "dni": [{}, {"synthesizer_labels": True, "synthesizer_width": 5}],
}
ITERATIONS = 50
"""Past the end of an epoch, whose last batch is smaller: 1,437 samples in batches of 30."""


def digest(**options):
    """Of the weights and statistics of one run; when it diverged, if it did; if it was refused, why."""
    try:
        config = Config(batch_size=30, iterations=ITERATIONS, split="count", engine="reference", **options)
    except InputError as error:
        return str(error)
    training = Training(config)
    try:
        for _ in training.epochs():
            pass
    except DivergenceError as error:
        return str(error)
    found = sha256()
    for name, array in sorted((training.pipeline.params | training.pipeline.stats).items()):
        found.update(name.encode() + array.tobytes())
    return found.hexdigest()[:16]


def table():
    """Digests by case."""
    found = {}
    for (model, shape), (name, optimizer), method in product(MODELS.items(), OPTIMIZERS.items(), METHODS):
        for K, drain, options in product((1, 2, 3, 4), (True, False), OPTIONS.get(method, [{}])):
            case = f"{model} {name} {method} K={K} {'drained' if drain else 'as it is'} {options or ''}".rstrip()
            found[case] = digest(method=method, modules=K, drain=drain, **shape, **optimizer, **options)
    return found


def main(file):
    path, now = Path(file), table()
    if not path.exists():
        path.write_text(json.dumps(now, indent=0))
        print(f"{len(now)} digests written to {path}")
        return 0
    before = json.loads(path.read_text())
    differing = [case for case in before if now.get(case) != before[case]]
    print("\n".join([*differing, f"{len(before) - len(differing)} of {len(before)} digests are the same"]))
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
