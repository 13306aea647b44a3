"""The book: lessons, theory and reference as web pages that need no network. `make book` builds it into build/book.

The source folder is the root of the project, so that links between files work in the book as they do in the project.
"""

import re
import sys
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

project = "Decoupled delayed gradients"
html_title = "ddg_ref"
copyright = "the authors of ddg_ref, MIT licence"
root_doc = "book/index"
include_patterns = [
    "book/*.md",
    "book/*/*.md",
    "book/exercises/*.ipynb",
    "notebooks/[0-9][0-9]_*.ipynb",
    "notebooks/exercises/README.md",
    "theory/*.md",
    "benchmarks/results/*/[!t]*.md",  # the table of trainers stands in a page
]
exclude_patterns = [".*", "build", "runs", "tests", "**/.ipynb_checkpoints"]
suppress_warnings = [
    "ref.python",  # several classes are called Run, and a quoted annotation does not say which
    "myst.header",  # a result is also a section of the report
]

extensions = [
    *("myst_nb", "sphinx_copybutton", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.viewcode"),
    "book.pages",
    "book.explorer",
]
copybutton_selector = "div.cell_input pre, div.highlight-python pre, div.highlight-default pre"
myst_enable_extensions = ["dollarmath", "amsmath", "deflist"]
myst_heading_anchors = 3
numfig = True
nb_execution_mode = "off"  # outputs are those of the notebooks, which `make lessons` checks
nb_ipywidgets_js = {}  # no kernel, no widgets: nothing to fetch for them

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
default_role = "code"

html_theme = "furo"
html_favicon = "favicon.svg"
html_extra_path = ["extra"]
html_static_path = ["style.css", "explorer.js", "explorer.css"]
html_css_files = ["style.css"]
html_copy_source = False
html_show_sphinx = False

# MathJax in one file that fetches no other: output as SVG needs no fonts.
mathjax_folder = Path(find_spec("sphinx-mathjax-offline").origin).parent / "static" / "mathjax"
html_static_path.append(str(mathjax_folder / "tex-svg.js"))
mathjax_path = "tex-svg.js"


def as_restructured_text(app, what, name, obj, options, lines):
    """Docstrings are plain text with `code` and *stress*: nothing else in them is markup."""
    paragraphs = "\n".join(lines).strip("\n").split("\n\n")
    lines[:] = [*"\n\n".join(map(_paragraph, paragraphs)).split("\n"), ""]


def _paragraph(text):
    rows = text.split("\n")
    if all(row.startswith("    ") for row in rows):
        return ".. code-block:: python\n\n" + text
    if any(re.search(r"\S {3,}\S", row) for row in rows):  # columns
        return ".. code-block:: text\n\n" + "\n".join(f"    {row}" for row in rows)
    pieces = re.split(r"(`[^`]+`|(?<![\w*])\*\w[\w ]*\*(?![\w*]))", "\n".join(row.strip() for row in rows))
    return "".join(piece if i % 2 else re.sub(r"([\\*|_`])", r"\\\1", piece) for i, piece in enumerate(pieces))


def with_options(app, what, name, obj, options, lines):
    """Config's options, which explain themselves in their metadata, as a table."""
    if name == "ddg_ref.Config":
        rows = [(f.name, repr(f.default), f.metadata["help"]) for f in fields(obj)]
        lines += [".. list-table::", "   :header-rows: 1", "   :widths: 20 15 65", ""]
        lines += ["   * - option", "     - default", "     - meaning"]
        for option, default, text in rows:
            lines += [f"   * - ``{option}``", f"     - ``{default}``", f"     - {_paragraph(text)}"]
        lines.append("")


ALIASES = {
    "~numpy.ndarray[tuple[~typing.Any, ...], ~numpy.dtype[~typing.Any]]": "Array",
    "dict[str, Array]": "Params",
    "tuple[int, ...]": "Shape",
}


def with_aliases(app, what, name, obj, options, signature, returns):
    """The library's own names for types, as in its source."""
    for long, short in ALIASES.items():
        signature, returns = signature and signature.replace(long, short), returns and returns.replace(long, short)
    return signature, returns


def setup(app):
    app.connect("autodoc-process-docstring", as_restructured_text, priority=100)
    app.connect("autodoc-process-docstring", with_options)
    app.connect("autodoc-process-signature", with_aliases)
