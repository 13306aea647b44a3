"""The command line: verdicts and exit codes, replay, interruption, bad input."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from theory import campaign, records
from theory.__main__ import app, table, verdict
from theory.claims import CLAIMS, Outcome, select
from theory.examine import Examination, Finding, examine

ENVIRONMENT = {**os.environ, "COLUMNS": "200"}


def run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments], env={"COLUMNS": "200"})


def test_verify_reports_records_and_replays(tmp_path):
    kept = tmp_path / "kept.json"
    done = run("verify", "--claims", "distance,lemma-1-rising", "--examples", 60, "--json", kept)
    assert done.exit_code == 0, done.output
    assert "holds" in done.output
    assert "refuted" in done.output
    assert "0.000561738" in done.output
    claims = {c["claim"]: c for c in json.loads(kept.read_text())["claims"]}
    assert claims["distance"]["examples"] == 60
    assert 0 < claims["distance"]["worst"]["measured"] <= claims["distance"]["worst"]["bound"]
    again = run("verify", "--replay", kept)
    assert again.exit_code == 0
    assert again.output.count("yes") == 2
    text = kept.read_text().replace('"measured": 0.0005', '"measured": 0.0007')
    kept.write_text(text)
    assert run("verify", "--replay", kept).exit_code == 1


def test_results_do_not_depend_on_processes_and_repeat():
    claims = select(["distance", "reduction"])
    first, second = (
        [records.to_json(e) for e in campaign.run(campaign.Plan(claims, 60, 5, processes=p))[0]] for p in (1, 2)
    )
    assert first == second


def test_a_claim_that_misbehaves_fails_the_verification():
    bad = Examination(CLAIMS["distance"], examples=3)
    bad.worst = bad.violation = Finding("case", Outcome(2.0, 1.0))
    assert not bad.as_expected
    assert "VIOLATED" in verdict(bad)
    missing = Examination(CLAIMS["lemma-1-rising"], examples=3, worst=Finding("case", Outcome(1.0, 2.0)))
    assert not missing.as_expected
    assert "NOT REFUTED" in verdict(missing)
    assert "not examined" in verdict(Examination(CLAIMS["distance"]))
    for name in ("conjecture-w", "conjecture-v"):
        refuted = Examination(CLAIMS[name], examples=3, violation=Finding("case", Outcome(2.0, 1.0)))
        assert not refuted.as_expected
        assert verdict(refuted) == "[red]REFUTED[/]"
    assert table([bad, missing]).row_count == 2


def test_a_conjecture_is_never_said_to_hold():
    done = run("verify", "--claims", "conjecture-w,conjecture-v,theorem-g", "--examples", 20)
    assert done.exit_code == 0, done.output
    lines = {line.split()[0]: line for line in done.output.splitlines() if line.strip()}
    for name in ("conjecture-w", "conjecture-v"):
        assert lines[name].count("not refuted") == 2  # expected, and found
        assert "holds" not in lines[name]
    assert lines["theorem-g"].count("holds") == 2


def test_violations_are_shrunk():
    claim = CLAIMS["distance"]

    def check(case, iteration):
        return Outcome(case.K, 3.0)

    found = examine(replace(claim, check=check, adversaries=()), examples=100, seed=0)
    assert found.violation.case.K == 4
    assert found.violation.case.T == 1


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_interrupting_loses_nothing(tmp_path):
    kept = tmp_path / "kept.json"
    command = [sys.executable, "-m", "theory", "verify", "--hours", "1", "--json", str(kept)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        deadline = time.monotonic() + 60
        while not kept.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "interrupted" in output
    assert "drained-identity" in output
    kept_examples = [e.examples for e in records.read(kept)]
    assert sum(kept_examples) > 0
    assert len(kept_examples) == len(CLAIMS)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
def test_a_killed_process_loses_its_own_work_alone(tmp_path):
    kept = tmp_path / "kept.json"
    command = [sys.executable, "-m", "theory", "verify", "--hours", "1", "--json", str(kept)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)
    try:
        deadline = time.monotonic() + 60
        while not kept.exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        (victim, *_) = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        os.kill(int(victim), signal.SIGKILL)
        output, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert errors == ""
    assert output.splitlines()[-1].startswith("a process that verifies was killed")
    assert "drained-identity" in output
    assert sum(e.examples for e in records.read(kept)) > 0


def test_a_stopped_examination_hands_in_what_it_has():
    answers = iter([False] * 7 + [True])
    found = examine(CLAIMS["distance"], 100, 0, stopped=lambda: next(answers))
    assert found.examples == 7
    assert found.worst is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--claims", "theorem-3"], "claims: expected some of drained-identity"),
        (["--examples", 0], "examples: expected an integer >= 1, got 0"),
        (["--seed", -1], "seed: expected a finite number >= 0, got -1"),
        (["--hours", 0], "hours: expected a finite number > 0, got 0"),
        (["--processes", 0], "processes: expected an integer >= 1"),
        (["--json", "/no/such/folder/x.json"], "json: expected a file in an existing folder"),
        (["--replay", "/no/such/file.json"], "replay: expected a JSON file from verify --json"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, message):
    done = run("verify", *arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"claims": [1]}',
        '{"claims": [{"claim": "x", "examples": 1, "worst": null, "violation": null}]}',
    ],
)
def test_a_file_that_is_not_ours_is_refused(tmp_path, text):
    file = tmp_path / "other.json"
    file.write_text(text)
    done = run("verify", "--replay", file)
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.output


def test_a_case_with_other_fields_is_refused(tmp_path):
    data = records.to_json(examine(CLAIMS["distance"], 3, 0))
    data["worst"]["case"]["colour"] = "red"
    with pytest.raises(ValueError, match="case: expected the fields K, T, "):
        records.from_json(data)


def test_claims_are_listed():
    done = run("claims")
    assert done.exit_code == 0
    assert all(name in done.output for name in CLAIMS)
