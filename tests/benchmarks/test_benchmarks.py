"""Every benchmark runs by the command that its page names, in its reduced form."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.pages import RESULTS, command
from tests.conftest import ROOT

PAGES = sorted(path for path in RESULTS.glob("*.md") if "-" not in path.stem)
"""One of each benchmark; another of the same, on another device, is named ``<module>-on-<device>``."""
Runs = dict[Path, Future[subprocess.CompletedProcess[str]]]


def test_every_benchmark_has_a_page_that_names_its_command() -> None:
    modules = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if " Page(" in path.read_text()}
    assert {page.stem for page in PAGES} == modules
    for page in PAGES:
        assert command(page)[1:3] == ["-m", f"benchmarks.{page.stem}"]


def test_commands_elsewhere_name_benchmarks() -> None:
    """In the documents, in the benchmarks themselves and in the Makefile."""
    texts = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile", *(ROOT / "docs").glob("*.md")]
    modules = set()
    for path in [*texts, *(ROOT / "benchmarks").glob("*.py")]:
        assert not re.search(r"python benchmarks/", path.read_text()), path
        modules |= set(re.findall(r"-m benchmarks\.(\w+)", path.read_text()))
    assert modules == {page.stem for page in PAGES}


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    """Of the pages that are tested; three at a time, since most of each is waiting for processes to start."""
    folder = tmp_path_factory.mktemp("pages")

    def run(page: Path) -> subprocess.CompletedProcess[str]:
        words = [*command(page), "--quick", "--out", str(folder / page.name)]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True)

    specs = (getattr(item, "callspec", None) for item in request.session.items)
    pages = {spec.params["page"] for spec in specs if spec and spec.params.get("page") in PAGES}
    with ThreadPoolExecutor(3) as pool:
        yield {page: pool.submit(run, page) for page in sorted(pages)}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_runs(page: Path, runs: Runs) -> None:
    done = runs[page].result()
    assert done.returncode == 0, done.stderr[-5000:]
    written = Path(done.args[-1])
    assert _headers(written) == _headers(page)
    assert command(written) == [*command(page), "--quick"]
    assert "nan" not in written.read_text()


def _headers(page: Path) -> list[str]:
    lines = page.read_text().splitlines()
    found = [line for line, below in pairwise(lines) if below.startswith("| --")]
    assert found
    return found
