"""Examinations as JSON, so that every worst case can be kept, sent between processes and measured again."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_type_hints

from theory.claims import Claim, Outcome, select
from theory.examine import Examination, Finding

SIDES = ("measured", "bound", "slack", "note")
"""What is kept of an outcome."""


def to_json(examination: Examination) -> dict[str, Any]:
    """Plain values; `from_json` is the inverse."""
    return {
        "claim": examination.claim.id,
        "kind": examination.claim.kind.value,
        "examples": examination.examples,
        "undelayed": str(examination.undelayed),
        "worst": _finding(examination.worst),
        "violation": _finding(examination.violation),
    }


def from_json(data: Any) -> Examination:
    """The examination recorded in `data`; ValueError if it is none."""
    if not isinstance(data, dict) or not {"claim", "examples", "worst", "violation"} <= set(data):
        raise ValueError(
            f"record: expected claim, examples, worst and violation, got {data!r:.80}; use a file from verify"
        )
    (claim,) = select([data["claim"]])
    worst, violation = _found(claim, data["worst"]), _found(claim, data["violation"])
    return Examination(claim, data["examples"], worst, violation, float(data.get("undelayed", "nan")))


def write(path: Path, examinations: Iterable[Examination], seed: int) -> None:
    """Replace `path` in one step: a reader, or a crash, sees the old file or the new one."""
    text = json.dumps({"seed": seed, "claims": [to_json(e) for e in examinations]}, indent=1)
    scratch = path.with_name(path.name + ".part")
    scratch.write_text(text + "\n")
    os.replace(scratch, path)


def read(path: Path) -> list[Examination]:
    """The examinations in a file written by `write`; ValueError if it holds something else."""
    try:
        data = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(
            f"replay: expected a JSON file from verify --json, got {path} ({error}); check the path"
        ) from error
    if not isinstance(data, dict) or not isinstance(data.get("claims"), list):
        raise ValueError(f"replay: expected a JSON file from verify --json, got {path}; check the path")
    return [from_json(item) for item in data["claims"]]


def _finding(finding: Finding | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    return {"case": dataclasses.asdict(finding.case), **{name: getattr(finding.outcome, name) for name in SIDES}}


def _found(claim: Claim, data: Any) -> Finding | None:
    if data is None:
        return None
    return Finding(_decode(claim.case_type, data["case"]), Outcome(**{name: data[name] for name in SIDES}))


def _decode(case_type: type[Any], data: Any) -> Any:
    names = {field.name for field in dataclasses.fields(case_type)}
    if not isinstance(data, dict) or set(data) != names:
        raise ValueError(
            f"case: expected the fields {', '.join(sorted(names))}, got {data!r:.80}; use a file from verify"
        )
    hints = get_type_hints(case_type)
    return case_type(
        **{
            name: _decode(hints[name], value) if dataclasses.is_dataclass(hints[name]) else _tuples(value)
            for name, value in data.items()
        }
    )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
