"""Examinations as JSON, so that every worst case can be kept, sent between processes and measured again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from ddg_ref.errors import reason
from ddg_ref.tools.files import write_json
from theory.checks import integer, shown
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
            f"record: expected claim, examples, worst and violation, got {shown(data)}; use a file from verify"
        )
    (claim,) = select([_value(str, data["claim"])])
    examples = integer("examples", data["examples"], 0)
    worst, violation = _found(claim, data["worst"]), _found(claim, data["violation"])
    return Examination(claim, examples, worst, violation, _undelayed(data.get("undelayed", "nan")))


def _undelayed(data: Any) -> float:
    """A number, infinity and NaN among them, which JSON knows as texts only."""
    try:
        return float(_value(str, data))
    except ValueError:
        raise ValueError(f"undelayed: expected a number as a text, got {shown(data)}; use a file from verify") from None


def write(path: Path, examinations: Iterable[Examination], seed: int) -> None:
    """Replace `path` in one step: a reader, or a crash, sees the old file or the new one. Raises WriteError."""
    write_json(path, {"seed": seed, "claims": [to_json(e) for e in examinations]}, kind="verification", indent=1)


def read(path: Path) -> list[Examination]:
    """The examinations in a file written by `write`; ValueError if it holds something else."""
    wanted = f"replay: expected a JSON file from verify --json, got {path}"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{wanted} ({reason(error)}); check the path") from error
    if not isinstance(data, dict) or not isinstance(data.get("claims"), list):
        raise ValueError(f"{wanted}; check the path")
    return [from_json(item) for item in data["claims"]]


def _finding(finding: Finding | None) -> dict[str, Any] | None:
    if finding is None:
        return None
    return {"case": dataclasses.asdict(finding.case), **{name: getattr(finding.outcome, name) for name in SIDES}}


def _found(claim: Claim, data: Any) -> Finding | None:
    if data is None:
        return None
    fields = {"case": claim.case_type, "measured": float, "bound": float, "slack": float, "note": str}
    case, *outcome = _members("finding", fields, data).values()
    return Finding(case, Outcome(*outcome))


def _members(name: str, types: dict[str, Any], data: Any) -> dict[str, Any]:
    if not isinstance(data, dict) or set(data) != set(types):
        raise ValueError(
            f"{name}: expected the fields {', '.join(sorted(types))}, got {shown(data)}; use a file from verify"
        )
    return {field: _value(expected, data[field]) for field, expected in types.items()}


def _value(expected: Any, data: Any) -> Any:
    """`data` as a value of this type: a dataclass, tuple[X, ...], bool, int, float or str; ValueError if it is none."""
    if isinstance(expected, type) and dataclasses.is_dataclass(expected):
        hints = get_type_hints(expected)
        return expected(
            **_members("case", {field.name: hints[field.name] for field in dataclasses.fields(expected)}, data)
        )
    if get_origin(expected) is tuple and isinstance(data, list | tuple):
        return tuple(_value(get_args(expected)[0], item) for item in data)
    allowed = (int, float) if expected is float else expected
    a_flag = isinstance(data, bool)  # which Python counts among the integers
    if a_flag != (expected is bool) or get_origin(expected) is tuple or not isinstance(data, allowed):
        raise ValueError(f"record: expected a value of type {expected}, got {shown(data)}; use a file from verify")
    return data
