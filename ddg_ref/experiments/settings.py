"""The settings of every scale: what is trained on what, for how long.

`paper` repeats the settings of the program that Huo et al. published with their paper (github.com/slowbull/DDG). The
command in its README: batch 128, 300 epochs, step size 0.01 divided by 10 at epochs 150 and 225. Its `main.py`: CIFAR
with augmentation, and by default momentum 0.9, in Nesterov's form, and weight decay 5e-4. `laptop` asks the same
questions of drawn shapes and real digits, all of them in about a quarter of an hour on two cores. `smoke` takes
seconds, means nothing, and shows that everything works.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

Options: TypeAlias = Mapping[str, Any]

Ways: TypeAlias = tuple[tuple[str, int], ...]
"""(method, K) each."""

OF_THE_PAPER: Ways = (("bp", 1), ("dni", 2), ("ddg", 2))
AND_RELATED: Ways = (*OF_THE_PAPER, ("fr", 2), ("fdg", 2), ("ddg-current", 2))
LABELS = {"synthesizer_labels": True}


@dataclass(frozen=True)
class Curves:
    """A network whose learning curves are compared."""

    base: Options
    ways: Ways
    dni: Options
    """Options of dni alone: those of its synthesizers, and steps small enough for it to learn."""


@dataclass(frozen=True)
class Depths:
    """Networks of growing depth, each trained in some ways (method, K)."""

    base: Options
    depths: tuple[int, ...]
    ways: Ways


@dataclass(frozen=True)
class Timing:
    """What is timed for bp and for ddg with each K, until it reaches a test accuracy of `target` if there is one."""

    base: Options
    target: float | None = None


@dataclass(frozen=True)
class Descendants:
    """What DDG's descendants are tried on: each way with each momentum, bp with one module, the others with each K."""

    base: Options
    methods: tuple[str, ...]
    Ks: tuple[int, ...]
    momenta: tuple[float, ...]


@dataclass(frozen=True)
class Scale:
    """What the experiments need to know."""

    seeds: tuple[int, ...]
    processes: int
    """Runs beside each other, where time is not measured."""
    curves: tuple[Curves, ...]
    network: Options
    """The network on which optimizers are compared."""
    adam: Options
    """What changes of `network` for Adam."""
    depth: tuple[Depths, ...]
    modules: Options
    """The network that is cut into K = 1..4."""
    timing: tuple[Timing, ...]
    probed: Options
    """The network in which staleness is measured."""
    descendants: Descendants
    ruler: int
    """Iterations of backpropagation from which the modules' times are taken."""
    probes: int
    """How many times in a run the applied gradients are compared with the true ones."""


SGD = {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}

PAPER = {
    "data": "cifar10",
    "augment": True,
    "model": "resnet",
    "width": 16,
    "batch_size": 128,
    **SGD,
    "lr": 0.01,
    "schedule": "multi-step",
    "milestones": "150,225",
    "epochs": 300,
    "checkpoint_every": 391,
}
"""Without the depth. A checkpoint per epoch."""

LAPTOP = {
    "data": "shapes",
    "model": "resnet",
    "width": 8,
    "batch_size": 32,
    **SGD,
    "lr": 0.2,
    "warmup": 750,
    "schedule": "multi-step",
    "milestones": "10",
    "epochs": 13,
    "checkpoint_every": 125,
}
"""Without the depth. The paper's small steps would need many more epochs; large ones need a warm-up."""
DIGITS = LAPTOP | {
    "data": "digits",
    "batch_size": 64,
    "lr": 0.05,
    "warmup": 46,
    "milestones": "8",
    "epochs": 10,
    "checkpoint_every": 23,
}
MLP = {
    "data": "digits",
    "model": "mlp",
    "width": 512,
    "depth": 8,
    "batch_size": 128,
    "optimizer": "sgd",
    "momentum": 0.9,
    "lr": 0.0005,
    "epochs": 40,
    "checkpoint_every": 120,
}

SMOKE = LAPTOP | {
    "data": "digits",
    "width": 2,
    "batch_size": 128,
    "lr": 0.05,
    "warmup": 4,
    "milestones": "1",
    "epochs": 2,
    "split": "count",
    "checkpoint_every": 12,
}

DESCENDANTS = Descendants(
    {
        "data": "digits",
        "model": "mlp",
        "width": 64,
        "depth": 8,
        "batch_size": 64,
        "optimizer": "sgd",
        "lr": 0.05,
        "epochs": 20,
        "split": "count",
        "checkpoint_every": 115,
    },
    methods=("ddg", "2bw", "spectrain", "async-nesterov", "spike"),
    Ks=(2, 4, 8),
    momenta=(0.9, 0.0),
)
"""The step size with which ddg does not learn in the second lesson: momentum 0.9, K = 4."""

STABLE: Mapping[str, Mapping[tuple[float, int], float]] = {
    "ddg": {
        (0.0, 1): 2.0,
        (0.0, 2): 1.0,
        (0.0, 4): 0.4450419,
        (0.0, 8): 0.2090569,
        (0.9, 1): 3.8,
        (0.9, 2): 0.1,
        (0.9, 4): 0.03478406,
        (0.9, 8): 0.01575196,
    },
    "async-nesterov": {
        (0.9, 2): 2.531379,
        (0.9, 4): 0.4637078,
        (0.9, 8): 0.1763801,
    },
}
"""Method -> (momentum, K) -> the gamma L below which it is stable, with exact gradients, on all quadratics of curvature
at most L, wherever in the network that lies (theory, Theorem M3). With K = 1 ddg is bp; without momentum
async-nesterov is ddg."""

SCALES = {
    "smoke": Scale(
        seeds=(0, 1),
        processes=1,
        curves=(Curves(SMOKE | {"depth": 8}, AND_RELATED, LABELS),),
        network=SMOKE | {"depth": 8},
        adam={"lr": 0.003},
        depth=(Depths(SMOKE, (8, 14), (("bp", 1), ("ddg", 2))),),
        modules=SMOKE | {"depth": 8},
        timing=(
            Timing(MLP | {"width": 16, "epochs": 2, "split": "count", "checkpoint_every": 12}, 0.2),
            Timing(SMOKE | {"depth": 8, "epochs": 1}),
        ),
        probed=SMOKE | {"depth": 8},
        descendants=replace(DESCENDANTS, base={**DESCENDANTS.base, "width": 8, "epochs": 1}, Ks=(2, 8)),
        ruler=8,
        probes=4,
    ),
    "laptop": Scale(
        seeds=(0, 1, 2),
        processes=2,
        curves=(
            Curves(LAPTOP | {"depth": 8}, OF_THE_PAPER, LABELS | {"lr": 0.02}),
            Curves(DIGITS | {"depth": 8}, AND_RELATED, LABELS),
        ),
        network=LAPTOP | {"depth": 8},
        adam={"lr": 0.01, "weight_decay": None},
        depth=(
            Depths(DIGITS, (8, 20, 56, 110), (("bp", 1), ("ddg", 2), ("ddg", 4))),
            Depths(LAPTOP, (8, 20), (("bp", 1), ("ddg", 4))),
        ),
        modules=LAPTOP | {"depth": 8},
        timing=(
            Timing(MLP, 0.96),
            Timing(LAPTOP | {"depth": 8, "epochs": 1, "checkpoint_every": None}),
        ),
        probed=DIGITS | {"depth": 56},
        descendants=DESCENDANTS,
        ruler=60,
        probes=40,
    ),
    "paper": Scale(
        seeds=(0, 1, 2),
        processes=2,
        curves=(Curves(PAPER | {"depth": 8}, AND_RELATED, LABELS),),
        network=PAPER | {"depth": 8},
        adam={"lr": 0.001},
        depth=(
            Depths(PAPER, (8, 20, 56, 110), (("bp", 1), ("ddg", 2))),
            Depths(PAPER | {"data": "cifar100"}, (56, 110), (("bp", 1), ("ddg", 2))),
        ),
        modules=PAPER | {"depth": 56},
        timing=(Timing(PAPER | {"depth": 56, "epochs": 10, "milestones": "150,225"}, 0.7),),
        probed=PAPER | {"depth": 56},
        descendants=replace(DESCENDANTS, base=PAPER | {"depth": 20, "nesterov": None}),
        ruler=60,
        probes=300,
    ),
}
