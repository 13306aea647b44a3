"""Write each source notebook from the text beside it: `python -m notebooks.exercises.build`.

The MyST text is what people edit and review; nbgrader reads notebooks. Both are kept, `check` compares them.
"""

import json
from pathlib import Path
from typing import Any

import jupytext

from notebooks import METADATA

HERE = Path(__file__).parent
ASSIGNMENTS = (
    "01_backward_of_a_layer",
    "02_the_delay_queue",
    "03_the_warm_up_rule",
    "04_the_drained_iterate",
    "05_a_loop_that_deadlocks",
    "06_test_an_inequality",
    "07_cut_points",
    "08_the_stale_weight_bug",
)


Notebook = dict[str, Any]


def text_of(name: str) -> Path:
    return HERE / "source" / name / f"{name}.md"


def notebook(text: Path) -> Notebook:
    """The notebook that a text stands for: no outputs, and cell ids that do not change from build to build."""
    found = jupytext.read(text)
    cells = []
    for number, cell in enumerate(found.cells):
        graded = cell.metadata.get("nbgrader", {})
        plain = {
            "cell_type": cell.cell_type,
            "id": graded.get("grade_id", f"cell-{number}"),
            "metadata": dict(cell.metadata),
            "source": cell.source.splitlines(keepends=True),
        }
        if cell.cell_type == "code":
            plain |= {"execution_count": None, "outputs": []}
        cells.append(plain)
    return {"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5}


def main() -> None:
    for name in ASSIGNMENTS:
        text = text_of(name)
        written = json.dumps(notebook(text), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
        text.with_suffix(".ipynb").write_text(written)


if __name__ == "__main__":
    main()
