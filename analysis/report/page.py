"""One self-contained page about one or more studies: it opens from a disk, without a network, anywhere."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from analysis.tables import Table, html_table

_PAGE = Path(__file__).parent
_PLOTLY = "plotly-cartesian.min.js.gz"
"""plotly.js without maps and the third dimension, a third of what the Python package brings: from ``npm pack
plotly.js-cartesian-dist-min``, packed by ``gzip -9n``.  Its licence is beside it."""


@dataclass(frozen=True)
class Part:
    """A piece of a section: text, facts, a table, code, or figures with a choice between them.

    Attributes:
        choices: names of the figures, the first shown at first.
        figures: plotly figures as JSON.
    """

    kind: Literal["text", "facts", "table", "code", "figures"]
    title: str = ""
    text: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)
    table: Table | None = None
    id: str = ""
    choices: list[str] = field(default_factory=list)
    figures: list[str] = field(default_factory=list)
    open: bool = False

    @property
    def html(self) -> Markup:
        """The table, escaped cell by cell."""
        assert self.table is not None
        return Markup(html_table(self.table))

    @property
    def packed(self) -> str:
        """The figures as JSON, compressed."""
        return _base64(gzip.compress(f"[{','.join(self.figures)}]".encode(), mtime=0))


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own."""

    id: str
    title: str
    parts: list[Part]


def _base64(content: bytes) -> str:
    """In letters that no text can break out of."""
    return base64.b64encode(content).decode()


def text(words: str) -> Part:
    """A paragraph."""
    return Part("text", text=words)


def table(content: Table) -> Part:
    """A table that sorts."""
    return Part("table", title=content.title, table=content)


def panel(name: str, title: str, words: str, drawn: Mapping[str, Any]) -> list[Part]:
    """Figures in one frame, by the words to choose them with; nothing where there is none."""
    if not drawn:
        return []
    content = [json.dumps(_plain(figure), allow_nan=False) for figure in drawn.values()]
    return [Part("figures", title, words, id=name, choices=list(drawn), figures=content)]


def _plain(figure: Any) -> dict[str, Any]:
    """The figure as JSON has it, without its template, which the page's own colours replace."""
    found: dict[str, Any] = figure if isinstance(figure, dict) else json.loads(figure.to_json())
    return {**found, "layout": {k: v for k, v in found["layout"].items() if k != "template"}}


def render(title: str, lead: str, sections: Sequence[Section], reload: int | None = None) -> str:
    """The page, which reloads itself after so many seconds.

    Scripts run only if they are the ones written here: a content security policy lists their hashes, and
    forbids every request.
    """
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    script, plotly = (_PAGE / "report.js").read_text().strip(), (_PAGE / _PLOTLY).read_bytes()
    assert "</script" not in script.lower()
    return environment.get_template("report.html.j2").render(
        title=title,
        lead=lead,
        sections=sections,
        reload=reload,
        version=version("wst"),
        css=Markup((_PAGE / "report.css").read_text()),
        script=Markup(script),
        plotly=_base64(plotly),
        script_hashes=f"'{_digest(script.encode())}' '{_digest(gzip.decompress(plotly))}'",
    )


def write_figure(path: Path, title: str, lead: str, heading: str, drawn: Any) -> None:
    """Write a page of one figure."""
    section = Section("figure", heading, panel("plot", heading, "", {heading: drawn}))
    path.write_text(render(title, lead, [section]), encoding="utf-8")


def _digest(script: bytes) -> str:
    return f"sha256-{_base64(hashlib.sha256(script).digest())}"
