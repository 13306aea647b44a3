"""Read by nbgrader when it runs in this folder."""

import os
import sys
from pathlib import Path

from nbconvert.preprocessors import ClearMetadataPreprocessor
from nbgrader import preprocessors as steps

ROOT = str(Path(__file__).resolve().parents[2])
sys.path.insert(0, ROOT)

from notebooks.exercises.contain import Contain, Restore, accept  # noqa: E402 - found through ROOT

c = get_config()  # noqa: F821 - traitlets provides it
c.CourseDirectory.course_id = "ddg"
c.CourseDirectory.ignore = [".ipynb_checkpoints", "__pycache__", "*.md"]  # the texts hold the solutions

# nbgrader's own steps, with Restore added, and Contain in place of Execute.
c.Autograde.pre_convert_hook = accept
c.Autograde.sanitize_preprocessors = [
    steps.ClearOutput,
    steps.DeduplicateIds,
    Restore,
    steps.OverwriteKernelspec,
    steps.OverwriteCells,
    steps.CheckCellMetadata,
]
c.Autograde.autograde_preprocessors = [
    Contain,
    steps.IgnorePattern,
    ClearMetadataPreprocessor,
    steps.LimitOutput,
    steps.SaveAutoGrades,
    steps.AssignLatePenalties,
    steps.CheckCellMetadata,
]
c.Contain.timeout = 60  # seconds per cell
c.Contain.shutdown_kernel = "immediate"  # together with all processes that it has started
c.Contain.extra_arguments = ["--IPKernelApp.extensions=notebooks.exercises.kernel"]

# Kernels inherit the environment: this is how notebooks find ddg_ref, theory and grading.py.
os.environ["PYTHONPATH"] = ROOT
# nbgrader calls alembic, which is installed beside it.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
