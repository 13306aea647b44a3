"""What came of an experiment's runs: figures by seed, and medians over the seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from ddg_ref.errors import InputError
from ddg_ref.experiments import staleness
from ddg_ref.experiments.jobs import TIMES, Job
from ddg_ref.experiments.prediction import PHASES, predicted_speed_up
from ddg_ref.experiments.settings import STABLE, Scale
from ddg_ref.runs import rundir
from ddg_ref.runs.run import Record
from ddg_ref.tools.cores import usable_cores
from ddg_ref.tools.files import read_json


@dataclass(frozen=True)
class Outcome:
    """A finished run, as its directory tells it."""

    job: Job
    history: list[Record]
    test_error: float
    """In %, of the last weights."""
    milliseconds: float | None
    """Per iteration; meaningful where the run was timed."""

    def seconds_to(self, target: float | None) -> float | None:
        """Seconds of training until the first record with that test accuracy; None if there is none."""
        if target is None:
            return None
        return next((record.seconds for record in self.history if record.test_accuracy >= target), None)


def read(job: Job, out: Path) -> Outcome:
    """The run of that name under `out`."""
    path = out / job.name / rundir.RESULT
    run = read_json(path)
    try:
        history = [Record(**record) for record in run["history"]]
        return Outcome(job, history, 100 * (1 - run["final_test_accuracy"]), run["milliseconds_per_iteration"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: expected a whole run ({error}); move it away to run it again") from None


Series = dict[tuple[str, str], list[Outcome]]
"""By group and series, one outcome for each seed."""


def by_series(outcomes: Sequence[Outcome]) -> Series:
    """In the order of the plan."""
    found: Series = {}
    for outcome in outcomes:
        found.setdefault((outcome.job.group, outcome.job.series), []).append(outcome)
    return found


def middle(values: Sequence[float | None]) -> float | None:
    """The median; None if a value is missing."""
    known = [value for value in values if value is not None]
    return median(known) if known and len(known) == len(values) else None


def error_rows(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Test errors in % by series: each seed's, their median, and its distance from that of bp in the same group."""
    rows: list[dict[str, Any]] = []
    baseline: dict[str, float] = {}
    for (group, series), runs in by_series(outcomes).items():
        errors = [run.test_error for run in runs]
        if series == "bp":
            baseline[group] = median(errors)
        best = median(100 * (1 - max(record.test_accuracy for record in run.history)) for run in runs)
        rows.append(
            {
                "group": group,
                "series": series,
                "seeds": {run.job.options["seed"]: run.test_error for run in runs},
                "median_test_error": median(errors),
                "over_bp": median(errors) - baseline[group] if group in baseline else None,
                "median_best_test_error": best,
            }
        )
    return rows


def ratio(above: float | None, below: float | None) -> float | None:
    """Their quotient, if both are known."""
    return above / below if above is not None and below else None


def time_rows(outcomes: Sequence[Outcome], scale: Scale, out: Path) -> list[dict[str, Any]]:
    """Speed-ups over bp on one thread: per iteration, to the target, and as predicted. Each seed is its own pair."""
    rulers: dict[tuple[str, int], dict[str, list[float]]] = {}
    for run in outcomes:
        if run.job.ruler:
            path = out / run.job.name / TIMES
            times = read_json(path)
            if not times.keys() >= set(PHASES):
                raise InputError(f"{path}: expected the times of {', '.join(PHASES)}; move its folder away")
            rulers[run.job.group, run.job.options["modules"]] = {phase: times[phase] for phase in PHASES}
    timed = by_series([run for run in outcomes if run.job.timed and not run.job.ruler])
    targets = {group: target_of(group, scale, timed) for group, _ in timed}
    rows = []
    for (group, series), runs in timed.items():
        baseline, K = timed[group, "bp"], runs[0].job.options["modules"]
        pairs = list(zip(baseline, runs, strict=True))
        seconds = [run.seconds_to(targets[group]) for run in runs]
        faster = [ratio(bp.seconds_to(targets[group]), own) for (bp, _), own in zip(pairs, seconds, strict=True)]
        per_iteration = [ratio(bp.milliseconds, run.milliseconds) for bp, run in pairs]
        measured = rulers.get((group, K))
        rows.append(
            {
                "group": group,
                "series": series,
                "K": K,
                "milliseconds_per_iteration": middle([run.milliseconds for run in runs]),
                "speed_up": middle(per_iteration),
                "speed_up_by_seed": per_iteration,
                "target": targets[group],
                "seconds_to_target": middle(seconds),
                "speed_up_to_target": middle(faster),
                "speed_up_to_target_by_seed": faster,
                "predicted": predicted_speed_up(measured) if measured else None,
                "predicted_here": predicted_speed_up(measured, usable_cores()) if measured else None,
                "module_seconds": measured,
            }
        )
    return rows


def target_of(group: str, scale: Scale, timed: Series) -> float | None:
    """The accuracy to which the runs of that group are timed."""
    base = timed[group, "bp"][0].job.options
    return next(
        timing.target for timing in scale.timing if all(base.get(name) == timing.base[name] for name in timing.base)
    )


def threshold_rows(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """The largest stable gamma L where the theory knows it, for every momentum and K of these runs."""
    pairs = {(job.options["momentum"], job.options["modules"]) for job in jobs}
    return [
        {"method": method, "momentum": momentum, "K": K, "stable_gamma_L": stable}
        for method, known in STABLE.items()
        for (momentum, K), stable in known.items()
        if (momentum, K) in pairs
    ]


def cosine_rows(outcomes: Sequence[Outcome], out: Path) -> list[dict[str, Any]]:
    """Cosines of each module: the median over the run, and all of them."""
    rows = []
    for run in outcomes:
        probes = staleness.read(out / run.job.name)
        modules: Mapping[int, list[float | None]] = {
            k: [probe.cosines[k - 1] for probe in probes] for k in range(1, run.job.options["modules"] + 1)
        }
        for k, cosines in modules.items():
            rows.append(
                {
                    "series": run.job.series,
                    "module": k,
                    "median_cosine": median(c for c in cosines if c is not None),
                    "iterations": [probe.iteration for probe in probes],
                    "cosines": cosines,
                }
            )
    return rows
