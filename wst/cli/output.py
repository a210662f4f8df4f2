"""What the verbs share: the one console, JSON, the formats of a table, common options."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis import tables
from analysis.latex import check_label
from analysis.tables import Format
from wst.cli import completion
from wst.errors import InputError
from wst.screen import printable

# A pipe or a file has no width of its own, and lines may be longer there than on the narrowest terminal.
# Texts of users are no markup.
_on_terminal = sys.stdout is not None and sys.stdout.isatty()
console = Console(width=None if _on_terminal or "COLUMNS" in os.environ else 120, markup=False, emoji=False)
error_console = Console(stderr=True, markup=False, emoji=False)
"""For progress, so that stdout holds the result alone."""


class Style(StrEnum):
    """Formats of a table."""

    terminal = "terminal"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"
    html = "html"
    json = "json"


def as_path(given: str | Path) -> Path:
    """A path as an option gives it: not empty, which Python takes for the current folder, and UTF-8, which
    tables and messages hold.

    Raises:
        typer.BadParameter: it is not.
    """
    if not str(given):
        raise typer.BadParameter("expected a path; found ''")
    try:
        str(given).encode()
    except UnicodeEncodeError:
        raise typer.BadParameter(f"expected a path in UTF-8; found {given!s}") from None
    return Path(given)


def as_file(given: str | Path) -> Path:
    """A file's path as an option gives it: as :func:`as_path`, and with a name.

    Raises:
        typer.BadParameter: it is not.
    """
    found = as_path(given)
    if not found.name:
        raise typer.BadParameter(f"expected the path of a file; found {str(given)!r}")
    return found


def as_text(given: str) -> str:
    """A text as an option gives it: not empty.

    Raises:
        typer.BadParameter: it is.
    """
    if not given:
        raise typer.BadParameter("expected a text; found ''")
    return given


@dataclass(frozen=True)
class Form:
    """How a verb prints its table: the format, and of LaTeX the caption and the label."""

    style: Format
    caption: str = ""
    label: str = ""

    def show(self, table: tables.Table, console: Console) -> None:
        """Print a table so."""
        tables.show(table, self.style, console, self.caption, self.label)


def form_of(style: Style, as_json: bool, caption: str | None, label: str | None) -> Form:
    """The form that the options of a verb ask for.

    Raises:
        InputError: a caption or a label without LaTeX, or a label that LaTeX does not take.
    """
    found: Format = "json" if as_json else style.value
    for option, given in (("--caption", caption), ("--label", label)):
        if given is not None and found != "latex":
            raise InputError(f"{option}: expected --format latex beside it; found {found}")
    if label is not None:
        check_label(label)
    return Form(found, caption or "", label or "")


Force = Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Formatted = Annotated[Style, typer.Option("--format", help="How to print the table.")]
Caption = Annotated[
    str | None, typer.Option(parser=as_text, help="Caption of the LaTeX table, as plain text.")
]
Label = Annotated[str | None, typer.Option(parser=as_text, help="Label of the LaTeX table.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", parser=as_path, help="A study's output folder.")]
Root = Annotated[str | None, typer.Option(parser=as_text, help="Folder that holds the suite's folder.")]
Tasks = Annotated[
    list[str] | None,
    typer.Option(
        "--task", parser=as_text, help="This task only; may be given again.", autocompletion=completion.tasks
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the study.")
]


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, indent=1))


def print_line(text: str, to: Console = console) -> None:
    """Print a line as it is: unbroken, so that a path in it can be copied, and without colours."""
    to.print(Text(printable(text)), highlight=False, soft_wrap=True)


def narrow_table(*columns: str) -> Table:
    """A table narrow enough for 80 columns."""
    return Table(*columns, box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)


def add_row(table: Table, *cells: str) -> None:
    """Add a row of texts, each shown as it is."""
    table.add_row(*(Text(printable(cell)) for cell in cells))
