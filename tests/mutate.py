"""`python -m tests.mutate`: plants faults in ddg_ref and theory, one at a time, and counts those that the tests see.

    python -m tests.mutate --per-file 3 --seed 0 --processes 2
    python -m tests.mutate --per-file 10 ddg_ref/losses.py theory/claims

From every file a sample is drawn; each fault of it is planted in a copy of the checkout, and the tests of that file
run on the copy: first those of TESTS, which see most faults in seconds, then for what is left those of FURTHER. A fault
that no test fails for survives, and is shown. One that makes the tests hang is stopped, and counts as seen.

Faults that change nothing anybody could see are listed in `equivalent.toml`, with the reason; they are not drawn. An
entry names the lines, not their number, so it holds until they change.

Neither mutmut nor cosmic-ray fits. mutmut 3 changes what stands in functions only, so no table and no default of a
class, draws no sample, and works in the checkout. cosmic-ray has one test command for all files, changes the files of
the checkout themselves, draws no sample either, and its own distributor runs one fault at a time.
"""

import os
import shutil
import signal
import subprocess
import sys
import tomllib
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from fnmatch import fnmatch
from pathlib import Path
from queue import SimpleQueue
from random import Random
from tempfile import TemporaryDirectory
from textwrap import indent
from threading import Lock
from time import monotonic
from typing import Any, TypeAlias

from tqdm import tqdm

from ddg_ref.errors import InputError, WriteError
from ddg_ref.tools.files import write_json
from tests.mutations import Mutant, mutants

ROOT = Path(__file__).parents[1]
PACKAGES = ("ddg_ref", "theory")
EQUIVALENT = Path("tests/equivalent.toml")

TESTS = (
    ("ddg_ref/arrays.py", "arrays optimizers layers"),
    ("ddg_ref/computing.py", "computing"),
    ("ddg_ref/tools/cache.py", "costs"),
    ("ddg_ref/runs/checkpoints/*", "checkpoints hostile_checkpoints"),
    ("ddg_ref/conformance/*", "conformance"),
    ("ddg_ref/cli/*", "nothing_is_lost cli"),
    ("ddg_ref/runs/comparison.py", "nothing_is_lost cli"),
    ("ddg_ref/runs/config.py", "training door cli"),
    ("ddg_ref/tools/console.py", "console"),
    ("ddg_ref/runs/costs.py", "costs"),
    ("ddg_ref/data/augment.py", "augment"),
    ("ddg_ref/data/npz.py", "npz"),
    ("ddg_ref/data/door.py", "door data"),
    ("ddg_ref/data/samples.py", "door data"),
    ("ddg_ref/data/dataset.py", "door data"),
    ("ddg_ref/data/*", "data augment official npz"),
    ("ddg_ref/device.py", "devices"),
    ("ddg_ref/gpu/*", "devices optimizers layers"),
    ("ddg_ref/errors.py", "door"),
    ("ddg_ref/experiments/*", "experiments"),
    ("ddg_ref/tools/files.py", "files rundir nothing_is_lost"),
    ("ddg_ref/layers/*", "layers gradcheck"),
    ("ddg_ref/tools/locks.py", "locks"),
    ("ddg_ref/losses.py", "losses"),
    ("ddg_ref/models.py", "models"),
    ("ddg_ref/optimizers.py", "optimizers"),
    ("ddg_ref/runs/plots.py", "timeline rundir training"),
    ("ddg_ref/tools/processes.py", "processes"),
    ("ddg_ref/runs/rundir.py", "rundir nothing_is_lost checkpoints"),
    ("ddg_ref/step_sizes.py", "step_sizes"),
    ("ddg_ref/schedule_files.py", "schedule_files"),
    ("ddg_ref/runs/schedule_report.py", "schedule_command"),
    ("ddg_ref/schedules.py", "schedules methods simulation"),
    ("ddg_ref/simulation.py", "simulation"),
    ("ddg_ref/versions.py", "schedules schedule_files"),
    ("ddg_ref/deadlock.py", "schedules schedule_files"),
    ("ddg_ref/seeds.py", "seeds"),
    ("ddg_ref/splitting.py", "splitting"),
    ("ddg_ref/guessers/synthesizers.py", "synthesizers"),
    ("ddg_ref/timeline.py", "timeline"),
    ("ddg_ref/workers/channel.py", "channel"),
    ("ddg_ref/runs/training.py", "computing training door"),
    ("ddg_ref/mpi/*", "mpi stalls"),
    ("ddg_ref/algorithm_1.py", "engines"),
    ("ddg_ref/runs/evaluation.py", "training door"),
    ("ddg_ref/runs/run.py", "training door"),
    ("ddg_ref/runs/trace.py", "timeline"),
    ("ddg_ref/runs/recording.py", "timeline cli"),
    ("ddg_ref/tools/environment.py", "processes cli"),
    ("ddg_ref/*", "methods training"),
    ("theory/audit*.py", "theory/audit"),
    ("theory/__main__.py", "theory/output"),
    ("theory/adversaries.py", "theory/matrix"),
    ("theory/bounds.py", "theory/pinned theory/bounds theory/ranges"),
    ("theory/campaign.py", "theory/verify theory/output"),
    ("theory/certificates.py", "theory/certificates"),
    ("theory/checks.py", "theory/ranges theory/not_finite"),
    ("theory/claims/*pipedream*.py", "theory/pipedream"),
    ("theory/claims/running*.py", "theory/system"),
    ("theory/conjectures.py", "theory/tight theory/measured"),
    ("theory/delayed.py", "theory/delayed"),
    ("theory/pipedream.py", "theory/pipedream"),
    ("theory/problems.py", "theory/problems"),
    ("theory/system.py", "theory/system"),
    ("theory/tight*.py", "theory/tight"),
    ("theory/timing.py", "theory/timing"),
    ("theory/claims/worst_constant.py", "theory/worst_case"),
    ("theory/claims/*", "theory/measured theory/claims theory/not_finite theory/matrix"),
    ("theory/matrix.py", "theory/matrix"),
    ("theory/records.py", "theory/output theory/verify"),
    ("theory/windows.py", "theory/certificates"),
    ("theory/*", "theory/problems theory/measured theory/ranges"),
)
"""(pattern, tests): those of the first pattern that fits a file see most of its faults."""

FURTHER = {
    "ddg_ref": "methods devices engines checkpoints",
    "theory": "theory/delayed theory/claims theory/measured theory/not_finite theory/verify theory/report",
}

Stages: TypeAlias = Sequence[tuple[str, ...]]
"""Test files that are run together, and then the next ones if these see nothing."""


def test_files(names: str) -> tuple[str, ...]:
    """`losses theory/timing` -> tests/test_losses.py, tests/theory/test_timing.py."""
    return tuple(str(Path("tests") / Path(name).parent / f"test_{Path(name).name}.py") for name in names.split())


def patience(seconds: float) -> float:
    """When tests are taken to hang that take `seconds` without a fault."""
    return 30 + 5 * seconds


def stages(path: str) -> Stages:
    """The tests of a file, then the further ones that are not among them."""
    near = test_files(next(names for pattern, names in TESTS if fnmatch(path, pattern)))
    return near, tuple(name for name in test_files(FURTHER[Path(path).parts[0]]) if name not in near)


def draw(root: Path, path: str, count: int, seed: int) -> list[Mutant]:
    """At most `count` mutants of a file, none of them known to be equivalent. Raises InputError for a stale entry."""
    found = mutants(path, (root / path).read_text(encoding="utf-8"))
    for known in equivalents(root, path):
        if not any(mutant.lines == known for mutant in found):
            raise InputError(f"{EQUIVALENT}: expected faults of {path}, got {known}; remove or renew the stale entry")
    rest = [mutant for mutant in found if mutant.lines not in equivalents(root, path)]
    return Random(f"{seed} {path}").sample(rest, min(count, len(rest)))


def equivalents(root: Path, path: str) -> list[tuple[str, str]]:
    """The lines before and after of what is listed for a file."""
    listed = tomllib.loads((root / EQUIVALENT).read_text(encoding="utf-8")).get("mutant", [])
    return [(entry["before"].strip(), entry["after"].strip()) for entry in listed if entry["path"] == path]


@contextmanager
def copies(root: Path, count: int) -> Iterator[list[Path]]:
    """Copies of a checkout, without what is made from it, for the block."""
    with TemporaryDirectory(prefix="mutate-") as folder:
        places = [Path(folder, str(number)) for number in range(count)]
        for place in places:
            shutil.copytree(root, place, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "runs"))
        yield places


class Examination:
    """Runs tests on copies; whatever runs can be ended from another thread."""

    def __init__(
        self, places: Sequence[Path], stages: Callable[[str], Stages], patience: Callable[[float], float]
    ) -> None:
        self.stages, self.patience = stages, patience
        self.free: SimpleQueue[Path] = SimpleQueue()
        for place in places:
            self.free.put(place)
        self.limits: dict[tuple[str, ...], Future[float]] = {}
        self.starting = Lock()
        self.running: set[subprocess.Popen[bytes]] = set()
        self.ended = False

    def verdict(self, mutant: Mutant) -> str:
        """`failed` or `hung` if the tests see it, else `passed`."""
        place = self.free.get()
        file = place / mutant.path
        source = file.read_text(encoding="utf-8")
        try:
            for tests in self.stages(mutant.path):
                limit = self.limits[tests].result()
                file.write_text(mutant.plant(source), encoding="utf-8")
                outcome, _ = self.run(place, tests, limit)
                file.write_text(source, encoding="utf-8")
                if outcome != "passed":
                    return outcome
            return "passed"
        finally:
            self.free.put(place)

    def limit(self, tests: tuple[str, ...]) -> float:
        """How long these tests may take. Raises InputError if they fail on a copy as it is."""
        place = self.free.get()
        start = monotonic()
        try:
            outcome, said = self.run(place, tests, None)
        finally:
            self.free.put(place)
        if outcome != "passed":
            raise InputError(f"tests: expected none to fail without a fault, got {said}; mend them first")
        return self.patience(monotonic() - start)

    def run(self, place: Path, tests: tuple[str, ...], limit: float | None) -> tuple[str, str]:
        """How the tests ended, and the last line that they printed."""
        temporary = place / ".tmp"
        temporary.mkdir(exist_ok=True)
        said = temporary / "said"
        with self.starting, said.open("w") as output:
            if self.ended:
                raise InterruptedError
            process = subprocess.Popen(
                [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests],
                cwd=place,
                env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": "", "TMPDIR": str(temporary)},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self.running.add(process)
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            stop(process)
            return "hung", ""
        finally:
            self.running.discard(process)
        if self.ended:
            raise InterruptedError
        lines = said.read_text(errors="replace").splitlines() or [""]
        return "passed" if process.returncode == 0 else "failed", lines[-1]

    def end(self) -> None:
        """Stop all that runs, and let nothing start."""
        with self.starting:
            self.ended = True
        for process in list(self.running):
            stop(process)


def stop(process: subprocess.Popen[bytes], grace: float = 5) -> None:
    """Ask a process and what it has started to end, then make them."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(grace)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def examine(
    root: Path,
    drawn: Sequence[Mutant],
    stages: Callable[[str], Stages],
    processes: int,
    patience: Callable[[float], float] = patience,
) -> dict[Mutant, str]:
    """The verdict on each mutant."""
    with copies(root, processes) as places, ThreadPoolExecutor(processes) as pool:
        examination = Examination(places, stages, patience)
        try:
            sets = {tests for mutant in drawn for tests in stages(mutant.path)}
            for tests in sorted(sets, key=len, reverse=True):  # the longest first; all before the first fault
                examination.limits[tests] = pool.submit(examination.limit, tests)
            found = {pool.submit(examination.verdict, mutant): mutant for mutant in drawn}
            return {found[done]: done.result() for done in tqdm(as_completed(found), total=len(found), unit="fault")}
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            examination.end()
            raise


def summary(verdicts: dict[Mutant, str], package: str) -> dict[str, Any]:
    """Counts of one package."""
    of = [verdict for mutant, verdict in verdicts.items() if Path(mutant.path).parts[0] == package]
    seen = len(of) - of.count("passed")
    return {
        "faults": len(of),
        "seen": seen,
        "of them hung": of.count("hung"),
        "score": round(seen / max(1, len(of)), 4),
    }


def python_files(root: Path, paths: Sequence[str]) -> list[str]:
    """Those of the packages that lie at or below the paths. Raises InputError for a path with none."""
    files = [str(file.relative_to(root)) for package in PACKAGES for file in sorted((root / package).rglob("*.py"))]
    chosen = set()
    for path in paths or [str(root / package) for package in PACKAGES]:
        wanted = os.path.relpath(path, root)
        below = {file for file in files if file == wanted or file.startswith(f"{wanted}/")}
        if not below:
            where = " or ".join(PACKAGES)
            raise InputError(f"paths: expected Python files or folders of {where}, got {path}; check the spelling")
        chosen |= below
    return sorted(chosen)


def positive(text: str) -> int:
    """A count as an option has it."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def main(arguments: Sequence[str] | None = None) -> None:
    parser = ArgumentParser(prog="python -m tests.mutate", description="Plant faults, and count those that tests see.")
    parser.add_argument("paths", nargs="*", help="files or folders; all of ddg_ref and theory if none is given")
    parser.add_argument("--per-file", type=positive, default=3, help="how many faults of each file, at most")
    parser.add_argument("--seed", type=int, default=0, help="which ones")
    parser.add_argument("--processes", type=positive, default=2, help="how many are tested at a time")
    parser.add_argument("--json", type=Path, help="write the result to this file, too")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        files = python_files(ROOT, options.paths)
        drawn = [mutant for path in files for mutant in draw(ROOT, path, options.per_file, options.seed)]
        verdicts = examine(ROOT, drawn, stages, options.processes)
    except InputError as error:
        sys.exit(f"mutate: {error}")
    except KeyboardInterrupt:
        sys.exit("mutate: stopped; nothing is left behind")
    survivors = [mutant for mutant in drawn if verdicts[mutant] == "passed"]
    for mutant in survivors:
        print(f"\n{mutant.path}:{mutant.line}")
        for sign, lines in zip("-+", mutant.lines, strict=True):
            print(indent(lines, f"{sign} "))
    scores = {package: summary(verdicts, package) for package in PACKAGES}
    print()
    for package, counts in scores.items():
        if counts["faults"]:
            print(f"{package}: {counts['seen']} of {counts['faults']} faults seen, {100 * counts['score']:.1f}%")
    if options.json:
        result = {
            "command": f"python -m tests.mutate --per-file {options.per_file} --seed {options.seed}",
            "paths": options.paths,
            "scores": scores,
            "survivors": [{"path": one.path, "before": one.before, "after": one.after} for one in survivors],
        }
        try:
            write_json(options.json, result, kind="mutation")
        except WriteError as error:
            sys.exit(f"mutate: {error}")


if __name__ == "__main__":
    main()
