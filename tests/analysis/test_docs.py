"""The documentation's queries run, and its pages are up to date."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.analysis.ledgers import ALPHA
from tests.conftest import ROOT
from tools.ledger_page import page

DOCS = ROOT / "docs"


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (DOCS / "analysis.md").read_text(), re.DOTALL)


def _expected() -> list[tuple[str, str, float]]:
    rows = []
    for variant, by_task in ALPHA.items():
        for task, values in by_task.items():
            known = [value for value in values if value is not None]
            if known:
                rows.append((variant, task, sum(known) / len(known) / 100))
    return sorted(rows)


def _check(rows: list[tuple[Any, ...]]) -> None:
    expected = _expected()
    assert [row[:2] for row in rows] == [row[:2] for row in expected]
    assert [row[2] for row in rows] == pytest.approx([row[2] for row in expected])


def test_duckdb_query(alpha: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    (query,) = _blocks("sql")
    _check(duckdb.sql(query.replace("DIR", str(alpha))).fetchall())


@pytest.mark.parametrize("tool", ["polars", "pandas"])
def test_python_queries(alpha: Path, tool: str) -> None:
    pytest.importorskip(tool)
    (block,) = [block for block in _blocks("python") if f"import {tool}" in block]
    names: dict[str, Any] = {}
    exec(block.replace("DIR", str(alpha)), names)
    result = names["result"]
    _check(result.rows() if tool == "polars" else list(result.itertuples(index=False, name=None)))


def test_loading_in_python(alpha: Path) -> None:
    (block,) = [block for block in _blocks("python") if "wst.open" in block]
    names: dict[str, Any] = {}
    exec(block.replace("DIR", str(alpha)), names)
    assert set(ALPHA) == set(names["board"]["variant"])
    assert list(names["curves"].columns) == ["task", "variant", "trial_id", "epoch", "val_top1"]


def test_ledger_page_is_up_to_date() -> None:
    """To renew it: python -m tools.ledger_page > docs/ledger.md."""
    assert (DOCS / "ledger.md").read_text() == page()
