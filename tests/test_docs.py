"""The documents' Python blocks run, and their commands exist."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import typer
from PIL import Image

from tests.conftest import ROOT
from tools.fill_tables import commands, filled
from wst.cli.group import application

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def _blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), flags=re.DOTALL)


def _pictures(folder: Path) -> None:
    """Two classes of 20 pictures."""
    for name, red in (("cat", 200), ("dog", 60)):
        (folder / name).mkdir(parents=True)
        for index in range(20):
            Image.new("RGB", (32, 32), (red + index, 100 - index, 60)).save(folder / name / f"{index}.png")


@pytest.mark.slow  # some of them train
@pytest.mark.parametrize(
    "block",
    [
        block
        for page in ("method.md", "python.md", "studies.md")
        for block in _blocks(ROOT / "docs" / page, "python")
    ],
)
def test_python_blocks_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "from peft" in block:
        pytest.importorskip("peft")
    monkeypatch.chdir(tmp_path)
    if 'suite="pets"' in block:
        _pictures(tmp_path / "pets")
        assert len(block.splitlines()) <= 25
    exec(compile(block, "a page", "exec"), {})


def _options(command: typer.core.TyperCommand) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    """Every ``wst ...`` of a document parses, in a block or in a line: its verb is there, and its options."""
    group = typer.main.get_command(application())
    lines = [
        line.split("#")[0]
        for block in _blocks(page, "bash") + _blocks(page, "sh")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    lines += re.findall(r"`(wst [a-z][^`]*)`", text)
    for words in (line.split() for line in lines if line.strip().startswith("wst ")):
        command, rest = group, words[1:]
        while hasattr(command, "commands"):
            assert rest and rest[0] in command.commands, " ".join(words)
            command, rest = command.commands[rest[0]], rest[1:]
        for option in (word.split("=")[0] for word in rest if word.startswith("-")):
            assert option in _options(command), f"{' '.join(words)}: {option}"


@pytest.mark.parametrize("module", ["wst.models.create"])
def test_docstring_examples_run(module: str) -> None:
    import doctest
    import importlib

    failures, tried = doctest.testmod(importlib.import_module(module))
    assert tried > 0 and failures == 0


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/field.md"])
def test_tables_are_what_the_commands_above_them_print(
    page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    record = Path("docs") / "leaderboard-mini"
    shutil.copytree(ROOT / record, tmp_path / record)  # a command may draw a picture beside it
    text = (ROOT / page).read_text()
    assert commands(text)
    assert filled(text) == text


def test_tests_behind_the_promises_exist() -> None:
    """And every promise has one."""
    rows = [
        line
        for line in (ROOT / "docs" / "promises.md").read_text().splitlines()
        if line.startswith("| ") and not line.startswith(("| promise", "| ---"))
    ]
    assert len(rows) > 15
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", row.split("|")[-2])
        assert named, row
        for file, test in named:
            content = (ROOT / "tests" / file).read_text()
            assert not test or f"def {test}(" in content, f"{file}::{test}"
