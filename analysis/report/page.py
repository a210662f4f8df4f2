"""One self-contained page about one or more studies: it opens from a disk, without a network, anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis.tables import Table, html_table

_PAGE = Path(__file__).parent


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
    def json(self) -> Markup:
        """The figures as JSON that no text can break out of."""
        return Markup(_inert("[" + ",".join(self.figures) + "]"))


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading of its own."""

    id: str
    title: str
    parts: list[Part]


def _inert(text: str) -> str:
    """JSON without a character that could end the script element it stands in."""
    return re.sub("[<>&\u2028\u2029]", lambda match: f"\\u{ord(match[0]):04x}", text)


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


def render(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The page.

    Scripts run only if they are the ones written here: a content security policy lists their hashes, and
    forbids every request.
    """
    environment = Environment(
        loader=FileSystemLoader(_PAGE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    scripts = [get_plotlyjs().strip(), (_PAGE / "report.js").read_text().strip()]
    for script in scripts:
        assert "</script" not in script.lower()
    return environment.get_template("report.html.j2").render(
        title=title,
        lead=lead,
        sections=sections,
        version=version("wst"),
        css=Markup((_PAGE / "report.css").read_text()),
        scripts=[Markup(script) for script in scripts],
        script_hashes=" ".join(f"'sha256-{_digest(script)}'" for script in scripts),
    )


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
