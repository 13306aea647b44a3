"""The wheel, as it is installed: built from the source distribution, in an environment and a folder of its own.

The environment has this one's other packages, so that nothing is fetched.
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("ddg_ref", "theory")
SOURCES = (*PACKAGES, "pyproject.toml", "README.md", "LICENSE", "requirements.txt")
CACHES = shutil.ignore_patterns("__pycache__", ".*")
DATA = {"ddg_ref/py.typed", "theory/py.typed", "theory/PROOFS.md", "theory/certificates.json"}
IMPORT_ALL = """
import importlib, pkgutil, sys
for package in sys.argv[1:]:
    whole = importlib.import_module(package)
    print(whole.__file__)
    for module in pkgutil.walk_packages(whole.__path__, f"{package}."):
        importlib.import_module(module.name)
        print(module.name)
"""


def run(*command, cwd, path=""):
    """What the command says, with Python's path as given."""
    env = os.environ | {"PYTHONPATH": str(path)}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source, kind, out):
    """What `kind`, "sdist" or "wheel", makes of the sources."""
    code = f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])"
    run(sys.executable, "-c", code, out, cwd=source, path=os.environ.get("PYTHONPATH", ""))
    (made,) = out.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The source distribution, and the wheel that is made from that."""
    folder = tmp_path_factory.mktemp("made")
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=CACHES)
        else:
            shutil.copy(ROOT / name, checkout)
    sdist = build(checkout, "sdist", folder)
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return sdist, build(unpacked, "wheel", folder)


@pytest.fixture(scope="module")
def python(made, tmp_path_factory):
    """The interpreter of an environment that has the wheel."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    site = site_of(python)
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        site,
        made[1],
        cwd=place,
    )
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def site_of(python):
    """Where packages of the environment lie."""
    return Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=python.parent).strip())


def modules():
    """The files of both packages that have code."""
    return {str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")}


def test_all_of_both_packages_is_in_it_and_nothing_else(made):
    sdist, wheel = made
    with ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == modules() | DATA
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= modules() | DATA | {"pyproject.toml", "README.md", "LICENSE", "requirements.txt"}


def test_every_module_is_imported_from_it(python, tmp_path):
    """By this environment's interpreter, which knows where its MPI library is."""
    site = site_of(python)
    lines = run(sys.executable, "-W", "error", "-c", IMPORT_ALL, *PACKAGES, cwd=tmp_path, path=site).splitlines()
    files = [line for line in lines if line.endswith(".py")]
    assert files == [str(site / package / "__init__.py") for package in PACKAGES]
    names = {name.removesuffix(".py").replace("/", ".").removesuffix(".__init__") for name in modules()}
    assert {line for line in lines if not line.endswith(".py")} | set(PACKAGES) == names


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("ddg_ref train --data digits --model mlp --epochs 1 --out run", "written to run"),
        ("theory claims", "PROOFS.md section 1"),
        ("theory verify --examples 5 --claims distance", "holds"),
    ],
    ids=lambda text: text.partition(" --")[0],
)
def test_commands_run_outside_the_checkout(command, says, python, tmp_path):
    assert says in run(python, "-m", *command.split(), cwd=tmp_path)


def test_types_are_seen(python, tmp_path):
    (tmp_path / "program.py").write_text("import ddg_ref.layers\nimport theory.bounds\n")
    options = ("--strict", "--follow-imports", "skip", "--cache-dir", tmp_path / "cache")
    run(sys.executable, "-m", "mypy", *options, "--python-executable", python, "program.py", cwd=tmp_path)


def test_the_files_that_messages_name_are_in_it(made):
    """A document of ours, or a list of requirements, is beside the code that names it."""
    with ZipFile(made[1]) as archive:
        names = archive.namelist()
        for name in names:
            if name.endswith(".py"):
                for node in ast.walk(ast.parse(archive.read(name))):
                    text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
                    for cited in re.findall(r"[A-Z]+\.md|requirements[-\w]*\.txt", text):
                        assert f"{name.partition('/')[0]}/{cited}" in names, f"{name} names {cited}"
