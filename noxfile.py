"""`nox`: the core tests under every Python from 3.11 on that is installed, with and without the interpreter lock."""

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
    """What the library itself needs, and what its tests need besides."""
    session.install(
        "-r", "requirements.txt", "pytest", "pytest-timeout", "pytest-xdist", "psutil", "-c", "constraints.txt"
    )
    session.run("python", "-m", "pytest", "-n", "2", "-m", "not slow", *CORE, *session.posargs)
