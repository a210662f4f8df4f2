"""The site of the documents: strict, whole without a network, and searchable where it lies on a disk."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

import wst
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    logging.getLogger("mkdocs").setLevel(logging.WARNING)
    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True)
    config.plugins.run_event("startup", command="build", dirty=False)
    build(config)
    return folder


@pytest.mark.slow
def test_pages_hold_together(site: Path) -> None:
    """Every page of docs/ is there, and what the pages link to outside it; nothing is loaded from a host."""
    pages = {str(path.relative_to(site)): path.read_text() for path in site.rglob("*.html")}
    names = {path.stem + ".html" for path in (ROOT / "docs").glob("*.md")}
    outside = {"index.html", "CONTRIBUTING.html", "benchmarks/results/chaos.html", "recipes/index.html"}
    assert set(pages) >= names | outside
    assert (site / "studies/launch/slurm.sh").is_file()
    for name, text in pages.items():
        assert not re.search(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="?(?:https?:)?//', text), name
        folder = (site / name).parent
        for link in re.findall(r'<a [^>]*href="(?!https?:|mailto:|#|/)([^"#?]+)', text):
            assert (folder / link).exists(), (name, link)
    for name in wst.__all__:
        assert f"wst.{name}" in pages["api.html"]
        assert f">{name}<" in pages["api.html"].replace(" ", "").replace("\n", ""), name


@pytest.mark.slow
def test_search_needs_no_server(site: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs Debian's chromium")
    page = (site / "benchmarks/results/step.html").as_uri() + "?q=successive"
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom")
    run = subprocess.run([chromium, *flags, page], capture_output=True, text=True, timeout=300)
    found = re.findall(r'<a href="file://[^"]*/(\w+\.html)[^"]*" class="md-search-result__link"', run.stdout)
    assert "studies.html" in found
