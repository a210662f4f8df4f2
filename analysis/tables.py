"""Tables and their formats: terminal, Markdown, CSV, HTML, JSON and LaTeX, all from the same cells."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from rich import box
from rich.console import Console, JustifyMethod
from rich.measure import Measurement
from rich.table import Table as RichTable
from rich.text import Text

from wst.errors import InputError
from wst.screen import printable
from wst.suggest import hint

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["text", "percent", "difference", "number", "decimal", "p", "count", "seconds", "bytes"]
Format = Literal["terminal", "markdown", "latex", "csv", "html", "json"]


@dataclass(frozen=True)
class Estimate:
    """A mean and its standard deviation; the deviation is None where there is one sample."""

    mean: float
    deviation: float | None = None


@dataclass(frozen=True)
class Rounded:
    """A text with rounded numbers in it, and the same in full, as CSV and JSON have it."""

    shown: str
    full: str


Cell = str | float | int | bool | Estimate | Rounded | None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: heading, and the key of its cells.
        kind: how a cell is written; ``text`` is set to the left.
        best: True where the highest cell is shown in bold.
        section: True where a rule stands before it in the terminal's layout.
        over: what stands over this column and its neighbours in LaTeX.
        aside: True where LaTeX leaves it out unless it is asked for.
    """

    name: str
    kind: Kind = "text"
    best: bool = False
    section: bool = False
    over: str = ""
    aside: bool = False


@dataclass(frozen=True)
class Table:
    """Cells by column name, a row a dictionary.

    Attributes:
        unranked: indices of rows that are never the best, and do not compete for it.
        notes: lines to show under the table.
        keys: number of leading columns that name a row.
    """

    title: str
    columns: list[Column]
    rows: list[dict[str, Cell]]
    notes: list[str] = field(default_factory=list)
    unranked: frozenset[int] = frozenset()
    keys: int = 1

    def best(self, column: Column) -> frozenset[int]:
        """Indices of the rows that share a column's highest value; none where it is not ranked.

        What is shown as equal is equal.
        """
        return self._of_place(column, 0)

    def second(self, column: Column) -> frozenset[int]:
        """Indices of the rows that share the highest value below the best."""
        return self._of_place(column, 1)

    def _of_place(self, column: Column, place: int) -> frozenset[int]:
        values = {
            i: float(format(number, _SPEC[column.kind].replace(",", "")))
            for i, row in enumerate(self.rows)
            if column.best and i not in self.unranked and (number := mean(row[column.name])) is not None
        }
        highest = sorted(set(values.values()), reverse=True)[place : place + 1]
        return frozenset(i for i, value in values.items() if value in highest)


def mean(cell: Cell) -> float | None:
    """A cell's number; None for text and for what is missing."""
    if isinstance(cell, Estimate):
        return cell.mean
    return float(cell) if isinstance(cell, int | float) else None


_SPEC: dict[Kind, str] = {
    "percent": ".1f",
    "difference": "+.2f",
    "number": ".3g",
    "decimal": ".2f",
    "p": ".3f",
    "count": ",.0f",
    "seconds": ",.1f",
    "text": ".4g",
}


def text(cell: Cell, kind: Kind) -> str:
    """A cell in words: accuracies with one decimal, counts with separators, a dash for what is missing."""
    if cell is None:
        return "-"
    if isinstance(cell, Rounded):
        cell = cell.shown
    if isinstance(cell, str):
        return printable(cell)
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, Estimate):
        spread = "" if cell.deviation is None else f" ± {cell.deviation:.1f}"
        return text(cell.mean, kind) + spread
    if kind == "bytes":
        return f"{cell / 2**20:,.0f} MiB"
    if kind == "p" and cell < 0.001:
        return "< 0.001"
    return format(cell, _SPEC[kind])


def settings_in_words(settings: Mapping[str, Sequence[Any]]) -> Rounded:
    """Hyperparameters by name, each with its smallest and its largest value, or the one that it has.

    Numbers have three significant digits, and rates of learning an exponent: ``lr 1.00e-3``.
    """

    def words(value: Callable[[str, Any], str]) -> str:
        ends = {name: dict.fromkeys(value(name, end) for end in own) for name, own in settings.items()}
        return ", ".join(f"{name} {' to '.join(own)}" for name, own in ends.items())

    return Rounded(words(_rounded), words(lambda _, value: str(value).removesuffix(".0")))


def _rounded(name: str, value: Any) -> str:
    if not isinstance(value, float):
        return str(value)
    if "lr" not in name.split("_"):
        return f"{value:.3g}"
    digits, exponent = f"{value:.2e}".split("e")
    return f"{digits}e{int(exponent)}"


def terminal(table: Table, width: int) -> list[RichTable]:
    """The table as it stands, a row a row; where it is too wide, in parts that share the columns of its keys.

    Keys and numbers stay on one line; headings break between words, and other texts where they must.

    Args:
        table: what to draw.
        width: characters that there are.
    """
    # Without spaces an estimate stays on one line.
    cells = {c.name: [text(r[c.name], c.kind).replace(" ± ", "±") for r in table.rows] for c in table.columns}
    keys, others = table.columns[: table.keys], table.columns[table.keys :]
    full = {c.name: max(map(len, [c.name, *cells[c.name]])) for c in table.columns}
    least = {c.name: max(map(len, [*c.name.split(), *cells[c.name]]), default=0) for c in table.columns}
    least |= {c.name: min(least[c.name], _TEXT) for c in others if c.kind == "text"}
    beside_keys = width - sum(least[key.name] + _GAP for key in keys)
    parts: list[list[Column]] = [[]]
    for column in others:
        if parts[-1] and sum(least[c.name] + _GAP for c in [*parts[-1], column]) > beside_keys:
            parts.append([])
        parts[-1].append(column)
    drawn = []
    for place, part in enumerate(parts):
        widths = {column.name: least[column.name] for column in [*keys, *part]}
        room = beside_keys - sum(least[column.name] + _GAP for column in part)
        for name in widths:
            more = min(full[name] - widths[name], max(room, 0))
            widths[name] += more
            room -= more
        title = "" if place else table.title
        drawn.append(_drawn(replace(table, columns=[*keys, *part], title=title), cells, widths))
    return drawn


_TEXT = 20
"""Characters of a long text that stay on one line."""
_GAP = 2
"""Characters between two columns, and about a table."""


def _drawn(table: Table, cells: Mapping[str, Sequence[str]], widths: Mapping[str, int]) -> RichTable:
    drawn = RichTable(
        title=Text(table.title) if table.title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for column in table.columns:
        side: JustifyMethod = "left" if column.kind == "text" else "right"
        drawn.add_column(Text(column.name), justify=side, width=widths[column.name], overflow="fold")
    bold = {column.name: table.best(column) for column in table.columns}
    for i in range(len(table.rows)):
        drawn.add_row(*(Text(cells[c.name][i], "bold" if i in bold[c.name] else "") for c in table.columns))
    return drawn


def of_columns(table: Table, names: Sequence[str]) -> Table:
    """The table with these columns alone, in this order.

    Raises:
        InputError: it has no such column.
    """
    known = {column.name: column for column in table.columns}
    names = list(dict.fromkeys(name.strip() for name in names))
    for name in names:
        if name not in known:
            raise InputError(
                f"--columns: expected some of {', '.join(known)}; found {name!r}{hint(name, known)}"
            )
    keys = [column.name for column in table.columns[: table.keys]]
    leading = next((place for place, name in enumerate(names) if name not in keys), len(names))
    chosen = [replace(known[name], aside=False) for name in names]
    return replace(table, columns=chosen, keys=max(leading, 1))


def narrowest(drawn: RichTable, console: Console) -> int:
    """Characters of width without which a table loses words."""
    return Measurement.get(console, console.options.update(max_width=10_000), drawn).minimum


def transposed(table: Table) -> RichTable:
    """The table on its side: its first column becomes the headings, for many columns and few rows."""
    drawn = RichTable(title=Text(table.title), title_justify="left", box=box.SIMPLE_HEAD)
    first, *others = table.columns
    drawn.add_column("", no_wrap=True)
    for row in table.rows:
        drawn.add_column(Text(text(row[first.name], first.kind)), justify="right")
    for column in others:
        bold = table.best(column)
        if column.section:
            drawn.add_section()
        # Without spaces an estimate stays on one line however narrow the terminal is.
        cells = [text(row[column.name], column.kind).replace(" ± ", "±") for row in table.rows]
        drawn.add_row(
            Text(column.name), *(Text(cell, "bold" if i in bold else "") for i, cell in enumerate(cells))
        )
    return drawn


def markdown(table: Table) -> str:
    """GitHub's Markdown, notes below."""

    def escape(words: str) -> str:
        return html.escape(words, quote=False).replace("|", "\\|")

    lines = [
        "| " + " | ".join(escape(column.name) for column in table.columns) + " |",
        "|" + "|".join(" --- " if column.kind == "text" else " ---: " for column in table.columns) + "|",
    ]
    bold = {column.name: table.best(column) for column in table.columns}
    for i, row in enumerate(table.rows):
        cells = [escape(text(row[c.name], c.kind)) for c in table.columns]
        marked = [f"**{w}**" if i in bold[c.name] else w for w, c in zip(cells, table.columns, strict=True)]
        lines.append("| " + " | ".join(marked) + " |")
    return "\n".join([*lines, "", *(f"- {escape(printable(note))}" for note in table.notes)]).rstrip()


def flat_rows(table: Table) -> list[dict[str, Any]]:
    """Rows at full precision; an estimate's deviation goes into a column of its own, ``<name> std``."""
    spread = {c.name for c in table.columns if any(isinstance(r[c.name], Estimate) for r in table.rows)}
    rows = []
    for row in table.rows:
        flat: dict[str, Any] = {}
        for column in table.columns:
            cell = row[column.name]
            flat[column.name] = cell
            if isinstance(cell, Estimate):
                flat[column.name] = cell.mean
            elif isinstance(cell, Rounded):
                flat[column.name] = cell.full
            if column.name in spread:
                flat[f"{column.name} std"] = cell.deviation if isinstance(cell, Estimate) else None
        rows.append(flat)
    return rows


def as_frame(table: Table) -> pd.DataFrame:
    """Rows at full precision as a data frame, its numbers as floats; title and notes are in its ``attrs``."""
    import pandas as pd  # which the command line, that imports this first of all, need not wait for

    rows = flat_rows(table)
    frame = pd.DataFrame(rows, columns=list(rows[0]) if rows else [column.name for column in table.columns])
    numbers = {column.name for column in table.columns if column.kind != "text"}
    frame = frame.astype({name: float for name in frame if str(name).removesuffix(" std") in numbers})
    frame.attrs = {"title": table.title, "notes": table.notes}
    return frame


def comma_separated(table: Table) -> str:
    """CSV at full precision; what is missing is empty."""
    rows = flat_rows(table)
    out = io.StringIO()
    names = list(rows[0]) if rows else [column.name for column in table.columns]
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({n: printable(c) if isinstance(c, str) else c for n, c in row.items()} for row in rows)
    return out.getvalue().rstrip("\n")


def html_table(table: Table, caption: str | None = None) -> str:
    """A ``<table>`` with its notes; every text in it is escaped.

    Cells carry their number in ``data-value``, so that a page can sort by it.
    """
    bold = {column.name: table.best(column) for column in table.columns}
    lines = ["<table>", f"<caption>{html.escape(table.title if caption is None else caption)}</caption>"]
    lines.append("<thead><tr>")
    lines += [
        f'<th scope="col" class="{"text" if c.kind == "text" else "number"}">{html.escape(c.name)}</th>'
        for c in table.columns
    ]
    lines.append("</tr></thead>\n<tbody>")
    for i, row in enumerate(table.rows):
        cells = []
        for position, column in enumerate(table.columns):
            cell, number = row[column.name], mean(row[column.name])
            words = html.escape(text(cell, column.kind))
            if i in bold[column.name]:
                words = f"<strong>{words}</strong>"
            value = "" if number is None else f' data-value="{number!r}"'
            tag = 'th scope="row"' if position == 0 else "td"
            side = "text" if column.kind == "text" else "number"
            if len(words) > 30:
                side += " long"
            cells.append(f'<{tag} class="{side}"{value}>{words}</{tag.split()[0]}>')
        lines.append("<tr>" + "".join(cells) + "</tr>")
    lines.append("</tbody>\n</table>")
    if table.notes:
        lines += ["<ul>", *(f"<li>{html.escape(note)}</li>" for note in table.notes), "</ul>"]
    return "\n".join(lines)


def as_json(table: Table, **more: Any) -> str:
    """Rows at full precision, with title and notes, as JSON."""
    return json.dumps(
        {"title": table.title, "notes": table.notes, **more, "rows": flat_rows(table)}, indent=1
    )


_WRITERS: Mapping[str, Callable[[Table], str]] = {
    "markdown": markdown,
    "csv": comma_separated,
    "html": html_table,
    "json": as_json,
}


def show(table: Table, style: Format, console: Console, caption: str = "", label: str = "") -> None:
    """Print a table: drawn on the console, or as plain text in one of the other formats.

    Args:
        table: what to print.
        style: the format.
        console: where.
        caption, label: of LaTeX.
    """
    from analysis.latex import latex  # which is made of what is above

    if style == "terminal":
        for part in terminal(table, console.width):
            console.print(part)
        for note in table.notes:
            console.print(Text(printable(note)))
    elif style == "latex":
        print(latex(table, caption, label), file=console.file)
    else:
        print(_WRITERS[style](table), file=console.file)
