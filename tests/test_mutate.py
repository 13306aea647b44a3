"""The tool that plants faults plants what it says, and tells those that tests see from those that they do not."""

import ast
import json
import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from messages import input_error

from tests import mutate
from tests.mutate import EQUIVALENT, PACKAGES, ROOT, draw, examine, python_files, stages, summary
from tests.mutations import Mutant, mutants

TOY = """
def count(n):
    total = 0
    while total < n:
        total += 1
    return total

def positive(x):
    return x > 0
"""
TESTS = """
from toy.numbers import count, positive

def test_count():
    assert (count(0), count(3)) == (0, 3)

def test_positive():
    assert positive(2) and not positive(-2)
"""


def afters(source: str) -> list[str]:
    """The changed lines of all mutants."""
    return [mutant.after for mutant in mutants("a.py", source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b <= c", ["a <= b <= c", "a < b < c"]),
        ("a > b >= c", ["a >= b >= c", "a > b > c"]),
        ("a == b != c", ["a != b != c", "a == b == c"]),
        ("a is b is not c", ["a is not b is not c", "a is b is c"]),
        ("a in b not in c", ["a not in b not in c", "a in b in c"]),
        ("(a) + (b)", ["(a) - (b)"]),
        ("a - b", ["a + b"]),
        ("a * b / c", ["a / b / c", "a * b * c"]),
        ("a // b % c", ["a / b % c", "a // b * c"]),
        ("a ** b", ["a * b"]),
        ("a & b | c", ["a | b | c", "a & b & c"]),
        ("a += b", ["a -= b"]),
        ("a and b and c", ["a or b and c", "a and b or c"]),
        ("a or not b", ["a and not b", "a or b"]),
        ("-(a)", ["(a)"]),
        ("a = 0", ["a = 1"]),
        ("a = 0.5", ["a = 1.0"]),
        ("a = 0.0", ["a = 1.0"]),
        ("a = True", ["a = False"]),
        ("a = abs(b)", ["a = (b)"]),
        ("a = np.abs(b)", ["a = (b)"]),
        ("a = max(b)", ["a = min(b)"]),
        ("a = xp.minimum(b).argmax()", ["a = xp.maximum(b).argmax()", "a = xp.minimum(b).argmin()"]),
        ("def f(): return a", ["def f(): return None"]),
        ("f(a)", ["pass"]),
        ("a[b]", ["a[b + 1]"]),
        ("a[b:c, ::d, 1]", ["a[b + 1:c, ::d, 1]", "a[b:c + 1, ::d, 1]", "a[b:c, ::d, 2]"]),
        ("def f(a=1, *, b=False): ...", ["def f(a=2, *, b=False): ...", "def f(a=1, *, b=True): ..."]),
        ("if a: b", ["if (not (a)): b"]),
        ("while a: break", ["while (not (a)): break", "while a: continue"]),
        ("while a: continue", ["while (not (a)): continue", "while a: break"]),
        ("a if b else c", ["a if (not (b)) else c"]),
        ("[a for a in b if c]", ["[a for a in b if (not (c))]"]),
        ("lambda a: a + b", ["lambda a: a - b"]),
        ("class A:\n    a: int = 1", ["a: int = 2"]),
        ('x = "é" + a', ['x = "é" - a']),
    ],
)
def test_every_kind_of_fault(source, expected):
    assert afters(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Text of 3 + 4."""',
        "a: Array[1] = b",
        "def f(a: Literal[1]) -> int | None: ...",
        "A: TypeAlias = int | dict[str, 3]",
        "def f() -> None:\n    return a",
        "def f():\n    return None\n    return",
        "assert a < b, c + d",
        'a = f"{b + 1}"',
        "print(a + 1)",
        "zip(a, b, strict=True).c",
        "@dataclass(frozen=True)\nclass A(B[1]): ...",
        "if TYPE_CHECKING: a = 1",
        'if __name__ == "__main__": a = 1',
        "a = deque[int]",
        'a["b"]',
        "a @ b",
    ],
)
def test_what_no_test_should_depend_on_has_no_fault(source):
    assert afters(source) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_one_place_changes_and_python_still_reads_it(package):
    for path in python_files(ROOT, [str(ROOT / package)]):
        source = (ROOT / path).read_text()
        for mutant in draw(ROOT, path, 2, 0):
            planted = mutant.plant(source)
            changed = source.encode()[mutant.start : mutant.end].decode()
            assert mutant.text != changed
            assert planted.encode()[: mutant.start] == source.encode()[: mutant.start]
            assert planted.encode()[mutant.start :] == mutant.text.encode() + source.encode()[mutant.end :]
            assert source.count("\n", 0, source.index(mutant.before.partition("\n")[0])) < mutant.line
            assert ast.dump(ast.parse(planted)) != ast.dump(ast.parse(source))


def test_every_file_has_tests_that_are_there():
    for path in python_files(ROOT, []):
        near, further = stages(path)
        assert near
        assert not set(near) & set(further)
        assert all((ROOT / name).is_file() for name in (*near, *further))


def test_every_pattern_is_the_first_for_some_file():
    """Else a file that has moved is tried against the tests of all others."""
    patterns = [pattern for pattern, _ in mutate.TESTS]
    used = {next(pattern for pattern in patterns if fnmatch(path, pattern)) for path in python_files(ROOT, [])}
    assert [pattern for pattern in patterns if pattern not in used] == []


@pytest.fixture
def toy(tmp_path, monkeypatch) -> Path:
    """A checkout with a package and its tests."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    root = tmp_path / "toy"
    files = {"toy/numbers.py": TOY, "test_toy.py": TESTS, str(EQUIVALENT): ""}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def every_file(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


HANGING = {"while (not (total < n)):", "total -= 1"}


def verdicts_by_line(root: Path, wanted: Callable[[Mutant], bool], *tests: str, **options: Any) -> dict[str, str]:
    drawn = [mutant for mutant in draw(root, "toy/numbers.py", 100, 0) if wanted(mutant)]
    verdicts = examine(root, drawn, lambda path: [(name,) for name in tests], 2, **options)
    return {mutant.after: verdict for mutant, verdict in verdicts.items()}


def test_what_tests_see_and_what_survives(toy):
    before = every_file(toy)
    assert verdicts_by_line(toy, lambda mutant: mutant.after not in HANGING, "test_toy.py") == {
        "total = 1": "failed",
        "while total <= n:": "failed",
        "total += 2": "failed",
        "return None": "failed",
        "return x >= 0": "passed",
        "return x > 1": "passed",
    }
    assert every_file(toy) == before


def test_hanging_tests_are_stopped(toy):
    found = verdicts_by_line(toy, lambda mutant: mutant.after in HANGING, "test_toy.py", patience=lambda seconds: 2)
    assert found == dict.fromkeys(HANGING, "hung")


def test_hanging_counts_as_seen(toy):
    drawn = draw(toy, "toy/numbers.py", 4, 0)
    verdicts = dict(zip(drawn, ("failed", "hung", "passed", "failed"), strict=True))
    assert summary(verdicts, "toy") == {"faults": 4, "seen": 3, "of them hung": 1, "score": 0.75}
    assert summary(verdicts, "ddg_ref") == {"faults": 0, "seen": 0, "of them hung": 0, "score": 0}


def test_further_tests_see_what_the_first_do_not(toy):
    (toy / "test_further.py").write_text("from toy.numbers import positive\ndef test_one(): assert not positive(0)\n")
    files = ("test_toy.py", "test_further.py")
    assert verdicts_by_line(toy, lambda mutant: mutant.before == "return x > 0", *files) == {
        "return x >= 0": "failed",
        "return x > 1": "passed",
        "return None": "failed",
    }


def test_tests_that_fail_without_a_fault_are_an_error(toy):
    (toy / "test_toy.py").write_text("def test_nothing(): assert False\n")
    with input_error(expected="expected none to fail without a fault", got="1 failed", advice="mend them first"):
        examine(toy, draw(toy, "toy/numbers.py", 1, 0), lambda path: [("test_toy.py",)], 1)


def test_the_sample_depends_on_the_seed_and_the_file_alone(toy):
    assert draw(toy, "toy/numbers.py", 3, 0) == draw(toy, "toy/numbers.py", 3, 0)
    assert len({tuple(draw(toy, "toy/numbers.py", 3, seed)) for seed in range(5)}) > 1
    assert len(draw(toy, "toy/numbers.py", 3, 0)) == 3


def entry(before: str, after: str) -> str:
    return f"[[mutant]]\npath = 'toy/numbers.py'\nbefore = '{before}'\nafter = '{after}'\nreason = 'a toy'\n"


def test_equivalent_faults_are_not_drawn(toy):
    (toy / EQUIVALENT).write_text(entry("return x > 0", "return x >= 0"))
    assert len(draw(toy, "toy/numbers.py", 100, 0)) == 8
    assert "return x >= 0" not in [mutant.after for mutant in draw(toy, "toy/numbers.py", 100, 0)]


@pytest.mark.parametrize("lines", [("return x > 0", "return x < 0"), ("return x > 2", "return x >= 2")])
def test_a_stale_entry_is_an_error(toy, lines):
    (toy / EQUIVALENT).write_text(entry(*lines))
    with input_error(expected="expected faults of toy/numbers.py", got=lines, advice="remove or renew"):
        draw(toy, "toy/numbers.py", 1, 0)


def test_every_entry_of_the_list_has_a_reason():
    for listed in tomllib.loads((ROOT / EQUIVALENT).read_text())["mutant"]:
        assert list(listed) == ["path", "before", "after", "reason"]
        assert listed["reason"].endswith(".")


@pytest.mark.parametrize("paths", [["tests"], ["theory", "nowhere.py"], [".."], ["ddg_ref/laye"]])
def test_paths_without_python_files_are_an_error(paths):
    with input_error(
        expected="expected Python files or folders of ddg_ref or theory", got=paths[-1], advice="spelling"
    ):
        python_files(ROOT, [str(ROOT / path) for path in paths])


def test_paths_are_files_and_folders():
    assert python_files(ROOT, [str(ROOT / "ddg_ref/losses.py")]) == ["ddg_ref/losses.py"]
    layers = {str(path.relative_to(ROOT)) for path in (ROOT / "ddg_ref/layers").glob("*.py")}
    assert set(python_files(ROOT, [str(ROOT / "ddg_ref/layers"), str(ROOT / "ddg_ref/layers/linear.py")])) == layers
    assert {path.partition("/")[0] for path in python_files(ROOT, [])} == set(PACKAGES)


def test_the_command(toy, tmp_path, monkeypatch, capsys):
    """On the toy, as if it were the package."""
    (toy / "toy").rename(toy / "theory")
    (toy / "test_toy.py").write_text(TESTS.replace("toy.", "theory."))
    monkeypatch.setattr(mutate, "ROOT", toy)
    monkeypatch.setattr(mutate, "stages", lambda path: [("test_toy.py",)])
    monkeypatch.setattr(
        mutate, "mutants", lambda *file: [one for one in mutants(*file) if one.before == "return x > 0"]
    )
    monkeypatch.chdir(toy)
    mutate.main(["theory/numbers.py", "--per-file", "9", "--json", str(tmp_path / "result.json")])
    printed = capsys.readouterr().out
    assert "theory/numbers.py:9\n- return x > 0\n+ return x >= 0\n" in printed
    assert "theory: 1 of 3 faults seen, 33.3%" in printed
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["scores"]["theory"] == {"faults": 3, "seen": 1, "of them hung": 0, "score": 0.3333}
    assert sorted(one["after"] for one in result["survivors"]) == ["return x > 1", "return x >= 0"]


@pytest.mark.parametrize("wrong", [["--per-file", "0"], ["--processes", "-1"], ["--processes", "two"], ["nowhere.py"]])
def test_wrong_options_end_the_command(wrong, capsys):
    with pytest.raises(SystemExit) as stopped:
        mutate.main(wrong)
    assert stopped.value.code


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def test_ctrl_c_leaves_nothing_behind(toy, tmp_path):
    (toy / "test_toy.py").write_text(
        "import os, subprocess, time\n"
        "def test_long():\n"
        "    child = subprocess.Popen(['sleep', '600'])\n"
        f"    with open({str(tmp_path / 'pids')!r}, 'a') as file: file.write(f'{{os.getpid()}} {{child.pid}}\\n')\n"
        "    time.sleep(600)\n"
    )
    code = (
        "from pathlib import Path; from tests.mutate import draw, examine\n"
        f"root = Path({str(toy)!r})\n"
        "examine(root, draw(root, 'toy/numbers.py', 4, 0), lambda path: [('test_toy.py',)], 1)\n"
    )
    temporary = Path(tempfile.mkdtemp(dir=tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = monotonic() + 120
    while not (tmp_path / "pids").exists() or not (tmp_path / "pids").read_text().endswith("\n"):
        assert monotonic() < deadline
        assert process.poll() is None
        sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) != 0
    assert not [pid for pid in map(int, (tmp_path / "pids").read_text().split()) if alive(pid)]
    assert list(temporary.iterdir()) == []
