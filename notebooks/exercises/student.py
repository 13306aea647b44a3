"""What a student gets: an exercise without solutions and hidden tests, as nbgrader hands it out."""

import re

from notebooks.exercises.build import Notebook

SOLUTION = re.compile(r"^( *)### BEGIN SOLUTION\n.*?^ *### END SOLUTION *$", re.DOTALL | re.MULTILINE)
HIDDEN = re.compile(r"^### BEGIN HIDDEN TESTS\n.*?^### END HIDDEN TESTS *$\n?", re.DOTALL | re.MULTILINE)


def student_version(source: Notebook) -> Notebook:
    """The whole notebook."""
    cells = []
    for cell in source["cells"]:
        text = shown("".join(cell["source"])).rstrip()
        cells.append(cell | {"source": text.splitlines(keepends=True), "metadata": {}})
    return source | {"cells": cells}


def shown(source: str) -> str:
    """One cell, with `raise NotImplementedError()` where a solution stood."""
    return HIDDEN.sub("", SOLUTION.sub(r"\1# YOUR CODE HERE\n\1raise NotImplementedError()", source))
