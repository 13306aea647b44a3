"""What the commands print and write: whole in any terminal and encoding, and not lost when a file cannot be written."""

import errno
import io
import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ddg_ref.errors import WriteError
from ddg_ref.tools import files
from theory import audit_report, campaign, records, report
from theory.__main__ import app
from theory.audit import Plan
from theory.audit import audit as measure
from theory.claims import CLAIMS, Kind
from theory.examine import examine

ROOT = Path(__file__).parents[2]
SMALL = {"width": 4, "depth": 2, "modules": 2, "iterations": 6, "points": 2, "segments": 2, "batch_size": 700}
AUDIT = ["audit", *(f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()), "--out"]
COMPOSED = "Written by `python -m theory report`.\n\n| γL | 0.123456 |\n"
OLD = '{"written_by": "ddg_ref", "kind": "verification"}'
SPEED = ["speed", "--width", "8", "--depth", "4", "--batch-size", "4", "--iterations", "4", "--turns", "1"]


def run(*arguments, **environment):
    return CliRunner().invoke(app, [str(a) for a in arguments], env=environment)


@pytest.fixture
def here(monkeypatch):
    """Claims are examined in this process: another one takes seconds to start."""

    def run_here(plan, *, keep, progress):
        found = [examine(claim, plan.examples, plan.seed) for claim in plan.claims]
        keep(found)
        return campaign.Campaign(found, False, None)

    monkeypatch.setattr(campaign, "run", run_here)


def in_terminal(arguments, columns, encoding, monkeypatch):
    """What a command writes on a terminal of so many columns."""

    class Terminal(io.TextIOWrapper):
        def isatty(self):
            return True

    raw = io.BytesIO()
    terminal = Terminal(raw, encoding, newline="\n", write_through=True)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        for name, value in (("COLUMNS", columns), ("NO_COLOR", "1"), ("TERM", "xterm")):
            patch.setenv(name, str(value))
        with suppress(SystemExit):
            app([str(a) for a in arguments])
    return raw.getvalue().decode(encoding)


@pytest.fixture
def written_report(monkeypatch):
    """A report of a few lines, with letters that ASCII has not."""
    from matplotlib.figure import Figure

    monkeypatch.setattr(report, "compose", lambda progress: (COMPOSED, {"bounds.png": Figure()}))


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("columns", [20, 40, 80])
def test_verify_and_replay_print_every_number(columns, encoding, tmp_path, monkeypatch, here):
    kept = tmp_path / "kept.json"
    command = ["verify", "--claims", "distance,lemma-1-rising", "--examples", "5", "--json", kept]
    first = in_terminal(command, columns, encoding, monkeypatch)
    for text in ("distance", "lemma-1-rising", "0.000562 > -0.000125", "holds", "refuted", "worst measured/bound"):
        assert text in first
    assert "0.000561738 > -0.0001252 = -(gamma/2)||grad f||^2" in first
    again = in_terminal(["verify", "--replay", kept], columns, encoding, monkeypatch)
    for number in ("0.000561738", "-0.0001252"):
        assert number in again
    assert again.count("yes") == 2
    assert "…" not in again + first[first.index("expected") :]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_every_other_command_prints_in_any_encoding(encoding, tmp_path, monkeypatch, written_report):
    speed = in_terminal(SPEED, 30, encoding, monkeypatch)
    assert "predicted/measured" in speed
    assert "lowest to highest" in speed
    claims = in_terminal(["claims"], 30, encoding, monkeypatch)
    assert all(claim.statement in claims for claim in CLAIMS.values())
    audited = in_terminal([*AUDIT, tmp_path / "audit"], 30, encoding, monkeypatch)
    assert "| t | \\u2016w-x\\u2016 | secant ratio |" in audited
    assert f"wrote {tmp_path / 'audit' / 'audit.md'}" in audited
    assert "γ" in (tmp_path / "audit" / "audit.md").read_text(encoding="utf-8")
    assert "wrote" in in_terminal(["report", "--out", tmp_path / "r\udce9port"], 30, encoding, monkeypatch)


def test_the_command_itself_with_ascii_and_few_columns(tmp_path):
    command = [sys.executable, "-m", "theory", "verify", "--claims", "distance", "--examples", "3", "--processes", "1"]
    environment = {**os.environ, "COLUMNS": "40", "PYTHONIOENCODING": "ascii", "FORCE_COLOR": "1"}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert b"distance" in done.stdout


def full(path):
    raise WriteError(f"{path} cannot be written (No space left on device); make room or name another place")


@pytest.fixture
def full_disk(monkeypatch):
    """From now on nothing more can be flushed to the disk; files can still be made."""

    def flush(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill():
        monkeypatch.setattr(files, "flush", flush)

    return fill


def one_line(done, code, start="error: "):
    assert done.exit_code == code, done.output
    assert done.stderr.startswith(start)
    assert done.stderr.count("\n") == 1
    assert done.exception is None or isinstance(done.exception, SystemExit)


def test_a_full_disk_costs_one_line_and_not_the_table(tmp_path, monkeypatch, full_disk, here):
    intact = campaign.run

    def run_and_fill(plan, **options):
        full_disk()
        return intact(plan, **options)

    monkeypatch.setattr(campaign, "run", run_and_fill)
    kept = tmp_path / "kept.json"
    kept.write_text(OLD)
    done = run("verify", "--claims", "distance", "--examples", 5, "--json", kept)
    one_line(done, 1, f"error: {kept} cannot be written (No space left on device)")
    assert "distance" in done.stdout
    assert "holds" in done.stdout
    assert kept.read_text() == OLD
    assert list(tmp_path.iterdir()) == [kept]


def test_a_folder_that_vanishes_costs_one_line_and_not_the_table(tmp_path, monkeypatch, here):
    folder = tmp_path / "there"
    folder.mkdir()
    intact = campaign.run

    def run_and_remove(plan, **options):
        shutil.rmtree(folder)
        return intact(plan, **options)

    monkeypatch.setattr(campaign, "run", run_and_remove)
    done = run("verify", "--claims", "distance", "--examples", 5, "--json", folder / "kept.json")
    one_line(done, 1)
    assert "holds" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_has_room_again_gets_everything(tmp_path, monkeypatch, here):
    kept, intact, calls = tmp_path / "kept.json", records.write, []

    def write(path, examinations, seed):
        calls.append(path)
        return full(path) if len(calls) == 1 else intact(path, examinations, seed)

    monkeypatch.setattr(records, "write", write)
    done = run("verify", "--claims", "distance", "--examples", 5, "--json", kept)
    assert done.exit_code == 0
    assert [e.examples for e in records.read(kept)] == [5]


def test_the_text_of_a_report_or_an_audit_is_printed_if_it_cannot_be_written(
    tmp_path, monkeypatch, written_report, full_disk
):
    full_disk()
    monkeypatch.setattr("theory.__main__.expect_folder", lambda name, folder, files: None)
    done = run("report", "--out", tmp_path / "report")
    one_line(done, 1)
    assert "0.123456" in done.stdout
    done = run(*AUDIT, tmp_path / "audit")
    one_line(done, 1)
    assert "Theorem 1* (sharp)" in done.stdout
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


UNUSABLE = ["/proc/none/x", "/proc/self/cmdline/x", "/dev/null/x", f"/tmp/{'n' * 300}"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="folders that even root cannot write into")
@pytest.mark.parametrize("place", UNUSABLE)
def test_what_cannot_be_written_is_refused_before_the_work(place, monkeypatch):
    for work in ("theory.campaign.run", "theory.report.compose", "theory.audit.audit"):
        monkeypatch.setattr(work, lambda *args, **kwargs: pytest.fail("the work has begun"))
    one_line(run("verify", "--json", place), 2, "error: json: expected ")
    one_line(run("report", "--out", place), 2, "error: out: expected ")
    one_line(run(*AUDIT, place), 2, "error: out: expected ")


def test_what_is_a_folder_is_no_file_and_the_other_way_round(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "run", lambda *args, **kwargs: pytest.fail("the work has begun"))
    one_line(run("verify", "--json", tmp_path), 2, "error: json: expected a file that can be written")
    (tmp_path / "file").write_text("")
    one_line(run("report", "--out", tmp_path / "file" / "below"), 2, "error: out: expected a folder, got the file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_trying_leaves_nothing_and_changes_nothing(tmp_path):
    kept = tmp_path / "kept.json"
    files.expect_writable(kept)
    assert not list(tmp_path.iterdir())
    kept.write_text(OLD)
    files.expect_writable(kept)
    assert kept.read_text() == OLD
    files.expect_writable(Path("/dev/null"))
    with pytest.raises(WriteError, match=r"cannot be written \(.*\); make room or name another place"):
        files.expect_writable(tmp_path)
    with pytest.raises(WriteError, match=r"cannot be made \(.*\); name another place"):
        files.make_folder(kept / "below")


def test_files_are_replaced_whole_or_not_at_all(tmp_path, full_disk):
    found = [examine(CLAIMS["distance"], 3, 0)]
    seen = measure(Plan(**SMALL))
    records.write(tmp_path / "kept.json", found, 0)
    audit_report.write(seen, tmp_path / "audit")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert len(before) == 3
    full_disk()
    for write in (
        lambda: records.write(tmp_path / "kept.json", [], 1),
        lambda: audit_report.write(seen, tmp_path / "audit"),
    ):
        with pytest.raises(WriteError, match="No space left on device"):
            write()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


RECORD = records.to_json(examine(CLAIMS["distance"], 3, 0))
WHOLE = json.dumps({"seed": 0, "claims": [RECORD]})


@pytest.mark.parametrize("length", [0, 1, 2, 10, len(WHOLE) // 3, len(WHOLE) // 2, len(WHOLE) - 1])
def test_a_record_cut_anywhere_is_one_line(tmp_path, length):
    file = tmp_path / "cut.json"
    file.write_text(WHOLE[:length])
    one_line(run("verify", "--replay", file), 2, "error: replay: expected a JSON file from verify --json")


DAMAGE = [
    *((name, bad) for name in ("measured", "bound", "slack") for bad in ("1", None, True, [1.0])),
    *(("note", bad) for bad in (None, 1)),
    *(("case", bad) for bad in (None, [], {}, "x")),
]


def replay_of(tmp_path, **changes):
    file = tmp_path / "damaged.json"
    file.write_text(json.dumps({"seed": 0, "claims": [RECORD | changes]}))
    return run("verify", "--replay", file)


@pytest.mark.parametrize(("name", "bad"), DAMAGE, ids=str)
def test_a_damaged_finding_is_one_line(tmp_path, name, bad):
    one_line(replay_of(tmp_path, worst=RECORD["worst"] | {name: bad}), 2)


@pytest.mark.parametrize(("field", "intact"), RECORD["worst"]["case"].items())
def test_a_damaged_case_is_one_line(tmp_path, field, intact):
    for bad in (
        None,
        [],
        {},
        True,
        "x" if not isinstance(intact, str) else 1,
        "no such" if isinstance(intact, str) else -1,
    ):
        if field == "start" and bad == -1:
            continue
        one_line(replay_of(tmp_path, worst=RECORD["worst"] | {"case": RECORD["worst"]["case"] | {field: bad}}), 2)


@pytest.mark.parametrize(
    "changes", [{"claim": ["distance"]}, {"claim": None}, {"examples": "3"}, {"examples": -1}], ids=str
)
def test_a_damaged_record_is_one_line(tmp_path, changes):
    one_line(replay_of(tmp_path, **changes), 2)


@pytest.mark.parametrize(
    "text", [b"\xff\xfe", b"[" * 100_000, b'{"claims": ' + b"9" * 5000 + b"}", b"null", b'{"claims": {}}']
)
def test_what_is_no_record_at_all_is_one_line(tmp_path, text):
    file = tmp_path / "other.json"
    file.write_bytes(text)
    one_line(run("verify", "--replay", file), 2, "error: replay: expected a JSON file from verify --json")
    one_line(run("verify", "--replay", tmp_path), 2, "error: replay: expected a JSON file from verify --json")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("kept.json", ["verify", "--json", "kept.json"]),
        ("report.md", ["report", "--out", "."]),
        ("stability.png", ["report", "--out", "."]),
        ("audit.md", [*AUDIT, "."]),
        ("audit.png", [*AUDIT, "."]),
    ],
)
def test_a_file_of_somebody_else_is_named_before_the_work(name, arguments, tmp_path, monkeypatch):
    for work in ("theory.campaign.run", "theory.report.compose", "theory.audit.audit"):
        monkeypatch.setattr(work, lambda *args, **kwargs: pytest.fail("the work has begun"))
    monkeypatch.chdir(tmp_path)
    Path(name).write_text("precious")
    done = run(*arguments)
    one_line(done, 2)
    assert f"{name} is in the way: ddg_ref did not write it" in done.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["precious"]


def test_every_kind_of_case_survives_json(tmp_path):
    for claim in CLAIMS.values():
        found = examine(claim, 1, 0) if "search" not in claim.id else None
        if found is not None:
            again = records.from_json(json.loads(json.dumps(records.to_json(found))))
            assert again.worst.case == found.worst.case, claim.id
            assert records.to_json(again) == records.to_json(found)  # in which NaN is equal to itself


@pytest.mark.parametrize(
    "arguments",
    [
        *(["verify", option, bad] for option in ("--examples", "--processes") for bad in ("-1", "0")),
        *(["verify", "--hours", bad] for bad in ("nan", "inf", "-1", "0")),
        *(["verify", "--claims", bad] for bad in ("x", "distance,x", "distance, lemma-v")),
        ["verify", "--seed", "-5"],
        *(["audit", option, "-1"] for option in ("--modules", "--iterations", "--batch-size", "--width", "--depth")),
        *(["audit", option, "-1"] for option in ("--seed", "--points", "--segments", "--lr")),
        *(["audit", option, "x"] for option in ("--model", "--data", "--loss", "--engine")),
        ["audit", "--lr", "nan"],
        ["audit", "--data", "/no/such/file.npz"],
        ["audit", "--modules", "50"],
        ["audit", "--engine", "mpi"],
        *(["speed", option, "-1"] for option in ("--width", "--depth", "--batch-size", "--modules", "--iterations")),
        ["speed", "--turns", "-1"],
        ["speed", "--modules", "99"],
    ],
    ids=" ".join,
)
def test_options_that_cannot_be_used_are_one_line(arguments, tmp_path):
    out = ["--out", tmp_path / "out"] if arguments[0] == "audit" else []
    one_line(run(*arguments, *out), 2)
    assert not list(tmp_path.iterdir())


def test_a_campaign_without_end_begins_at_once():
    """Its size is computed, not counted."""
    plan = campaign.Plan(list(CLAIMS.values()), examples=10**18)
    false = [claim for claim in CLAIMS.values() if claim.kind is Kind.FALSE_AS_STATED]
    assert plan.size() == (len(CLAIMS) - len(false)) * 10**18 // 50 + len(false) * campaign.SEARCHES
    for examples in (1, 49, 50, 51, 100):
        small = campaign.Plan(list(CLAIMS.values()), examples=examples)
        assert small.size() == len(list(small.chunks()))
    assert campaign.Plan(list(CLAIMS.values()), hours=1.0).size() is None


def test_a_replay_that_would_ignore_something_or_has_nothing_is_refused(tmp_path):
    file = tmp_path / "kept.json"
    file.write_text(WHOLE)
    for more in (["--claims", "distance"], ["--json", tmp_path / "new.json"], ["--hours", "1"]):
        one_line(
            run("verify", "--replay", file, *more), 2, "error: replay: expected no claims, json or hours beside it"
        )
    for claims in ([], [RECORD | {"worst": None, "violation": None}]):
        file.write_text(json.dumps({"seed": 0, "claims": claims}))
        one_line(run("verify", "--replay", file), 2, "error: replay: expected recorded cases in ")
