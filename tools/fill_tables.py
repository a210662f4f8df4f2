"""Run the commands above the documents' tables, and put what they print in the tables' places.

    python -m tools.fill_tables README.md docs/field.md     # in the root of the repository

A command stands in a block of its own with the language ``bash``, is a ``wst`` command and has
``--format markdown``; what it prints replaces the table that follows the block.  A test runs the same and
finds nothing to replace.  A ``wst pareto`` command draws its picture besides.
"""

from __future__ import annotations

import argparse
import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from wst.cli.analysis import analysis_app

_PLACE = re.compile(r"(```bash\n)(wst [^\n]*--format markdown[^\n]*)(\n```\n+)((?:\|[^\n]*\n)*)")


def filled(text: str) -> str:
    """A document with each table as its command prints it."""

    def place(found: re.Match[str]) -> str:
        block = found[1] + found[2] + found[3].rstrip()
        return f"{block}\n\n{_table(found[2])}" + ("" if found[4] else "\n")

    return _PLACE.sub(place, text)


def commands(text: str) -> list[str]:
    """The commands whose tables a document has."""
    return [found[2] for found in _PLACE.finditer(text)]


def _table(command: str) -> str:
    arguments = shlex.split(command, comments=True)[1:]
    result = CliRunner().invoke(analysis_app, arguments)
    if result.exception is not None:
        raise result.exception
    return "".join(f"{line}\n" for line in result.output.splitlines() if line.startswith("|"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("documents", type=Path, nargs="+")
    for document in parser.parse_args().documents:
        document.write_text(filled(document.read_text()))


if __name__ == "__main__":
    main()
