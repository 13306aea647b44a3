"""`python -m tests.conformance --out DIRECTORY`: is what a trainer does named? Random trainers with planted faults.

    python -m tests.conformance --count 200 --out benchmarks/results/conformance-2026-12-01

The trainers are those of `foreign.py`, which share no code with the reference. Something planted counts as named if it
is among what is named, or if one of these comes to the same on this trace: the reference, run with it, gives the run of
what was planted up to the tolerance. Where something else alone is named, that is wrong; where nothing is, undecided.
"""

import json
import sys
from argparse import ArgumentParser
from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))  # also where it is run as a program

from foreign import METHODS as FOLLOWED
from foreign import Setting, Trainer

from ddg_ref.conformance import Trace, Verdict, identify
from ddg_ref.conformance import faults as f
from ddg_ref.conformance.comparing import Comparer
from ddg_ref.conformance.reference import Variant, history
from ddg_ref.methods import METHODS
from ddg_ref.tools.files import make_folder, write_json, write_text

OPTIMIZERS = (
    ("sgd", {"momentum": 0}),
    ("sgd", {"momentum": 0.9}),
    ("sgd", {"momentum": 0.9, "weight_decay": 0.01}),
    ("sgd", {"momentum": 0.5, "nesterov": True, "weight_decay": 0.01}),
    ("adam", {}),
    ("adam", {"weight_decay": 0.01}),
)
SINGLE = ("dropped", "zeroed", "doubled", "twice", "swapped", "repeated")


def delays_of(setting: Setting) -> list[int]:
    row = METHODS[setting.method]
    row = replace(row, micro_batches=setting.M) if "micro_batches" in row.options else row
    return [row.delay(k, setting.K) for k in range(1, setting.K + 1)]


def possible(setting: Setting, rng: np.random.Generator) -> list[tuple[str, Any, int | None, int]]:
    """What may be planted: (name, value, module, batch)."""
    K, delays, optimizer = setting.K, delays_of(setting), setting.optimizer
    module = None if rng.random() < 0.3 else int(rng.integers(1, K + 1))
    batch = int(rng.integers(setting.T - 1))
    found: list[Any] = [(name, None, module, batch) for name in SINGLE if name != "repeated" or batch > 0]
    found.append(("sum of samples", None, None, 0))
    late = any(delays)
    if setting.M > 1:
        found += [("sum of parts", None, None, 0), ("divided twice", None, None, 0)]
        if setting.N % setting.M:
            found.append(("parts alike", None, None, 0))
    if setting.method in ("bp", "ddg", "ddg-current", "fr", "fdg", "pipedream"):
        last = K - 1 if setting.method in ("ddg-current", "fr") else K  # which the catalogue has not
        groups = [modules for modules in [*((k,) for k in range(1, last + 1)), tuple(range(1, last + 1))] if modules]
        shifts = []
        for modules in groups:
            for by in (1, -1, 2):
                new = [d + by if k in modules else d for k, d in enumerate(delays, 1)]
                if min(new) >= 0 and all(a >= b for a, b in pairwise(new)):
                    shifts.append(("delay", (modules, by), None, 0))
        found += [shifts[int(rng.integers(len(shifts)))]] * 3 if shifts else []
    if setting.method in ("ddg", "fdg", "pipedream") and late:
        found += [("current", None, None, 0)] * 2 + [("current", None, 1, 0)]
    if len(set(setting.steps)) > 1:
        found += [("clock +1", None, None, 0), ("clock -1", None, None, 0)]
        found += [("own clock", None, None, 0)] if late else []
        if optimizer[0] == "sgd" and optimizer[1]["momentum"] and not optimizer[1].get("nesterov"):
            found.append(("step inside", None, None, 0))
    if late:
        found.append(("no drain", None, None, 0))
        if setting.method not in ("paci", "2bw"):
            found += [(name, None, None, 0) for name in ("zero warm-up", "zero drain", "wrong warm-up")]
            found += [("counted iterations", None, None, 0)] if optimizer[0] == "adam" else []
    if optimizer[1].get("weight_decay"):
        found += [("no decay", None, None, 0), ("decoupled", None, None, 0)]
    if optimizer[1].get("momentum"):
        found.append(("no momentum", None, None, 0))
    return found


def setting_of(number: int, seed: int) -> Setting:
    """The trainer of that number; every eighth does nothing wrong."""
    rng = np.random.default_rng((seed, number))

    def pick(choices: Any) -> Any:
        return choices[int(rng.integers(len(choices)))]

    depth = int(rng.integers(2, 6))
    K = int(rng.integers(1, depth + 1))
    method = pick(FOLLOWED)
    cuts = tuple(sorted(int(c) for c in rng.choice(np.arange(1, depth), K - 1, replace=False)))
    parted = method in ("gpipe", "1f1b", "2bw", "paci")
    optimizer = pick(OPTIMIZERS)
    size = 0.01 if optimizer[0] == "adam" else 0.05
    T = int(rng.integers(max(7, 2 * K + 3), 15))
    ends = T + 2 * K
    falling = tuple(size / (1 + t / 4) for t in range(ends))
    setting = Setting(
        method,
        (int(rng.integers(2, 6)), *(int(n) for n in rng.integers(4, 8, depth - 1)), int(rng.integers(2, 5))),
        pick(("tanh", "relu")),
        cuts,
        T,
        int(rng.integers(4, 9)),
        int(rng.integers(2, 5)) if parted else 1,
        optimizer,
        pick(((size,), falling)),
        pick(("float64", "float32")),
        number,
        pick((0.9, 0.5)) if method == "fdg" and rng.random() < 0.5 else 1.0,
    )
    return setting if number % 8 == 0 else replace(setting, fault=pick(possible(setting, rng)))


def planted(setting: Setting, trace: Trace) -> Variant:
    """What the catalogue calls it."""
    row = METHODS[setting.method]
    row = replace(row, micro_batches=setting.M) if "micro_batches" in row.options else row
    row = replace(row, shrink=setting.shrink)
    name, value, module, batch = setting.fault
    delays, parts = delays_of(setting), min(setting.M, setting.N)
    single = dict(zip(SINGLE, f.SINGLE, strict=True))
    if name == "none":
        return Variant(row)
    if name in single:
        return Variant(row, (single[name](module, batch),))
    known: dict[str, Any] = {
        "delay": lambda: f.OtherDelay(
            value[0], value[1], tuple(d + value[1] if k in value[0] else d for k, d in enumerate(delays, 1))
        ),
        "current": lambda: f.CurrentWeights(
            tuple(k for k, d in enumerate(delays, 1) if d) if module is None else (module,)
        ),
        "sum of samples": lambda: f.Scaled(float(setting.N), ""),
        "sum of parts": lambda: f.Scaled(float(parts), ""),
        "divided twice": lambda: f.Scaled(1 / parts, ""),
        "parts alike": f.PartsAlike,
        "own clock": f.OwnClock,
        "clock +1": lambda: f.ShiftedClock(1),
        "clock -1": lambda: f.ShiftedClock(-1),
        "counted iterations": f.CountedIterations,
        "no drain": f.NoDrain,
        "zero warm-up": f.ZeroWarmUp,
        "zero drain": f.ZeroDrain,
        "wrong warm-up": f.WrongWarmUp,
        "no decay": lambda: f.NO_DECAY,
        "decoupled": lambda: f.DECOUPLED,
        "no momentum": lambda: f.NO_MOMENTUM,
        "step inside": lambda: f.INSIDE,
    }
    return Variant(row, (known[name](),))


def come_to_the_same(trace: Trace, a: Variant, b: Variant) -> bool:
    """Whether the reference runs of both are equal up to the tolerance of the first."""
    tolerance = Comparer(trace).tolerance(a)
    runs = history(trace, a), history(trace, b)
    if tolerance is None or runs[0] is None or runs[1] is None or len(runs[0]) != len(runs[1]):
        return runs[0] is runs[1] is None
    other = {(update.k, update.number): update.params for update in runs[1]}
    for update in runs[0]:
        params = other.get((update.k, update.number))
        if params is None:
            return False
        for name, array in update.params.items():
            if abs(array - params[name]).max() > tolerance[name][update.number]:
                return False
    return True


@dataclass(frozen=True)
class Outcome:
    """What came of one trainer: "right", "wrong" or "undecided"."""

    number: int
    setting: Setting
    result: str
    names: list[str]
    why: str
    runs: int

    @property
    def what(self) -> str:
        return self.setting.fault[0]


def judge(number: int, seed: int, faults: int = 2) -> Outcome:
    setting = setting_of(number, seed)
    trace = Trainer(setting).train()
    verdict = identify(trace, faults=faults)
    variant = planted(setting, trace)
    if not verdict.named:
        return Outcome(number, setting, "undecided", [], why(trace, variant, verdict), verdict.runs)
    right = any(come_to_the_same(trace, variant, comparison.variant) for comparison in verdict.named)
    return Outcome(number, setting, "right" if right else "wrong", verdict.names, "", verdict.runs)


def why(trace: Trace, variant: Variant, verdict: Verdict) -> str:
    """Why nothing is named: how far the trace is from the reference that does the same."""
    comparer = Comparer(trace)
    comparison = comparer.compare(variant, comparer.tolerance(variant))
    return "not drawn by the search" if comparison.first is None else comparison.first.text


def table(outcomes: list[Outcome]) -> str:
    """Planted against what came of it, as Markdown."""
    counts: dict[str, Counter[str]] = {}
    for outcome in outcomes:
        counts.setdefault(outcome.what, Counter())[outcome.result] += 1
    lines = ["| planted | trainers | named | another named alone | undecided |", "|---|---|---|---|---|"]
    for what, own in sorted(counts.items(), key=lambda item: (item[0] != "none", item[0])):
        name = "nothing" if what == "none" else what
        lines.append(f"| {name} | {own.total()} | {own['right']} | {own['wrong']} | {own['undecided']} |")
    total = Counter(outcome.result for outcome in outcomes)
    lines.append(f"| all | {total.total()} | {total['right']} | {total['wrong']} | {total['undecided']} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    outcomes = []
    for number in range(options.count):
        outcomes.append(outcome := judge(number, options.seed))
        if outcome.result != "right":
            print(number, outcome.setting, outcome.result, outcome.names, outcome.why, sep="\n  ", flush=True)
    text = table(outcomes)
    print(text)
    if options.out is not None:
        make_folder(options.out)
        command = f"python -m tests.conformance --count {options.count} --seed {options.seed}"
        content = {
            "command": command,
            "outcomes": [
                {"number": o.number, "method": o.setting.method, "K": o.setting.K,
                 "planted": json.dumps(o.setting.fault), "result": o.result, "named": o.names, "why": o.why}
                for o in outcomes
            ],
        }  # fmt: skip
        write_json(options.out / "conformance.json", content)
        head = f"<!-- Made by `python -m ddg_ref`'s tests: {command} -->\n"
        write_text(options.out / "table.md", head + "\n" + text)


if __name__ == "__main__":
    main()
