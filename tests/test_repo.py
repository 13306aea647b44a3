"""What the code may know of itself: who imports whom, and where the second array library is mentioned."""

import ast
import re
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path

import pytest

from ddg_ref.runs.config import Config

ROOT = Path(__file__).parents[1]

TEXTS = ("benchmarks", "book", "ddg_ref", "docs", "notebooks", "tests", "theory")
"""The folders with what people wrote."""

IDEA = "idea"
"""The files at the root of ddg_ref, layers and workers: what one reads. All other folders may be skipped."""

MAY_IMPORT: dict[str, set[str]] = {
    IDEA: set(),
    "tools": {IDEA},
    "gpu": {IDEA},
    "guessers": {IDEA},
    "data": {IDEA, "tools"},
    "mpi": {IDEA, "tools"},
    "runs": {IDEA, "tools", "gpu", "guessers", "data", "mpi"},
    "experiments": {IDEA, "tools", "data", "runs"},
    "conformance": {IDEA, "tools", "runs"},
    "cli": {IDEA, "tools", "mpi", "runs", "experiments", "conformance"},
}
"""Which folders a folder knows. What a notebook imports, `ddg_ref` itself, and the program know all they need."""

TOP = {"", "__main__"}
ROOTS = [
    *("algorithm_1", "layers", "losses", "optimizers", "step_sizes", "models", "modules", "schedules", "methods"),
    *("task", "splitting", "workers.worker", "workers.channel", "workers.threads"),
]
LINES_OF_THE_IDEA = 2610
"""At most so many lines of code, without docstrings, comments and blank lines, are reached from ROOTS."""

BOTTOM = {"layers", "losses", "optimizers", "step_sizes"}
THEORY_MAY_IMPORT_DDG_REF = {"system.py", "audit.py", "timing.py"}
"""The files of theory/ that look at ddg_ref at work; the other files must not depend on what they examine."""

SHARED = {"ddg_ref.errors", "ddg_ref.tools", "ddg_ref.periods"}
"""What knows nothing of training, and may be used by both: the last computes times from times."""


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


def folder(name: str) -> str:
    first, _, rest = name.partition(".")
    return first if first in MAY_IMPORT and (rest or FILES[name].name == "__init__.py") else IDEA


@pytest.mark.parametrize("name", [name for name in FILES if name not in TOP])
def test_no_folder_imports_one_that_it_should_not_know(name):
    known = {folder(other) for other in own_imports(name, everywhere=True)}
    assert known <= MAY_IMPORT[folder(name)] | {folder(name)}


def test_every_folder_has_its_place():
    assert {folder(name) for name in FILES} == MAY_IMPORT.keys()
    assert {path.name for path in (ROOT / "ddg_ref").iterdir() if path.is_dir()} - {"__pycache__"} == {
        "layers",
        "workers",
        *(MAY_IMPORT.keys() - {IDEA}),
    }


def circle(edges: dict[str, set[str]]) -> set[str]:
    """What is left of a graph when everything is taken away, again and again, that leads nowhere any more."""
    left = dict(edges)
    while ends := {name for name, others in left.items() if not others & left.keys()}:
        left = {name: others for name, others in left.items() if name not in ends}
    return set(left)


def test_no_imports_go_in_a_circle():
    """Those inside functions and for types count."""
    assert not circle({name: own_imports(name, everywhere=True) for name in FILES})


def test_circles_are_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == {"a", "b", "c"}
    assert not circle({"a": {"b"}, "b": {"c"}, "c": set()})


def closure(roots: Iterable[str]) -> set[str]:
    reached: set[str] = set()
    new = set(roots)
    while new:
        reached |= new
        new = {other for name in new for other in own_imports(name, everywhere=True)} - reached
    return reached


def lines_of_code(source: str) -> int:
    """Without docstrings, comments and blank lines."""
    texts: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            texts |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.splitlines(), 1)
    return sum(number not in texts and line.strip() not in "#" and line.lstrip()[0] != "#" for number, line in lines)


def test_lines_of_code_are_counted():
    assert lines_of_code('"""A\nb."""\n\n# c\nx = 1  # d\n\n\ndef f():\n    """E."""\n    return """\n"""\n') == 4


def test_the_idea_stands_by_itself():
    reached = closure(ROOTS)
    assert {folder(name) for name in reached} == {IDEA}
    assert sum(lines_of_code(FILES[name].read_text()) for name in reached) <= LINES_OF_THE_IDEA


@pytest.mark.parametrize("name", [name for name in FILES if name.partition(".")[0] in BOTTOM])
def test_layers_and_what_lies_beside_them_know_arrays_only(name):
    known = {other.partition(".")[0] for other in own_imports(name, everywhere=True)}
    assert known <= {"arrays", "errors", "layers"}
    assert "layers" not in known or name.startswith("layers")


def test_the_oracle_owes_nothing_to_what_it_judges():
    reached = closure(["algorithm_1"])
    assert "layers.linear" in reached
    assert not {name for name in reached if name.partition(".")[0] in {"schedules", "methods", "modules", "workers"}}


def test_cupy_is_imported_in_one_place():
    """All others get it from there, or from an array."""
    importing = [name for name, path in FILES.items() if re.search(r"import(_module\()?.?\W+cupy", path.read_text())]
    assert importing == ["arrays"]
    assert not [name for name in FILES if "cupy" in imports(FILES[name].read_text(), everywhere=True)]


def knows_ddg_ref(source: str) -> bool:
    """But for what is shared."""
    found = {name for name in imports(source, everywhere=True) if name.partition(".")[0] == "ddg_ref"}
    return any(not any(name == other or name.startswith(f"{other}.") for other in SHARED) for name in found)


def test_the_theory_stands_alone():
    files = {str(path.relative_to(ROOT / "theory")): path for path in (ROOT / "theory").rglob("*.py")}
    assert {name for name, path in files.items() if knows_ddg_ref(path.read_text())} == THEORY_MAY_IMPORT_DDG_REF


def test_what_the_theory_shares_knows_nothing_of_training():
    for name in FILES:
        if folder(name) == "tools":
            assert {other for other in own_imports(name, everywhere=True) if folder(other) != "tools"} <= {"errors"}


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
        ("from ddg_ref.tools.files import write_text\nimport ddg_ref.modules", True, True),
    ],
)
def test_imports_are_found(source, at_load, in_all):
    assert any(name.partition(".")[0] == "ddg_ref" for name in imports(source)) is at_load
    assert knows_ddg_ref(source) is in_all


def test_tools_are_no_knowledge_of_ddg_ref():
    assert not knows_ddg_ref("from ddg_ref.tools.files import write_text\nfrom ddg_ref.errors import shown")
    assert knows_ddg_ref("from ddg_ref.tools import files\nfrom ddg_ref import modules")


@pytest.mark.parametrize("option", fields(Config), ids=lambda option: option.name)
def test_every_option_is_explained(option):
    text = option.metadata["help"]
    assert text[0].isupper()
    assert text.endswith(".")


GAP = r"[\s#>*/|]+"
BROKEN_PROMISE = re.compile(rf"\b(?:go|goes|going|went|gone){GAP}back{GAP}on\b", re.IGNORECASE)
"""In English that is not to keep one's word; a module *runs backward* on a batch. A line may end in it."""
WRITTEN = sorted(
    path
    for kind in ("md", "py", "js", "html", "toml")
    for path in [*ROOT.glob(f"*.{kind}"), *(p for top in TEXTS for p in (ROOT / top).rglob(f"*.{kind}"))]
)


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_breaks_a_promise(path):
    assert BROKEN_PROMISE.findall(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "text", ["it go{} back on batch 3", "Go{}\n    back on it", "# go{}\n# back\n# on 3", "> go{} back\n> on"]
)
def test_a_broken_promise_is_found(text):
    assert BROKEN_PROMISE.search(text.format("es"))
    assert not BROKEN_PROMISE.search(text.format("es").replace("on", "one iteration later"))
