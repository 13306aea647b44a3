"""Pages of the book that are made when it is built: the exercises as students get them, and how to run a lesson.

The address of a repository is nobody's but its owner's: `DDG_REF_REPOSITORY=owner/name make book` gives each lesson a
button for Binder and one for Colab; without it, there is the notebook itself to download.
"""

import html
import json
import os
import re
from pathlib import Path
from typing import Any

import imagesize
from docutils import nodes

from notebooks.exercises.build import ASSIGNMENTS, notebook, text_of
from notebooks.exercises.student import student_version

ROOT = Path(__file__).parents[1]
EXERCISES = ROOT / "book" / "exercises"
LESSON = r"notebooks/\d\d_\w+"


def write_exercises(folder: Path = EXERCISES) -> None:
    """All exercises; a page that is the same stays as it is, so that it is not built again."""
    folder.mkdir(exist_ok=True)
    for name in ASSIGNMENTS:
        text = json.dumps(student_version(notebook(text_of(name))), indent=1, ensure_ascii=False, sort_keys=True)
        path = folder / f"{name}.ipynb"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def ways_to_run(page: str, depth: int, repository: str | None) -> str:
    """Links above a lesson: in a browser, if the repository is known, and the file."""
    file = f"{page}.ipynb"
    links = []
    if repository:
        owner = html.escape(repository, quote=True)
        links += [
            f'<a href="https://mybinder.org/v2/gh/{owner}/HEAD?labpath={file}">Run on Binder</a>',
            f'<a href="https://colab.research.google.com/github/{owner}/blob/HEAD/{file}">Open in Colab</a>',
        ]
    links.append(f'<a href="{"../" * depth}_downloads/{file}" download>Download the notebook</a>')
    return f'<p class="launch">{" ".join(links)}</p>'


SHOWN = 0.66
"""Pixels of a page per pixel of a lesson's figure: the widest is as wide as the text, and letters have one size."""


def scale_figures(app: Any, doctree: nodes.document) -> None:
    """Show all figures of a lesson at one scale."""
    if re.fullmatch(LESSON, app.env.docname):
        for image in doctree.findall(nodes.image):
            width, _ = imagesize.get(Path(app.srcdir) / image["uri"])
            image["width"] = f"{SHOWN * width:.0f}px"


def with_launch_buttons(app: Any, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Puts them above the text of each lesson."""
    if re.fullmatch(LESSON, page):
        context["body"] = ways_to_run(page, page.count("/"), os.environ.get("DDG_REF_REPOSITORY")) + context["body"]


def copy_notebooks(app: Any, problem: Exception | None) -> None:
    """The lessons themselves, beside their pages."""
    if problem is None and app.builder.name == "html":
        for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb")):
            target = Path(app.outdir) / "_downloads" / "notebooks" / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())


def setup(app: Any) -> dict[str, bool]:
    """As Sphinx loads an extension."""
    app.connect("builder-inited", lambda app: write_exercises())
    app.connect("doctree-read", scale_figures)
    app.connect("html-page-context", with_launch_buttons)
    app.connect("build-finished", copy_notebooks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
