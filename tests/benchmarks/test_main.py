from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as all_of_them


def test_runs_the_pages_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new page lies where the old one was; in the reduced form it lies nowhere."""
    commands = []

    def run(words: list[str], cwd: Path) -> subprocess.CompletedProcess[str]:
        commands.append(words[1:])
        return subprocess.CompletedProcess(words, int("b.py" in words))

    monkeypatch.setattr(all_of_them.subprocess, "run", run)
    monkeypatch.setattr(all_of_them, "RESULTS", tmp_path)
    for name in "abc":
        (tmp_path / f"{name}.md").write_text(f"# {name}\n\n`python {name}.py --trials 7`\n")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "c", "a"])
    all_of_them.main()
    out = str(tmp_path / "c.md")
    assert commands[0] == ["c.py", "--trials", "7", "--out", out]
    assert [words[0] for words in commands] == ["c.py", "a.py"]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--quick"])
    with pytest.raises(SystemExit, match="b failed"):
        all_of_them.main()
    assert commands[2:] == [[f"{name}.py", "--trials", "7", "--quick"] for name in "abc"]


def test_unknown_name_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "speed"])
    with pytest.raises(SystemExit) as error:
        all_of_them.main()
    assert error.value.code == 2
    assert "found speed" in capsys.readouterr().err
