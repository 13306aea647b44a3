"""Each experiment as a list of runs. Experiments that need the same run share it: it has the same name."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ddg_ref.experiments.jobs import Job
from ddg_ref.experiments.settings import Options, Scale

KS = (1, 2, 3, 4)
DATA_NAMES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100"}
MODEL_NAMES = {"resnet": "ResNet-{depth}", "mlp": "MLP {depth} x {width}"}


def way(method: str, K: int) -> str:
    """How a table calls it: a single module needs no K."""
    return f"{method} K={K}" if K > 1 or method != "bp" else method


def job(base: Options, method: str, K: int, seed: int, *, kind: str = "", **more: Any) -> Job:
    """A run of `base` on the reference engine, or on threads where it is timed."""
    timed = bool(more.get("timed"))
    engine = "threads" if timed else "reference"
    options = {**base, "method": method, "modules": K, "seed": seed, "engine": engine}
    network = MODEL_NAMES[options["model"]].format(**options)
    data = DATA_NAMES.get(options["data"], options["data"])
    words = (options["data"], options["model"], options["depth"], options["optimizer"], method, K, kind, f"seed{seed}")
    name = "-".join(str(word) for word in words if word != "")
    group = f"{network}, {data}" + (", Adam" if options["optimizer"] == "adam" else "")
    return Job(name, group, way(method, K), options, **more)


def resnet8(scale: Scale) -> list[Job]:
    """Learning curves of a ResNet-8 in every way."""
    return [
        job({**curves.base, **(curves.dni if method == "dni" else {})}, method, K, seed)
        for curves in scale.curves
        for method, K in curves.ways
        for seed in scale.seeds
    ]


def depth(scale: Scale) -> list[Job]:
    """The final error as depth grows."""
    return [
        job({**block.base, "depth": depth}, method, K, seed)
        for block in scale.depth
        for depth in block.depths
        for method, K in block.ways
        for seed in scale.seeds
    ]


def cut(K: int) -> tuple[str, int]:
    """K modules trained by ddg, which with one module is bp."""
    return ("bp", 1) if K == 1 else ("ddg", K)


def modules(scale: Scale) -> list[Job]:
    """K = 1..4: accuracy over iterations, then the same against the clock, and what the model needs to know."""
    curves = [job(scale.modules, *cut(K), seed) for K in KS for seed in scale.seeds]
    timed = [
        job(timing.base, *cut(K), seed, kind="timed", timed=True)
        for timing in scale.timing
        for seed in scale.seeds
        for K in KS
    ]
    ruler = {"iterations": scale.ruler, "epochs": None, "checkpoint_every": None}
    rulers = [
        job({**timing.base, **ruler}, "bp", K, scale.seeds[0], kind="ruler", timed=True, ruler=True)
        for timing in scale.timing
        for K in KS
        if K > 1
    ]
    return [*curves, *timed, *rulers]


def optimizers(scale: Scale) -> list[Job]:
    """SGD and Adam, each by bp and by ddg."""
    adam = {name: value for name, value in scale.network.items() if name not in ("momentum", "nesterov")}
    return [
        job(base, method, K, seed)
        for base in (scale.network, {**adam, "optimizer": "adam", **scale.adam})
        for method, K in (("bp", 1), ("ddg", 2))
        for seed in scale.seeds
    ]


def staleness(scale: Scale) -> list[Job]:
    """How true the applied gradients are, by K; and under bp, whose gradients are true, to see that it is measured."""
    ways = [("ddg", K) for K in KS] + [("bp", KS[-1])]
    return [job(scale.probed, method, K, scale.seeds[0], kind="probed", probes=scale.probes) for method, K in ways]


def descendants(scale: Scale) -> list[Job]:
    """What becomes of ddg's trouble with momentum in the methods that came after it."""
    tried = scale.descendants
    ways = [("bp", 1), *((method, K) for method in tried.methods for K in tried.Ks)]
    found = []
    for momentum in tried.momenta:
        for method, K in ways:
            for seed in scale.seeds:
                run = job({**tried.base, "momentum": momentum}, method, K, seed, kind=f"momentum{momentum}")
                found.append(replace(run, group=f"{run.group}, momentum {momentum:g}"))
    return found


PLANS: Mapping[str, Callable[[Scale], list[Job]]] = {
    "resnet8": resnet8,
    "depth": depth,
    "modules": modules,
    "optimizers": optimizers,
    "staleness": staleness,
    "descendants": descendants,
}

TITLES = {
    "resnet8": "Learning curves of a ResNet-8",
    "depth": "Final error as depth grows",
    "modules": "K = 1..4 modules, over iterations and over time",
    "optimizers": "SGD and Adam",
    "staleness": "Cosine between the applied and the true gradient",
    "descendants": "Momentum in the descendants of ddg",
}
