"""The command line without a process of its own."""

import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest

from ddg_ref.cli.main import run_app

ROOT = Path(__file__).parents[1]


def in_process(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """The command in this process, which is ten times faster than in one of its own."""
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(cwd)
        patch.setattr(sys, "argv", ["ddg", *map(str, arguments)])
        code, message = run_app()
    done = subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue() + message)
    assert "Traceback" not in done.stderr, done.stderr
    return done
