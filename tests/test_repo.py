"""What the code may know of itself: who imports whom, and where the second array library is mentioned."""

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest

from ddg_ref.config import Config

ROOT = Path(__file__).parents[1]

LEVELS = [
    ["arrays", "cache", "console", "cores", "errors", "schedules", "seeds", "timeline"],
    ["devices", "files", "locks", "periods", "versions", "data.samples", "layers.images"],
    ["deadlock", "methods", "processes"],
    ["simulation"],
    ["schedule_files"],
    ["layers.base", "layers.init", "losses", "optimizers", "step_sizes", "data.dataset", "data.augment"],
    ["layers.*", "data.*"],
    ["layers.pool", "data.cifar", "data.mnist", "data.fetch"],
    ["data.official"],
    ["data.door"],
    ["layers", "data"],
    ["synthesizers"],
    ["models", "splitting", "costs", "modules", "task"],
    ["reference", "workers.agreement", "workers.channel", "workers.worker", "workers.launch", "workers"],
    ["workers.threads", "workers.pulse"],
    ["workers.mpi_channel"],
    ["workers.team"],
    ["workers.mpi"],
    ["engines"],
    ["config"],
    ["training"],
    ["plots"],
    ["schedule_report"],
    ["rundir"],
    ["checkpoints"],
    ["comparison", "experiments"],
    ["experiments.published", "experiments.settings", "experiments.prediction", "experiments.staleness"],
    ["experiments.jobs"],
    ["experiments.plans", "experiments.results", "experiments.tables"],
    ["experiments.figures"],
    ["experiments.reproduce"],
    ["cli", ""],
    ["__main__"],
]
"""Modules of ddg_ref from the bottom to the top; each may import from the levels below. A new module needs a place."""

BOTTOM = {"layers", "losses", "optimizers", "step_sizes"}
THEORY_MAY_IMPORT_DDG_REF = {"system.py", "audit.py", "timing.py"}
"""The files of theory/ that look at ddg_ref at work; the other files must not depend on what they examine."""

TOOLS = {f"ddg_ref.{name}" for name in ("console", "errors", "files", "locks", "periods", "processes")}
"""What knows nothing of training: how results are printed and written, processes, and times computed from times."""


def imports(source: str, *, everywhere: bool = False) -> set[str]:
    """The modules that a file imports when it is loaded, with `everywhere` also inside functions and for types only."""
    found = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
        late = isinstance(node, ast.FunctionDef) or (
            isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        )
        if everywhere or not late:
            for child in ast.iter_child_nodes(node):
                visit(child)

    visit(ast.parse(source))
    return found


def module_name(path: Path, root: Path) -> str:
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


FILES = {module_name(path, ROOT / "ddg_ref"): path for path in sorted((ROOT / "ddg_ref").rglob("*.py"))}


def own_imports(name: str, **options: bool) -> set[str]:
    """The modules of ddg_ref that one of them imports, by their names inside it."""
    names = {
        found.removeprefix("ddg_ref").removeprefix(".")
        for found in imports(FILES[name].read_text(), **options)
        if found.partition(".")[0] == "ddg_ref"
    }
    return (names & FILES.keys()) - {""}


def level(name: str) -> int:
    exact = [place for place, names in enumerate(LEVELS) if name in names]
    group = [place for place, names in enumerate(LEVELS) if f"{name.rpartition('.')[0]}.*" in names]
    assert exact or group, f"module {name!r} has no place in LEVELS"
    return (exact or group)[0]


@pytest.mark.parametrize("name", FILES)
def test_no_module_imports_upwards(name):
    upwards = {
        other
        for other in own_imports(name)
        if level(other) >= level(name) and not (name and other.startswith(f"{name}."))
    }
    assert not upwards


@pytest.mark.parametrize("name", [name for name in FILES if name.partition(".")[0] in BOTTOM])
def test_layers_and_what_lies_beside_them_know_arrays_only(name):
    known = {other.partition(".")[0] for other in own_imports(name, everywhere=True)}
    assert known <= {"arrays", "errors", "layers"}
    assert "layers" not in known or name.startswith("layers")


def test_the_reference_owes_the_workers_nothing():
    reached, new = set(), {"reference"}
    while new:
        reached |= new
        new = {other for name in new for other in own_imports(name, everywhere=True)} - reached
    assert "modules" in reached
    assert not {name for name in reached if name.startswith("workers")}


def test_cupy_is_imported_in_one_place():
    """All others get it from there, or from an array."""
    importing = [name for name, path in FILES.items() if re.search(r"import(_module\()?.?\W+cupy", path.read_text())]
    assert importing == ["arrays"]
    assert not [name for name in FILES if "cupy" in imports(FILES[name].read_text(), everywhere=True)]


def knows_ddg_ref(source: str) -> bool:
    """But for the tools."""
    found = {name for name in imports(source, everywhere=True) if name.partition(".")[0] == "ddg_ref"}
    return any(not any(name == tool or name.startswith(f"{tool}.") for tool in TOOLS) for name in found)


def test_the_theory_stands_alone():
    files = {str(path.relative_to(ROOT / "theory")): path for path in (ROOT / "theory").rglob("*.py")}
    assert {name for name, path in files.items() if knows_ddg_ref(path.read_text())} == THEORY_MAY_IMPORT_DDG_REF


def test_what_the_theory_shares_knows_nothing_of_training():
    for name in TOOLS:
        assert {f"ddg_ref.{other}" for other in own_imports(name.removeprefix("ddg_ref."), everywhere=True)} <= TOOLS


@pytest.mark.parametrize("name", FILES)
def test_the_library_needs_no_theory(name):
    found = imports(FILES[name].read_text(), everywhere=True)
    assert "theory" not in {other.partition(".")[0] for other in found}


@pytest.mark.parametrize(
    ("source", "at_load", "in_all"),
    [
        ("import ddg_ref.modules", True, True),
        ("from ddg_ref import layers", True, True),
        ("try:\n    from ddg_ref.layers import ReLU\nexcept ImportError:\n    pass", True, True),
        ("def f():\n    import ddg_ref", False, True),
        ("if TYPE_CHECKING:\n    from ddg_ref import layers", False, True),
        ("import ddg_reference\n'ddg_ref'", False, False),
        ("from ddg_ref.files import write_text\nimport ddg_ref.modules", True, True),
    ],
)
def test_imports_are_found(source, at_load, in_all):
    assert any(name.partition(".")[0] == "ddg_ref" for name in imports(source)) is at_load
    assert knows_ddg_ref(source) is in_all


def test_tools_are_no_knowledge_of_ddg_ref():
    assert not knows_ddg_ref("from ddg_ref.files import write_text\nfrom ddg_ref.console import console")
    assert knows_ddg_ref("from ddg_ref import files, modules")


@pytest.mark.parametrize("option", fields(Config), ids=lambda option: option.name)
def test_every_option_is_explained(option):
    text = option.metadata["help"]
    assert text[0].isupper()
    assert text.endswith(".")
