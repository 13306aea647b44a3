"""An experiment from its plan to its table and figure."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from ddg_ref.errors import InputError, choose
from ddg_ref.experiments import results, tables
from ddg_ref.experiments.figures import FIGURES
from ddg_ref.experiments.jobs import WHERE, Job, Watch, check_stored, divergence, perform_all
from ddg_ref.experiments.plans import DATA_NAMES, PLANS, TITLES
from ddg_ref.experiments.published import LABEL, SOURCE
from ddg_ref.experiments.settings import SCALES, Scale
from ddg_ref.runs import rundir
from ddg_ref.tools.environment import environment
from ddg_ref.tools.files import read_json, write_figure, write_json, write_text

ALL = "all"
RUNS = "runs"
REPORT = "report.md"
SCALE = "scale.json"
DOCUMENT = "result.md"
RESULT_FILES = ("result.json", "figure.png", DOCUMENT)

Watching: TypeAlias = Callable[[str, int], AbstractContextManager[Watch]]
"""(experiment, number of runs) -> a watch while they are done."""


def with_options(job: Job, options: Mapping[str, Any]) -> Job:
    """The run with these options too; where published files lie matters to runs that read some."""
    published = job.options["data"] in DATA_NAMES
    own = {name: value for name, value in options.items() if name not in WHERE or published}
    return replace(job, options={**job.options, **own})


def plan(what: str, scale: str, options: Mapping[str, Any]) -> dict[str, list[Job]]:
    """The runs of each experiment. Raises InputError for unknown names, and for options that no run has."""
    names = list(PLANS) if choose("experiment", what, [*PLANS, ALL]) == ALL else [what]
    found = SCALES[choose("scale", scale, SCALES)]
    plans = {name: [with_options(job, options) for job in PLANS[name](found)] for name in names}
    for name in options:
        if not any(name in job.options for jobs in plans.values() for job in jobs):
            raise InputError(f"{name}: scale {scale} reads no published files; leave it out")
    return plans


def claim(out: Path, names: Iterable[str], scale: str) -> Path:
    """The directory of the runs, under `out`, where the named experiments get a directory each.

    Raises InputError if `out` holds results of another scale, or what is not ours under the names of results.
    """
    places = [rundir.Place(out, (SCALE, REPORT)), *(rundir.Place(out / name, RESULT_FILES) for name in names)]
    if any(place.held() for place in places) and (out / SCALE).exists():
        held = read_json(out / SCALE).get("scale")
        if held != scale:
            raise InputError(f"out: {out} holds results of scale {held}, expected {scale}; choose another directory")
    for place in places:
        if place is places[0] or place.directory.exists():
            place.prepare()
    write_json(out / SCALE, {"scale": scale})
    return out / RUNS


def reproduce(what: str, scale: str, out: Path, options: Mapping[str, Any], watching: Watching) -> Path | None:
    """Do what is not yet done of `what`, one experiment or all, and write results; None if it was asked to stop.

    Each writes OUT/WHAT/result.json, result.md and figure.png; its runs lie in OUT/runs, so that experiments share
    them. `options` are further options of every run. Returns the Markdown to read: of the experiment, or of all. Raises
    InputError, before anything is run, if OUT holds runs with other settings.
    """
    plans = plan(what, scale, options)
    runs = claim(out, plans, scale)
    for jobs in plans.values():
        for job in jobs:
            check_stored(job, runs / job.name)
    for name, jobs in plans.items():
        with watching(name, len(jobs)) as watch:
            if not perform_all(jobs, runs, SCALES[scale].processes, watch):
                return None
        write(name, scale, jobs, runs, out / name)
    if what != ALL:
        return out / what / DOCUMENT
    report = ["# The paper's experiments\n", f"Made by `python -m ddg_ref reproduce all --scale {scale}`.\n"]
    for name in plans:
        report.append(
            (out / name / DOCUMENT).read_text(encoding="utf-8").replace("(figure.png)", f"({name}/figure.png)")
        )
    write_text(out / REPORT, "\n".join(report))
    return out / REPORT


def evaluate(scale: Scale, jobs: list[Job], outcomes: list[results.Outcome], runs: Path) -> dict[str, Any]:
    """Errors, times and cosines, each where the experiment has such runs."""
    curves = [run for run in outcomes if not run.job.timed and not run.job.probes]
    probed = [run for run in outcomes if run.job.probes]
    timed = any(job.timed for job in jobs)
    return {
        "errors": results.error_rows(curves),
        "times": results.time_rows(outcomes, scale, runs) if timed else [],
        "cosines": results.cosine_rows(probed, runs),
    }


def write(what: str, scale: str, jobs: list[Job], runs: Path, directory: Path) -> None:
    """result.json, figure.png and result.md of an experiment whose runs are all there."""
    diverged = {job.name: message for job in jobs if (message := divergence(runs / job.name))}
    outcomes = [results.read(job, runs) for job in jobs if job.name not in diverged]
    result: dict[str, Any] = {
        "experiment": what,
        "scale": scale,
        "environment": environment(),
        "seeds": sorted({job.options["seed"] for job in jobs}),
        **evaluate(SCALES[scale], jobs, outcomes, runs),
        "thresholds": results.threshold_rows(jobs) if what == "descendants" else [],
        "diverged": diverged,
        "runs": {job.name: dict(job.options) for job in jobs},
        "published": {
            "label": LABEL,
            "source": SOURCE,
            "figures": {title: [row._asdict() for row in rows] for title, rows in tables.RELATED[what]},
        },
    }
    directory.mkdir(parents=True, exist_ok=True)
    data, figure, document = (directory / name for name in RESULT_FILES)
    write_json(data, result)
    write_figure(figure, FIGURES[what](outcomes, result))
    write_text(document, tables.document(what, TITLES[what], scale, result))
