"""python -m theory verify | matrix | report | audit | speed | tight | claims"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ddg_ref.errors import WriteError, reason
from ddg_ref.tools.console import console
from ddg_ref.tools.files import expect_writable, write_json
from ddg_ref.tools.locks import owned
from theory import campaign, candidate, records
from theory.claims import CLAIMS, Kind, Outcome, select
from theory.examine import Examination

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
EXPECTED = {
    Kind.UPPER_BOUND: "holds",
    Kind.IDENTITY: "holds",
    Kind.STABILITY_THRESHOLD: "sharp",
    Kind.FALSE_AS_STATED: "refuted",
    Kind.CONJECTURE: "not refuted",
}

UNEXPECTED = {Kind.FALSE_AS_STATED: "NOT REFUTED", Kind.CONJECTURE: "REFUTED"}
"""Instead of VIOLATED."""


VERIFY = f"""Measure both sides of every claim on random cases; exit 1 if one behaves otherwise than expected.

With --iteration, the claims about plain SGD with DDG's delays are held against an implementation that is not ours. \
It is executed in this process, which is no sandbox. Exit 0 if all hold, 1 if not, 2 if it cannot be judged:

\b
{candidate.CONTRACT}
"""


def verdict(examination: Examination) -> str:
    """One word; red where the claim behaves otherwise than expected."""
    kind = examination.claim.kind
    if examination.examples == 0:
        return "not examined"
    if not examination.finite:
        return "[red]NOT FINITE[/]"
    if examination.as_expected:
        return f"[{'yellow' if kind is Kind.CONJECTURE else 'green'}]{EXPECTED[kind]}[/]"
    return f"[red]{UNEXPECTED.get(kind, 'VIOLATED')}[/]"


def sides(kind: Kind, outcome: Outcome) -> str:
    """measured/bound in figures; for a statement that is false, both sides of the counterexample."""
    if kind is Kind.FALSE_AS_STATED and outcome.finite:
        relation = ">" if outcome.violates(kind) else "<="
        return f"{outcome.measured:.3g} {relation} {outcome.bound:.3g}"
    if math.isnan(outcome.ratio):
        return "0 (exact)" if outcome.measured == 0 else f"{outcome.measured:.3g} / {outcome.bound:.3g}"
    return f"{outcome.ratio:.3g}"


def table(examinations: list[Examination]) -> Table:
    """Claim, expected, examples, worst ratio, what it had been with 1 in place of K, verdict, and the case that attains
    the worst."""
    result = Table(box=None, pad_edge=False)
    for heading in ("claim", "expected", "examples", "worst measured/bound", "with K = 1", "verdict"):
        result.add_column(heading, justify="right" if heading == "examples" else "left")
    result.add_column("attained at", overflow="fold")
    for e in examinations:
        worst, case = ("", "") if e.worst is None else (sides(e.claim.kind, e.worst.outcome), describe(e.worst.case))
        undelayed = "" if math.isnan(e.undelayed) else f"{e.undelayed:.3g}"
        cells = (EXPECTED[e.claim.kind], str(e.examples), worst, undelayed, verdict(e), escape(case))
        result.add_row(e.claim.id, *cells)
    return result


def describe(case: object) -> str:
    """The fields of a case without its class name."""
    return repr(case).partition("(")[2].removesuffix(")")


def say(shown: Console, text: str) -> None:
    """Print text as it is, each line on one line."""
    shown.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


@contextmanager
def one_line() -> Iterator[None]:
    """Bad input in the block ends with one line and code 2, a file that cannot be written with one line and code 1."""
    try:
        yield
    except (ValueError, WriteError, MemoryError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        raise typer.Exit(1 if isinstance(error, WriteError) else 2) from None


@contextmanager
def activity(shown: Console) -> Iterator[Callable[[str], None]]:
    """A live line on a terminal that says what is being done; the block calls with the text."""
    columns = (TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda text: bar.update(task, description=text)


def expect_file(name: str, path: Path) -> None:
    """ValueError if no file can be made at `path`."""
    try:
        if not path.resolve().parent.is_dir():
            raise ValueError(f"{name}: expected a file in an existing folder, got {path}; create the folder")
        expect_writable(path)
    except (OSError, WriteError) as error:
        raise ValueError(f"{name}: expected a file that can be written, got {path} ({reason(error)})") from None


def expect_folder(name: str, folder: Path, files: Iterable[str]) -> None:
    """ValueError if `folder` is none, nor can be made, or these files cannot be made in it. It is not made."""
    try:
        there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
        if not there.is_dir():
            raise ValueError(f"{name}: expected a folder, got the file {there}; name another place")
        for file in files if there == folder else ("nothing",):
            expect_writable(there / file)
    except (OSError, WriteError) as error:
        raise ValueError(f"{name}: expected a folder to write into, got {folder} ({reason(error)})") from None


@app.command(help=VERIFY)
def verify(
    claims: Annotated[list[str] | None, typer.Option(help="Ids, repeated or by commas; default all.")] = None,
    examples: Annotated[int, typer.Option(help="Cases per claim.")] = 100,
    seed: Annotated[int, typer.Option(help="Draws the cases.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Keep every worst case here, as it is found.")] = None,
    hours: Annotated[float | None, typer.Option(help="Go on for this long instead of --examples.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Measure the cases of such a file again.")] = None,
    processes: Annotated[int, typer.Option(help="Processes to use.")] = 2,
    iteration: Annotated[
        str | None, typer.Option(help="Try this implementation: module:function, or path/to/file.py:function.")
    ] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds that one call of --iteration may take.")] = 10.0,
) -> None:
    shown = console()
    with one_line():
        if iteration is not None:
            if json is not None or hours is not None or replay is not None:
                raise ValueError("iteration: expected no json, hours or replay beside it; leave them out")
            raise typer.Exit(show_trial(shown, iteration, claims or [], examples, seed, time_limit))
        if replay is not None:
            if claims or json is not None or hours is not None:
                raise ValueError(
                    "replay: expected no claims, json or hours beside it, which it would not use; leave them out"
                )
            raise typer.Exit(show_replay(shown, replay))
        plan = campaign.Plan(select(by_commas(claims)), examples, seed, hours, processes)
        if json is not None:
            expect_file("json", json)

    def keep(examinations: Iterable[Examination]) -> None:
        if json is not None:
            records.write(json, examinations, seed)

    def try_to_keep(examinations: Iterable[Examination]) -> None:
        with suppress(WriteError):  # there is another time, at the latest when the table has been printed
            keep(examinations)

    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with one_line(), owned("json", json) if json is not None else nullcontext():
        with Progress(*columns, console=shown, transient=True, disable=not shown.is_terminal) as bar:
            task = bar.add_task("", total=plan.size())
            found, interrupted, failure = campaign.run(plan, keep=try_to_keep, progress=lambda: bar.advance(task))
        shown.print(table(found))
        for e in found:
            if e.violation is not None:
                say(shown, f"{e.claim.id}: {e.violation.outcome.note or describe(e.violation.case)}")
        if interrupted:
            say(shown, "interrupted; the table holds everything found so far")
        if failure is not None:
            say(shown, f"{failure}; the table holds everything found so far")
        keep(found)
    as_expected = failure is None and all(e.as_expected for e in found)
    raise typer.Exit(130 if interrupted else int(not as_expected))


def by_commas(texts: Iterable[str] | None) -> list[str]:
    """The ids in an option that may be repeated."""
    return [name for text in texts or [] for name in text.split(",") if name]


def show_trial(shown: Console, named: str, claims: list[str], examples: int, seed: int, seconds: float) -> int:
    """Hold the claims against an implementation, say which fail and what it behaves like; 1 if it is not DDG."""
    from theory import trial, trial_report

    plan = campaign.Plan(trial.chosen(by_commas(claims)), examples, seed, processes=1)
    tried = candidate.load(named)
    try:
        with candidate.time_limit(tried, seconds, candidate.leave), activity(shown) as progress:
            progress("comparing")
            behaviour = trial_report.behaviour(tried)
            found = trial.examinations(tried, plan, progress)
    except KeyboardInterrupt:
        say(shown, "interrupted")
        return 130
    shown.print(table(found))
    say(shown, trial_report.text(tried, behaviour, found))
    return int(behaviour.differs or not all(e.as_expected for e in found))


def show_replay(shown: Console, path: Path) -> int:
    """Measure the recorded cases again and print both; 1 if one differs."""
    results = campaign.replay(path)
    result = Table(title=escape(f"{path.name}, measured again"))
    for heading in ("claim", "case", "recorded", "now", "agrees"):
        result.add_column(heading, overflow="fold" if heading == "case" else "ellipsis")
    for r in results:
        sides = [f"{o.measured:.6g} / {o.bound:.6g}" for o in (r.recorded.outcome, r.again.outcome)]
        agrees = "[green]yes[/]" if r.agrees else "[red]NO[/]"
        result.add_row(r.claim.id, escape(describe(r.recorded.case)), *sides, agrees)
    shown.print(result)
    return 0 if all(r.agrees for r in results) else 1


@app.command()
def matrix() -> None:
    """Show which weaker bounds and which wrong iterations the claims notice, on fixed cases, as Markdown."""
    from theory import matrix as tables

    print(f"{tables.weaker_table(tables.weaker())}\n\n{tables.wrong_table(tables.wrong())}")


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="Folder for report.md and its figures.")],
) -> None:
    """Measure the tables, draw the figures, write them down."""
    from theory import report as writer

    shown = console()
    with one_line():
        expect_folder("out", out, writer.FILES)
    with activity(shown) as progress:
        text, drawings = writer.compose(progress)
    with one_line():
        try:
            path = writer.write(out, text, drawings)
        except WriteError:
            say(shown, text)
            raise
    say(shown, f"wrote {path}")


@app.command()
def audit(
    out: Annotated[Path, typer.Option(help="Folder for audit.md and audit.png.")],
    model: Annotated[str, typer.Option(help="Network of ddg_ref.")] = "mlp",
    data: Annotated[str, typer.Option(help="Data set of ddg_ref, or the path of an .npz file.")] = "digits",
    modules: Annotated[int, typer.Option(help="K.")] = 4,
    iterations: Annotated[int, typer.Option(help="Length of the run.")] = 400,
    lr: Annotated[float, typer.Option(help="Step size gamma.")] = 0.05,
    batch_size: Annotated[int, typer.Option(help="Samples of a minibatch, which is what i counts.")] = 64,
    width: Annotated[int | None, typer.Option(help="As in ddg_ref.")] = None,
    depth: Annotated[int | None, typer.Option(help="As in ddg_ref.")] = None,
    loss: Annotated[str, typer.Option(help="Loss of ddg_ref; both are nonnegative.")] = "cross-entropy",
    engine: Annotated[str, typer.Option(help="Engine of ddg_ref.")] = "threads",
    seed: Annotated[int, typer.Option(help="Weights, partition into minibatches, and draws.")] = 0,
    points: Annotated[int, typer.Option(help="Iterations at which the gradient of f is measured.")] = 40,
    segments: Annotated[int, typer.Option(help="How many of them also measure L and the gradients of samples.")] = 6,
    momentum: Annotated[float, typer.Option(help="beta.")] = 0.0,
    nesterov: Annotated[bool, typer.Option("--nesterov", help="In Nesterov's form.")] = False,
    sampling: Annotated[str, typer.Option(help="Minibatches: independent, or epochs (reshuffled).")] = "independent",
) -> None:
    """Train a network of ddg_ref and hold the run against what the statements assume and promise."""
    from theory import audit_report
    from theory.audit import Plan
    from theory.audit import audit as measure

    shown = console()
    with one_line():
        expect_folder("out", out, audit_report.FILES)
        sizes = model, data, modules, iterations, lr, batch_size, width, depth, loss, engine, seed, points, segments
        plan = Plan(*sizes, momentum, nesterov, sampling)
        with activity(shown) as progress:
            found = measure(plan, progress=progress)
    say(shown, audit_report.text(found))
    with one_line():
        path = audit_report.write(found, out)
    say(shown, f"wrote {path}")


@app.command()
def speed(
    width: Annotated[int, typer.Option(help="Units of each layer.")] = 512,
    depth: Annotated[int, typer.Option(help="Linear layers.")] = 8,
    batch_size: Annotated[int, typer.Option(help="Samples per iteration.")] = 128,
    modules: Annotated[int, typer.Option(help="K, a thread each: no more than there are cores.")] = 2,
    iterations: Annotated[int, typer.Option(help="Iterations per turn.")] = 20,
    turns: Annotated[int, typer.Option(help="Turns; medians over them are printed.")] = 9,
) -> None:
    """Predict the time of an iteration of ddg_ref from the times of its modules, and hold it against the clock."""
    from theory import timing

    shown = console()
    with one_line():
        plan = timing.Plan(width, depth, batch_size, modules, iterations, turns)
        with activity(shown) as progress:
            measured = timing.compare(plan, progress=progress)
    sizes = f"MLP {depth} x {width}, batch {batch_size}, K = {modules}, float32"
    say(shown, f"{sizes}; milliseconds, medians of {turns} turns")
    for heading, rows in (
        (("module", "measured", "forward", "backward", "update"), timing.module_rows(measured)),
        (
            ("schedule", "predicted", "measured", "predicted/measured", "lowest to highest"),
            timing.period_rows(measured),
        ),
    ):
        result = Table()
        for name in heading:
            result.add_column(name)
        for row in rows:
            result.add_row(*row)
        shown.print(result)


@app.command()
def tight(
    modules: Annotated[int, typer.Option(help="K.")],
    iterations: Annotated[int, typer.Option(help="T.")],
    step: Annotated[str, typer.Option(help="gamma L, as 0.25 or 1/4.")],
    samples: Annotated[str, typer.Option(help="n >= 2, or inf for fresh samples; 1 for exact gradients.")] = "1",
    start: Annotated[float, typer.Option(help="L A/M, or L A/nu^2 with --variance: how far up f(w^0) is.")] = 0.5,
    variance: Annotated[bool, typer.Option(help="With samples: bounded variance, not bounded gradients.")] = False,
    certificate: Annotated[Path | None, typer.Option(help="Write a proof of the value here, for 1 sample.")] = None,
) -> None:
    """Compute the largest S_T over all smooth f, of any dimension, by semidefinite programming (needs cvxpy)."""
    from theory import tight_report
    from theory.certificates import to_json

    shown = console()
    with one_line():
        asked = tight_report.Question.of(modules, iterations, step, samples, start, variance, certificate is not None)
        if certificate is not None:
            expect_file("certificate", certificate)
        with activity(shown) as progress:
            answer = asked.answer(progress)
    say(shown, answer.text)
    if answer.certificate is not None and certificate is not None:
        with one_line(), owned("certificate", certificate):
            write_json(certificate, to_json(answer.certificate), kind="certificate", indent=None)
        say(shown, f"wrote {certificate}; check it with: python theory/certificates.py {certificate}")


@app.command("claims")
def list_claims() -> None:
    """List every claim with its kind, hypotheses and source."""
    shown = console()
    for claim in CLAIMS.values():
        say(shown, f"{claim.id} ({claim.kind.value})\n  {claim.statement}\n  {claim.hypotheses}\n  {claim.source}")


if __name__ == "__main__":
    app()
