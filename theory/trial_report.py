"""What is said of an implementation on trial: which claims fail, what it behaves like, and where to see it by hand."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from theory import by_hand, trial
from theory.candidate import Candidate
from theory.cases import Case
from theory.examine import Examination


@dataclass(frozen=True)
class Behaviour:
    """Whether an implementation differs from DDG where it was compared, and what is to be said of it."""

    differs: bool
    text: str


def behaviour(candidate: Candidate) -> Behaviour:
    """Compare with DDG and with every known mistake. Raises CandidateError."""
    compared, smallest = trial.compare(candidate.whole), by_hand.smallest(candidate.whole)
    if compared.difference is None and smallest is None:
        return Behaviour(False, "it behaves like DDG, to rounding, wherever the two were compared")
    if compared.known:
        paragraphs = [f"it behaves like: {_either(compared.known)}"]
    else:
        paragraphs = ["it behaves like none of the known mistakes"]
        if compared.difference is not None:
            paragraphs[0] += f"; first difference at {compared.difference}\n    on {compared.case}"
    if not compared.drains and not set(compared.known) & set(trial.DRAINING):
        paragraphs.append("besides, nothing moves after the last batch: the K-1 draining iterations are missing")
    if smallest is not None:
        case, found = smallest
        by_steps = by_hand.written(case, found, case.got(candidate.whole))
        paragraphs.append(f"the smallest case where it differs from DDG, without any rounding:\n\n{indented(by_steps)}")
    return Behaviour(True, "\n\n".join(paragraphs))


def _either(names: tuple[str, ...]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', or '.join(names)}; these are the same here"


def text(candidate: Candidate, behaves: Behaviour, found: Iterable[Examination]) -> str:
    """The verdict, to be read below the table of the claims."""
    found = list(found)
    failed = [e for e in found if not e.as_expected]
    left = "; ".join(f"{what} ({len(names)})" for what, names in trial.LEFT_OUT.items())
    paragraphs = [f"not examined, being about something else: {left}"]
    if failed:
        names = ", ".join(e.claim.id for e in failed)
        paragraphs.append(f"{candidate.name}: {len(failed)} of {len(found)} claims fail: {names}")
    else:
        paragraphs.append(f"{candidate.name}: all {len(found)} claims hold")
    paragraphs.append(behaves.text)
    if failed and not behaves.differs:
        paragraphs += _where(candidate, failed)
    return "\n" + "\n\n".join(paragraphs)


def _where(candidate: Candidate, failed: list[Examination]) -> list[str]:
    """Where it differs on the cases that the claims found, if it does not where it was compared first."""
    for e in failed:
        if e.violation is not None and isinstance(e.violation.case, Case):
            case = e.violation.case
            arguments = case.problem, case.w0, case.sequences.samples, case.gammas
            found = trial.difference(case.problem.blocks, trial.reference(*arguments), candidate.whole(*arguments))
            if found is not None:
                order = by_hand.row(arguments[2][found.r])
                return [f"but {e.claim.id} found a difference at {found}\n    on {case}, samples {order}"]
    return []


def indented(text: str) -> str:
    """Each line four spaces to the right."""
    return "\n".join(f"    {line}" for line in text.splitlines())
