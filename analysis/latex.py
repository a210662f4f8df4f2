"""Tables for papers: LaTeX that compiles as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby

from analysis.tables import Cell, Column, Estimate, Rounded, Table, text
from wst.errors import InputError
from wst.screen import printable

MEAN = "mean"
"""What stands over columns of averages: of a wide table these alone show deviations."""
_WIDE = 10
"""Columns from which on headings stand upright."""
_NARROW = 6
"""Columns that fit into one column of a page of two."""
_LEGEND = ("†", "(in brackets)")
"""How notes begin that say what a sign in the table means: they stand below it."""
_TASKS = {
    "cifar_100": "CIFAR-100",
    "caltech101": "Caltech101",
    "dtd": "DTD",
    "flowers102": "Flowers102",
    "pets": "Pets",
    "svhn": "SVHN",
    "sun397": "Sun397",
    "patch_camelyon": "Camelyon",
    "eurosat": "EuroSAT",
    "resisc45": "Resisc45",
    "diabetic_retinopathy": "Retinopathy",
    "clevr_count": "Clevr-Count",
    "clevr_dist": "Clevr-Dist",
    "dmlab": "DMLab",
    "kitti": "KITTI-Dist",
    "dsprites_loc": "dSpr-Loc",
    "dsprites_ori": "dSpr-Ori",
    "smallnorb_azi": "sNORB-Azim",
    "smallnorb_ele": "sNORB-Elev",
    "digits": "Digits",
    "emoji_group": "Emoji-Group",
    "sprite_loc": "Sprite-Loc",
    "sprite_ori": "Sprite-Ori",
    "sprite_count": "Sprite-Count",
}
"""Tasks of the suites that come with wst, as papers write them."""
_SIGNS = {c: f"\\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "`": "{`}",
    '"': "{''}",
    "|": "$|$",
    "<": "$<$",
    ">": "$>$",
    "[": "{[}",  # and not an option of what stands before it, as * is
    "*": "{*}",
    "±": r"$\pm$",
    "†": r"$^\dagger$",
    "\u00a0": "~",
    "\u00d7": r"$\times$",
    "\u2013": "--",
    "\u2014": "---",
    "\u2018": "`",
    "\u2019": "'",
    "\u201c": "``",
    "\u201d": "''",
    "\u2026": r"\ldots{}",
}
_LETTERS = re.compile("[À-ÏÑ-ÖØ-ÝßŒœŸŠšŽž]", re.IGNORECASE)
"""Those that pdfTeX knows in its usual encoding."""
_SIGNED = re.compile(r"(\(?)([+-])(\d[\d.,]*\)?)")


def latex(table: Table, caption: str = "", label: str = "") -> str:
    """A ``tabular`` for the package booktabs; in a ``table`` of its own where it has a caption or a label.

    The best of a column is bold and the second underlined.  With graphicx loaded, what is wider than a line
    shrinks to it, and the headings of many columns stand upright.  Notes are comments, but for those that
    say what a sign means.

    Args:
        table: what to write.
        caption: plain text; what TeX would obey is escaped.
        label: as :func:`check_label` has it.
    """
    columns = [column for column in table.columns if not column.aside]
    wide = len(columns) >= _WIDE
    rows = zip(*(_cells(table, column, wide) for column in columns), strict=True)
    body = [
        r"\begin{tabular}{@{}" + "".join("l" if c.kind == "text" else "r" for c in columns) + "@{}}",
        r"\toprule",
        *_over(columns),
        " & ".join(_heading(column, wide) for column in columns) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    own = caption or label
    kind = "table*" if len(columns) > _NARROW else "table"
    legend = [escape(note) for note in table.notes if note.startswith(_LEGEND)]
    return "\n".join(
        [
            r"% \usepackage{booktabs}, and \usepackage{graphicx} for tables that are wider than a line",
            *(f"% {printable(note)}" for note in table.notes),
            *([rf"\begin{{{kind}}}", r"\centering"] if own else [r"\begingroup\noindent"]),
            *([rf"\caption{{{escape(caption)}}}"] if caption else []),
            *([rf"\label{{{label}}}"] if label else []),
            *([r"\smallskip"] if caption else []),
            r"\providecommand{\rotatebox}[2]{#2}\providecommand{\resizebox}[3]{#3}%",
            *([r"\setlength{\tabcolsep}{3pt}%"] if wide else []),
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            *body[:-1],
            body[-1] + "}",
            *(rf"\par\smallskip{{\footnotesize {line}\par}}" for line in legend),
            rf"\end{{{kind}}}" if own else r"\endgroup",
        ]
    )


def check_label(label: str) -> None:
    """Refuse what LaTeX does not take for a label.

    Raises:
        InputError: there are other signs in it than letters, digits and ``:._/+-``.
    """
    if not re.fullmatch(r"[A-Za-z0-9:._/+-]+", label):
        raise InputError(f"--label: expected letters, digits and any of :._/+-; found {label!r}")


def escape(words: str) -> str:
    """A text as LaTeX shows it: what TeX would obey, or does not know, is written out."""
    return "".join(map(_sign, re.sub("-(?=-)", "-\0", printable(words))))


def _sign(sign: str) -> str:
    if sign == "\0":
        return "{}"
    if sign in _SIGNS or sign.isascii() or _LETTERS.fullmatch(sign):
        return _SIGNS.get(sign, sign)
    return rf"\texttt{{U+{ord(sign):04X}}}"


def _over(columns: Sequence[Column]) -> list[str]:
    """A row of what stands over several columns, and the rules below it; none where nothing does."""
    cells, rules, place = [], [], 1
    for over, part in groupby(columns, key=lambda column: column.over):
        number = len(list(part))
        words = f"{escape(_capital(over))}" if over else ""
        cells.append(rf"\multicolumn{{{number}}}{{c}}{{{words}}}")
        rules += [rf"\cmidrule(lr){{{place}-{place + number - 1}}}"] if over else []
        place += number
    return [" & ".join(cells) + r" \\", " ".join(rules)] if rules else []


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:] if words[1:2].islower() else words


def _heading(column: Column, wide: bool) -> str:
    name = column.name.removeprefix("mean of ") if column.over == MEAN else column.name
    words = escape(_TASKS.get(name, _capital(name)))
    if column.kind == "text":
        return words
    words = rf"\rotatebox{{90}}{{{words}}}" if wide else words
    return rf"\multicolumn{{1}}{{c}}{{{words}}}"


def _cells(table: Table, column: Column, wide: bool) -> list[str]:
    """A column's cells, with equal room for deviations in all of them."""
    cells = [row[column.name] for row in table.rows]
    best, second = table.best(column), table.second(column)
    deviations = [""] * len(cells)
    if not wide or column.over == MEAN:
        deviations = [_deviation(cell) for cell in cells]
    room = max(map(len, deviations), default=0)
    found = []
    for place, (cell, deviation) in enumerate(zip(cells, deviations, strict=True)):
        words = _words(cell.mean if isinstance(cell, Estimate) else cell, column)
        words = rf"\textbf{{{words}}}" if place in best else words
        words = rf"\underline{{{words}}}" if place in second else words
        if deviation:
            padding = r"\phantom{0}" * (room - len(deviation))
            words += rf" {{\scriptsize$\pm${padding}{deviation}}}"
        elif room and isinstance(cell, Estimate):
            words += rf" \phantom{{\scriptsize$\pm${'0' * (room - 2)}.0}}"
        found.append(words)
    return found


def _deviation(cell: Cell) -> str:
    known = isinstance(cell, Estimate) and cell.deviation is not None
    return text(cell, "percent").split(" ± ")[1] if known else ""


def _words(cell: Cell, column: Column) -> str:
    if cell is None:
        return "--"
    words = cell.shown if isinstance(cell, Rounded) else text(cell, column.kind)
    if column.name == "task":
        words = _TASKS.get(words, words)
    if signed := _SIGNED.fullmatch(words):
        return f"{signed[1]}${signed[2]}${signed[3]}"
    return escape(words)
