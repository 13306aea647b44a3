"""Read by nbgrader when it runs in this folder."""

import os
import sys
from pathlib import Path

c = get_config()  # noqa: F821 - traitlets provides it
c.CourseDirectory.course_id = "ddg"
c.CourseDirectory.ignore = [".ipynb_checkpoints", "__pycache__", "*.md"]  # the texts hold the solutions
c.Execute.timeout = 60  # seconds per cell: a cell that never ends is interrupted, and the next ones are graded
# Kernels inherit the environment: this is how notebooks find ddg_ref, theory and grading.py.
os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
# nbgrader calls alembic, which is installed beside it.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
