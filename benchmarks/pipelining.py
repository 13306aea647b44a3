"""`python -m benchmarks.pipelining --out DIR`: torch.distributed.pipelining and this project, the same training.

Two stages in two processes (PyTorch: gloo; ours: MPI) and on two threads, one BLAS thread each, the same weights, data
and micro-batches, PyTorch's GPipe and 1F1B against our `gpipe` and `1f1b`, all in turn; beside them `bp` and `ddg`,
which PyTorch has not. Before anything is timed, the weights after a step have to agree.

*Idle* is what part of the time a worker does not compute, the mean of both: ours from the recorded spans, PyTorch's
from the time that its stages spend in their forward and backward passes and in the optimizer. It holds the bubble,
and whatever waiting and sending cost.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median
from tempfile import mkdtemp
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.contenders import Work, digits_cnn, mlp, noise
from benchmarks.mpi import in_two
from benchmarks.timing import Contender, Ratio, ratio, take_turns
from ddg_ref.methods import METHODS
from ddg_ref.mpi import launch
from ddg_ref.runs.engines import ENGINES
from ddg_ref.runs.plots import COLOURS, Picture
from ddg_ref.runs.trace import busy_fraction
from ddg_ref.tools.environment import environment
from ddg_ref.tools.files import make_folder, write_figure, write_json, write_text

PARTS = METHODS["gpipe"].micro_batches
"""Micro-batches of both schedules."""
TOLERANCE = 1e-3
"""How far they may be apart after one step, relative to its length: a wrong factor anywhere is larger. (After several
steps rounding may have decided otherwise at a ReLU's kink.)"""


def prepared(work: Work, iterations: int) -> Work:
    """Cut in two by counting layers, without momentum, so that both sides do plain steps."""
    config = replace(work.config, momentum=0.0)
    return replace(in_two(replace(work, config=config), "count"), iterations=iterations)


WORKS = {
    "mlp": prepared(mlp(512, 128), 20),
    "narrow": prepared(mlp(64, 64), 100),
    "cnn": prepared(
        replace(digits_cnn(), title="the demo's CNN, batch 64", data=partial(noise, (8, 8, 1), 10, 640)), 20
    ),
}
OURS = (("bp", "threads"), *((method, engine) for method in ("gpipe", "1f1b", "ddg") for engine in ("threads", "mpi")))
THEIRS = {"gpipe": "ScheduleGPipe", "1f1b": "Schedule1F1B"}


@dataclass(frozen=True)
class Found:
    """What one contender was measured at: of each turn, milliseconds per iteration and the idle part."""

    milliseconds: list[float]
    idle: list[float]


class Ours:
    """Some more iterations at each call."""

    def __init__(self, work: Work, method: str, engine: str) -> None:
        self.training = work.training(method, 2, engine)
        self.engine, self.iterations, self.done = ENGINES[engine], work.iterations, 0
        self.idle: list[float] = []

    def advance(self, count: int) -> None:
        training = self.training
        progress = self.engine(training.pipeline, training.task, self.done, self.done + count)
        training.task.results.clear()
        self.done += count
        if progress.spans:  # rank 0 has those of both
            self.idle.append(1 - mean(busy_fraction(progress.spans).values()))

    def __call__(self) -> None:
        self.advance(self.iterations)


class Theirs:
    """This rank's stage in PyTorch, with the weights of our network; some more iterations at each call."""

    def __init__(self, work: Work, method: str) -> None:
        import torch
        from torch.distributed import pipelining

        from benchmarks.yardstick import images, named_parameters, to_torch, translate

        self.training = work.training("bp", 2, "reference")
        self.rank, self.iterations, self.done = launch.rank() or 0, work.iterations, 0
        layers, cut = self.training.network.layers, self.training.cuts[0]
        module = translate(layers)
        self.parameters = named_parameters(layers, module)
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(to_torch(self.training.pipeline.params[name]))
        own = _sendable(module[cut:] if self.rank else module[:cut])
        mine = {id(parameter) for parameter in own.parameters()}
        self.parameters = {name: each for name, each in self.parameters.items() if id(each) in mine}
        self.x = images(self.training.data.x_train, channels_last=False)
        self.y = torch.from_numpy(self.training.data.y_train)
        self.optimizer = torch.optim.SGD(own.parameters(), lr=work.config.lr)
        stage = pipelining.PipelineStage(own, self.rank, 2, torch.device("cpu"))
        self.busy, self.idle = 0.0, list[float]()
        for name in ("forward_one_chunk", "backward_one_chunk"):
            setattr(stage, name, self._timed(getattr(stage, name)))
        self.step = self._timed(self.optimizer.step)
        make = getattr(pipelining, THEIRS[method])
        self.schedule = make(stage, n_microbatches=PARTS, loss_fn=torch.nn.functional.cross_entropy)

    def _timed(self, action: Any) -> Any:
        def timed(*values: Any, **named: Any) -> Any:
            started = perf_counter()
            try:
                return action(*values, **named)
            finally:
                self.busy += perf_counter() - started

        return timed

    def advance(self, count: int) -> None:
        import torch

        self.busy, started = 0.0, perf_counter()
        for t in range(self.done, self.done + count):
            chosen = torch.from_numpy(self.training.batches.indices(t).copy())
            self.optimizer.zero_grad(set_to_none=True)
            if self.rank == 0:
                self.schedule.step(self.x[chosen])
            else:
                self.schedule.step(target=self.y[chosen], losses=[])
            self.step()
        self.done += count
        torch.distributed.barrier()
        self.idle.append(1 - self.busy / (perf_counter() - started))

    def __call__(self) -> None:
        self.advance(self.iterations)


def _sendable(stage: Any) -> Any:
    """The stage, with what it sends up and down laid out in memory as gloo wants it."""

    def up(module: Any, given: Any, output: Any) -> Any:
        return output.contiguous()

    def down(module: Any, given: tuple[Any, ...]) -> None:
        if given[0].requires_grad:
            given[0].register_hook(lambda gradient: gradient.contiguous())

    stage.register_forward_hook(up)
    stage.register_forward_pre_hook(down)
    return stage


def meet_in_torch(folder: str) -> None:
    """Join both ranks in a process group, each on one thread."""
    import torch

    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", rank=launch.rank(), world_size=2, init_method=f"file://{folder}/meeting"
    )


def distance(work: Work, method: str) -> float:
    """Largest difference of a parameter between PyTorch's step and ours, over its length. All ranks call it."""
    from benchmarks.yardstick import to_torch

    ours, theirs = Ours(work, method, "reference"), Theirs(work, method)
    start = {name: each.detach().clone() for name, each in theirs.parameters.items()}
    ours.advance(1)
    theirs.advance(1)
    params = ours.training.pipeline.params
    return max(
        float((to_torch(params[name]) - each).detach().norm() / (each - start[name]).detach().norm())
        for name, each in theirs.parameters.items()
    )


def gathered(own: Any) -> list[Any]:
    """What both ranks have, on both."""
    from mpi4py import MPI

    return list(MPI.COMM_WORLD.allgather(own))


def measure(work: Work, repetitions: int) -> dict[str, Found]:
    """Contender -> what it was measured at. Both ranks call it, and rank 0's answer counts."""
    for method in THEIRS:
        apart = max(gathered(distance(work, method)))
        if launch.rank() == 0:
            print(f"{work.title}, {method}: a step within {apart:.1e} of PyTorch's")
        if not apart <= TOLERANCE:
            raise SystemExit(
                f"{work.title}, {method}: expected a step within {TOLERANCE} of PyTorch's, got {apart:.1e}"
            )
    ours = {f"{method} {engine}": Ours(work, method, engine) for method, engine in OURS}
    theirs = {f"{method} torch": Theirs(work, method) for method in THEIRS}

    def turn(name: str) -> Contender:
        if name.endswith("threads"):
            return lambda: ENGINES["mpi"].once(ours[name])  # the other rank sleeps meanwhile
        return ours.get(name) or theirs[name]

    seconds = take_turns({name: turn(name) for name in (*ours, *theirs)}, repetitions)
    found = {}
    for name, each in {**ours, **theirs}.items():
        idle = gathered(each.idle)
        parts = [mean(turns) for turns in zip(*idle, strict=True)] if name.endswith("torch") else each.idle
        found[name] = Found([1000 * one / work.iterations for one in seconds[name]], parts[-repetitions:])
    return found


def rows(found: Mapping[str, Found]) -> list[tuple[str, str, Ratio]]:
    """(contender, what it is divided by, its time over that)."""
    pairs = [(f"{method} {engine}", f"{method} torch") for method in THEIRS for engine in ("threads", "mpi")]
    pairs += [(f"ddg {engine}", "1f1b torch") for engine in ("threads", "mpi")]
    return [(above, below, ratio(found[above].milliseconds, found[below].milliseconds)) for above, below in pairs]


def page(found: Mapping[str, Mapping[str, Found]], titles: Mapping[str, str], repetitions: int) -> str:
    """The result in Markdown."""
    lines = [
        "# Beside torch.distributed.pipelining",
        "",
        f"Made by `python -m benchmarks.pipelining --repetitions {repetitions}`.",
        "",
        f"Two stages, {PARTS} micro-batches, float32, one BLAS thread per worker: PyTorch's in two processes over "
        f"gloo, ours on two threads and on two MPI ranks. Medians of {repetitions} turns (lowest to highest). The "
        f"bubble of both schedules with two stages and {PARTS} micro-batches is 1/{PARTS + 1} = "
        f"{100 / (PARTS + 1):.0f}%, that of `bp` 50%, that of `ddg` 0.",
        "",
    ]
    for name, contenders in found.items():
        lines += [f"## {titles[name]}", "", "| contender | ms per iteration | idle % |", "|---|---:|---:|"]
        for contender, one in contenders.items():
            low, middle, high = (f(one.milliseconds) for f in (min, median, max))
            lines.append(f"| {contender} | {middle:.2f} ({low:.2f} to {high:.2f}) | {100 * median(one.idle):.0f} |")
        lines += ["", "| time of | over that of | ratio |", "|---|---|---:|"]
        lines += [f"| {a} | {b} | {r.median:.2f} ({r.lowest:.2f} to {r.highest:.2f}) |" for a, b, r in rows(contenders)]
        lines.append("")
    return "\n".join(lines)


def draw(found: Mapping[str, Mapping[str, Found]], titles: Mapping[str, str]) -> Picture:
    """Milliseconds per iteration of each contender, a panel for each work."""
    figure = Picture(3.4 * len(found), 3.4)
    for axes, (name, contenders) in zip(np.atleast_1d(figure.subplots(1, len(found))), found.items(), strict=True):
        colours = [COLOURS[1] if label.endswith("torch") else COLOURS[0] for label in contenders]
        axes.barh(list(contenders), [median(one.milliseconds) for one in contenders.values()], color=colours)
        axes.invert_yaxis()
        axes.set_xlabel("milliseconds per iteration")
        axes.set_title(titles[name], fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(prog="python -m benchmarks.pipelining", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[], help=f"some of {', '.join(WORKS)} (default: all)")
    parser.add_argument("--repetitions", type=int, default=9, help="turns of each contender (default 9)")
    parser.add_argument("--out", type=Path, required=True, help="directory for pipelining.json, .md and .png")
    options = parser.parse_args(arguments)
    names = options.names or list(WORKS)
    if set(names) - WORKS.keys() or options.repetitions < 1:
        parser.error(f"expected some of {', '.join(WORKS)} and at least one repetition, got {' '.join(sys.argv[1:])}")
    if find_spec("torch") is None:
        parser.error("expected PyTorch, which this compares with, found none; pip install -r requirements-bench.txt")
    if launch.rank() is None:
        sys.exit(launch.launch(2))
    meet_in_torch(ENGINES["mpi"].once(lambda: mkdtemp(prefix="pipelining-")))
    found = {name: measure(WORKS[name], options.repetitions) for name in names}
    if launch.rank() == 0:
        titles = {name: WORKS[name].title for name in names}
        text = page(found, titles, options.repetitions)
        make_folder(options.out)
        content = {name: {label: vars(one) for label, one in each.items()} for name, each in found.items()}
        write_json(options.out / "pipelining.json", {"environment": environment(), "found": content}, kind="benchmark")
        write_text(options.out / "pipelining.md", text)
        write_figure(options.out / "pipelining.png", draw(found, titles))
        print(text, end="")


if __name__ == "__main__":
    main()
