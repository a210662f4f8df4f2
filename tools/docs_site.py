"""What the site has beside docs/, by hooks of MkDocs: the README as first page, and what its pages link to.

A page of the repository becomes a page of the site, a folder a page with its files, another file is copied.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from inspect import ismodule
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

import wst

ROOT = Path(__file__).parent.parent
ASSETS = ROOT / "tools" / "site_assets"
DOCS, FIRST = "docs/", "README.md"
_LINK = re.compile(r"(?<=\]\()(?!https?:|mailto:|#)([^)\s#]+)")
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(?=<code)")
"""Of docstrings, in front of a name in backquotes."""
_LANGUAGES = {".yaml": "yaml", ".py": "python"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what lies outside docs/ and is linked to, from one page to the next."""
    waiting = [FIRST, "CHANGELOG.md", "benchmarks/results"]
    waiting += [str(page.relative_to(ROOT)) for page in ROOT.glob("benchmarks/results/*.md")]
    waiting += [DOCS + file.src_uri for file in files.documentation_pages()]
    seen = set(waiting)
    while waiting:
        place = waiting.pop()
        if not place.startswith(DOCS):
            files.append(_file(place, config))
        new = sorted(set(_targets(place)) - seen)
        waiting += [target for target in new if not target.startswith(DOCS)]
        seen.update(new)
    for asset in ASSETS.iterdir():
        files.append(File.generated(config, f"{ASSETS.name}/{asset.name}", abs_src_path=str(asset)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where things are on the site, and fill the page of the API."""
    here = page.file.src_uri
    if here == "api.md":
        return markdown + "".join(f"\n{_entry(name)}" for name in wst.__all__)
    place = DOCS + here if (ROOT / DOCS / here).exists() else here
    place = FIRST if here == _uri(FIRST) else place
    folder = posixpath.dirname(here) or "."
    return _LINK.sub(lambda found: posixpath.relpath(_uri(_beside(place, found[1])), folder), markdown)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leave out the roles of docstrings."""
    return _ROLE.sub("", html)


def _entry(name: str) -> str:
    """A public name's place in the API, wherever it was imported from."""
    found = getattr(wst, name)
    where = found.__name__ if ismodule(found) else f"{found.__module__}.{found.__qualname__}"
    return f"::: {where}\n    options:\n      heading: wst.{name}\n      toc_label: {name}\n"


def _beside(place: str, link: str) -> str:
    """Where a link of the page in ``place`` leads, in the repository."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(place), link))


def _targets(place: str) -> Iterator[str]:
    if place.endswith(".md"):
        for link in _LINK.findall((ROOT / place).read_text(encoding="utf-8")):
            if (ROOT / _beside(place, link)).exists():  # else MkDocs says so
                yield _beside(place, link)


def _uri(place: str) -> str:
    """The file of the site, before it is rendered, for a path of the repository."""
    if place == FIRST:
        return "index.md"
    if (ROOT / place).is_dir():
        place += "/index.md"
    return place.removeprefix(DOCS)


def _file(place: str, config: MkDocsConfig) -> File:
    path, rest = ROOT / place, InclusionLevel.NOT_IN_NAV  # or in it: then by name
    if path.is_dir():
        return File.generated(config, _uri(place), content=_listing(path), inclusion=rest)
    return File.generated(config, _uri(place), abs_src_path=str(path), inclusion=rest)


def _listing(folder: Path) -> str:
    """A folder as a page: links to its pages, and its other files as they are."""
    paths = [path for path in sorted(folder.iterdir()) if path.is_file()]
    lines = [f"# {folder.relative_to(ROOT)}", ""]
    lines += [f"- [{_title(path)}]({path.name})" for path in paths if path.suffix == ".md"]
    for path in paths:
        if path.suffix in _LANGUAGES:
            lines += ["", f"## {path.name}", "", f"````{_LANGUAGES[path.suffix]}", path.read_text(), "````"]
    return "\n".join(lines)


def _title(page: Path) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
