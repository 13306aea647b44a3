"""python -m theory verify | report | audit | speed | claims"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from theory import campaign
from theory.claims import CLAIMS, Kind, Outcome, select
from theory.examine import Examination

WIDTH = 160
LONGEST_CASE = 64

app = typer.Typer(add_completion=False, no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
EXPECTED = {
    Kind.UPPER_BOUND: "holds",
    Kind.IDENTITY: "holds",
    Kind.STABILITY_THRESHOLD: "sharp",
    Kind.FALSE_AS_STATED: "refuted",
}


def verdict(examination: Examination) -> str:
    """One word; red where the claim behaves otherwise than expected."""
    kind = examination.claim.kind
    if examination.examples == 0:
        return "not examined"
    if not examination.finite:
        return "[red]NOT FINITE[/]"
    if examination.as_expected:
        return f"[green]{EXPECTED[kind]}[/]"
    return "[red]NOT REFUTED[/]" if kind is Kind.FALSE_AS_STATED else "[red]VIOLATED[/]"


def sides(kind: Kind, outcome: Outcome) -> str:
    """measured/bound in figures; for a statement that is false, both sides of the counterexample."""
    if kind is Kind.FALSE_AS_STATED and outcome.finite:
        relation = ">" if outcome.violates(kind) else "<="
        return f"{outcome.measured:.3g} {relation} {outcome.bound:.3g}"
    if math.isnan(outcome.ratio):
        return "0 (exact)" if outcome.measured == 0 else f"{outcome.measured:.3g} / {outcome.bound:.3g}"
    return f"{outcome.ratio:.3g}"


def table(examinations: list[Examination]) -> Table:
    """Claim, expected, examples, worst ratio, verdict, and the case that attains it, cut short."""
    result = Table(box=None, pad_edge=False)
    for heading in ("claim", "expected", "examples", "worst measured/bound", "verdict", "attained at"):
        result.add_column(heading, justify="right" if heading == "examples" else "left")
    for e in examinations:
        worst, case = ("", "") if e.worst is None else (sides(e.claim.kind, e.worst.outcome), describe(e.worst.case))
        case = case if len(case) <= LONGEST_CASE else case[: LONGEST_CASE - 1] + "…"
        result.add_row(e.claim.id, EXPECTED[e.claim.kind], str(e.examples), worst, verdict(e), case)
    return result


def wide_console() -> Console:
    """As wide as the terminal; wide enough for a table where there is none."""
    console = Console()
    return console if console.is_terminal else Console(width=WIDTH)


def describe(case: object) -> str:
    """The fields of a case without its class name."""
    return repr(case).partition("(")[2].removesuffix(")")


def fail(error: ValueError) -> typer.Exit:
    """Print the one line and exit 2."""
    print(f"error: {error}", file=sys.stderr)
    return typer.Exit(2)


@app.command()
def verify(
    claims: Annotated[list[str] | None, typer.Option(help="Ids, repeated or by commas; default all.")] = None,
    examples: Annotated[int, typer.Option(help="Cases per claim.")] = 100,
    seed: Annotated[int, typer.Option(help="Draws the cases.")] = 0,
    json: Annotated[Path | None, typer.Option(help="Keep every worst case here, as it is found.")] = None,
    hours: Annotated[float | None, typer.Option(help="Go on for this long instead of --examples.")] = None,
    replay: Annotated[Path | None, typer.Option(help="Measure the cases of such a file again.")] = None,
    processes: Annotated[int, typer.Option(help="Processes to use.")] = 2,
) -> None:
    """Measure both sides of every claim on random cases; exit 1 if one behaves otherwise than expected."""
    console = wide_console()
    try:
        if replay is not None:
            raise typer.Exit(show_replay(console, replay))
        ids = [name for text in claims or [] for name in text.split(",") if name]
        plan = campaign.Plan(select(ids), examples, seed, hours, processes)
        if json is not None and not json.resolve().parent.is_dir():
            raise ValueError(f"json: expected a file in an existing folder, got {json}; create the folder")
    except ValueError as error:
        raise fail(error) from None
    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=plan.size())
        found, interrupted = campaign.run(plan, json=json, progress=lambda: bar.advance(task))
    console.print(table(found))
    for e in found:
        if e.violation is not None:
            console.print(f"[bold]{e.claim.id}[/]: {e.violation.outcome.note or describe(e.violation.case)}")
    if interrupted:
        console.print("interrupted; the table holds everything found so far")
        raise typer.Exit(130)
    raise typer.Exit(0 if all(e.as_expected for e in found) else 1)


def show_replay(console: Console, path: Path) -> int:
    """Measure the recorded cases again and print both; 1 if one differs."""
    results = campaign.replay(path)
    result = Table(title=f"{path.name}, measured again")
    for heading in ("claim", "case", "recorded", "now", "agrees"):
        result.add_column(heading, overflow="fold")
    for r in results:
        sides = [f"{o.measured:.6g} / {o.bound:.6g}" for o in (r.recorded.outcome, r.again.outcome)]
        result.add_row(r.claim.id, describe(r.recorded.case), *sides, "[green]yes[/]" if r.agrees else "[red]NO[/]")
    console.print(result)
    return 0 if all(r.agrees for r in results) else 1


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="Folder for report.md and its figures.")],
) -> None:
    """Measure the tables, draw the figures, write them down."""
    from theory import report as writer

    if out.exists() and not out.is_dir():
        raise fail(ValueError(f"out: expected a folder, got the file {out}; name another place"))
    with Progress(TextColumn("{task.description}"), TimeElapsedColumn(), transient=True) as bar:
        task = bar.add_task("", total=None)
        path = writer.write(out, progress=lambda name: bar.update(task, description=name))
    print(f"wrote {path}")


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
) -> None:
    """Train a network of ddg_ref and hold the run against what the statements assume and promise."""
    from theory import audit_report
    from theory.audit import Plan
    from theory.audit import audit as measure

    if out.exists() and not out.is_dir():
        raise fail(ValueError(f"out: expected a folder, got the file {out}; name another place"))
    try:
        plan = Plan(
            model, data, modules, iterations, lr, batch_size, width, depth, loss, engine, seed, points, segments
        )
        with Progress(TextColumn("{task.description}"), TimeElapsedColumn(), transient=True) as bar:
            task = bar.add_task("", total=None)
            found = measure(plan, progress=lambda name: bar.update(task, description=name))
    except ValueError as error:
        raise fail(error) from None
    path = audit_report.write(found, out)
    print(path.read_text())
    print(f"wrote {path}")


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

    console = Console()
    try:
        plan = timing.Plan(width, depth, batch_size, modules, iterations, turns)
        with Progress(TextColumn("{task.description}"), TimeElapsedColumn(), console=console, transient=True) as bar:
            task = bar.add_task("", total=None)
            measured = timing.compare(plan, progress=lambda name: bar.update(task, description=name))
    except ValueError as error:
        raise fail(error) from None
    console.print(
        f"MLP {depth} x {width}, batch {batch_size}, K = {modules}, float32; milliseconds, medians of {turns} turns"
    )
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
        console.print(result)


@app.command("claims")
def list_claims() -> None:
    """List every claim with its kind, hypotheses and source."""
    for claim in CLAIMS.values():
        print(f"{claim.id} ({claim.kind.value})\n  {claim.statement}\n  {claim.hypotheses}\n  {claim.source}")


if __name__ == "__main__":
    app()
