from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from benchmarks.pages import Page, command, table


def test_table() -> None:
    lines = ["|  | ms | s |", "| --- | ---: | ---: |", "| a | 1 | 2 |"]
    assert table(["", "ms", "s"], [["a", 1, 2]]) == lines
    assert table(["n", "ms"], [], text=0)[1] == "| ---: | ---: |"


def test_a_page_names_its_command_and_its_conditions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "page.md"
    words = ["/somewhere/benchmarks/some.py", "--trials", "7", "--out", str(out), "--quick"]
    monkeypatch.setattr(sys, "argv", words)
    parser = argparse.ArgumentParser()
    parser.add_argument("--trials", type=int, default=1000)
    page = Page("Some cost", parser, {"trials": 3}, libraries=("numpy",))
    assert page.options.trials == 3  # of the reduced form, whatever else is asked for
    page.finish("Words.", table(["", "ms"], [["a", 1]]))
    text = out.read_text()
    assert text.startswith("# Some cost\n\n`python -m benchmarks.some --trials 7 --quick`\n\n")
    assert text.endswith("Words.\n\n|  | ms |\n| --- | ---: |\n| a | 1 |\n")
    for condition in ("cores (", "Python 3", "numpy ", "Load of the machine", "others kept", "Reduced form"):
        assert condition in text
    assert capsys.readouterr().out == text + "\n"
    assert command(out) == [sys.executable, "-m", "benchmarks.some", "--trials", "7", "--quick"]


def test_a_page_without_a_command_is_said(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text("# Words only\n")
    with pytest.raises(SystemExit, match="expected a command"):
        command(tmp_path / "page.md")
