from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as all_of_them


def test_runs_the_pages_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """New pages lie where the old ones were, all in the end; those of the reduced form are not kept."""
    commands = []

    def run(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        commands.append(words[1:-2])
        assert words[-2] == "--out"
        Path(words[-1]).write_text("new")
        assert all(page.read_text() != "new" for page in tmp_path.iterdir())
        return subprocess.CompletedProcess(words, int("b.py" in words))

    monkeypatch.setattr(all_of_them.subprocess, "run", run)
    monkeypatch.setattr(all_of_them, "RESULTS", tmp_path)
    for name in "abc":
        (tmp_path / f"{name}.md").write_text(f"# {name}\n\n`python {name}.py --trials 7`\n")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick"])
    with pytest.raises(SystemExit, match="b failed"):
        all_of_them.main()
    assert commands == [[f"{name}.py", "--trials", "7", "--quick"] for name in "abc"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "c", "b"])
    with pytest.raises(SystemExit, match="b failed"):
        all_of_them.main()
    assert commands[3:] == [[f"{name}.py", "--trials", "7"] for name in "cb"]
    assert [page.name for page in tmp_path.iterdir() if page.read_text() == "new"] == ["c.md"]


def test_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "speed"])
    with pytest.raises(SystemExit) as error:
        all_of_them.main()
    assert error.value.code == 2
    assert "found speed" in capsys.readouterr().err
