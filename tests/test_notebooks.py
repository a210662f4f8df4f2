"""The notebooks of docs/ run whole, and what they show is small and of no machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

from tools.notebooks import NOTEBOOKS, executed  # noqa: E402

EPOCHS = r"(?<=\bepochs)(=|\\\": )[35]\b"
"""In the notebooks' JSON, where a trial's are given."""


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_whole(path: Path, tmp_path: Path) -> None:
    """With an epoch a trial."""
    shown = nbformat.read(path, as_version=4)
    short = tmp_path / path.name
    text, changes = re.subn(EPOCHS, r"\g<1>1", path.read_text())
    assert changes
    short.write_text(text)
    for cell, again in zip(shown.cells, executed(short, tmp_path).cells, strict=True):
        assert [kinds(cell)] == [kinds(again)], cell.source


def kinds(cell: object) -> list[tuple[str, ...]]:
    """What a cell shows, but for the numbers."""
    outputs = getattr(cell, "outputs", ())
    return sorted({(one.output_type, *sorted(one.get("data", {}))) for one in outputs})


def test_notebooks_are_small_and_name_no_machine() -> None:
    assert len(NOTEBOOKS) == 2
    for path in NOTEBOOKS:
        text = path.read_text()
        assert len(text) < 200_000
        assert not any(
            word in text for word in ("site-packages", "/home/", "/root/", "/tmp/", "/Users/", "\\u001b")
        )
