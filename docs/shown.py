"""`python -m docs.shown`: writes into the documents what the commands shown in them print.

A command that only looks is an indented line; the block of ```text after it is its output without the last line: that
of `schedule show`, the proof that nobody waits for ever, is as long as a paragraph.
"""

import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from ddg_ref.cli.main import app

ROOT = Path(__file__).parents[1]
SHOWN = re.compile(r"(?<=^    python -m ddg_ref )(schedule show .*)\n\n```text\n((?:.*\n)*?)```\n", re.MULTILINE)


def printed(command: str) -> str:
    """What the command prints, without the spaces at the ends of lines."""
    result = CliRunner().invoke(app, shlex.split(command), catch_exceptions=False)
    return "".join(f"{line.rstrip()}\n" for line in result.stdout.splitlines()[:-1])


def documents() -> list[Path]:
    """Those in which commands are shown."""
    return [ROOT / "README.md", *sorted((ROOT / "book").rglob("*.md"))]


def main() -> None:
    for path in documents():
        text = path.read_text(encoding="utf-8")
        text = SHOWN.sub(lambda found: f"{found[1]}\n\n```text\n{printed(found[1])}```\n", text)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
