"""`nox`: the core tests under every Python from 3.11 on that is installed, with and without the interpreter lock."""

from pathlib import Path

import nox

nox.options.error_on_missing_interpreters = False
nox.options.reuse_existing_virtualenvs = True

CORE = [
    f"tests/test_{name}.py"
    for name in (
        *("layers", "optimizers", "channel", "schedules", "methods", "engines", "faults", "failures"),
        *("checkpoints", "training", "simulation", "splitting", "free_threading"),
    )
]


@nox.session(python=["3.11", "3.12", "3.13", "3.14", "3.13t", "3.14t"])
def core(session: nox.Session) -> None:
    """What the library itself needs, and what its tests need besides.

    Packages no longer have wheels for 3.13t: it gets older versions, of Typer the last without pydantic. What Jupyter
    needs, and safetensors, never had any: it does without, and the tests that need files of tensors are skipped.
    """
    experimental = session.python == "3.13t"
    lines = [line.partition("#")[0].strip() for line in Path("requirements.txt").read_text().splitlines()]
    needed = [line for line in lines if line and not (experimental and line.startswith(("jupyter", "safetensors")))]
    pinned = ["typer<0.28", "--prefer-binary"] if experimental else ["-c", "constraints.txt"]
    session.install(*needed, "pytest", "pytest-timeout", "pytest-xdist", "psutil", *pinned)
    session.run("python", "-m", "pytest", "-n", "2", "-m", "not slow", *CORE, *session.posargs)
