"""What a shell completes, asked as bash asks; help and version beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata

import pytest

from tests.cli.commands import Wst, caller, parameters
from tests.conftest import ROOT
from wst.models.families import FAMILIES
from wst.shipped import shipped_names


@pytest.fixture
def wst(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wst:
    return caller(monkeypatch, capsys)


def _completed(wst: Wst, monkeypatch: pytest.MonkeyPatch, line: str) -> list[str]:
    words = line.split(" ")
    monkeypatch.setenv("_WST_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", line)
    monkeypatch.setenv("COMP_CWORD", str(len(words) - 1))
    result = wst()
    assert (result.status, result.err) == (0, "")
    return result.out.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("wst lea", ["leaderboard"]),
        ("wst tune d", ["demo"]),
        ("wst tune ", shipped_names("studies")),
        ("wst simulate mini", ["mini-grid"]),
        ("wst tune demo --track ", ["mlflow", "tensorboard", "wandb"]),
        ("wst tune demo --task dig", ["digits"]),
        ("wst train --method l", ["layernorm", "linear", "lora", "lst"]),
        ("wst train --backbone mi", ["micro"]),
        ("wst train --backbone ", ["micro", *(name for one in FAMILIES for name in one.examples)]),
        ("wst train --suite v", ["vtab1k"]),
        ("wst train --recipe r", ["released"]),
        ("wst data check ", ["mini", "vtab1k"]),
        ("wst data build m", ["mini"]),
        ("wst ls sa", ["samplers"]),
        ("wst leaderboard x --format m", ["markdown"]),
    ],
)
def test_names_are_completed(
    wst: Wst, monkeypatch: pytest.MonkeyPatch, line: str, expected: list[str]
) -> None:
    assert _completed(wst, monkeypatch, line) == expected


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_is_shown(wst: Wst, shell: str) -> None:
    result = wst("--show-completion", shell)
    assert result.status == 0 and "_WST_COMPLETE" in result.out


@pytest.mark.slow
@pytest.mark.parametrize("line", ["wst train --backbone mi", "wst train --task dig", "wst tune de"])
def test_completing_loads_neither_torch_nor_ray(line: str) -> None:
    code = (
        "import sys\nfrom wst.cli.app import main\ntry:\n    main()\nfinally:\n"
        "    loaded = {'torch', 'timm', 'ray'} & set(sys.modules)\n    assert not loaded, loaded"
    )
    asked = {"_WST_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(line.split()) - 1)}
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT), **asked},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0 and run.stdout.split() in (["micro"], ["digits"], ["demo"]), run.stderr


@pytest.mark.parametrize("verb", sorted({one.verb for one in parameters()}))
def test_each_verb_has_its_help_under_h(wst: Wst, verb: str) -> None:
    short, long = wst(*verb.split(), "-h"), wst(*verb.split(), "--help")
    assert (short.status, short.err) == (0, "") and "Usage" in short.out
    assert short.out == long.out


def test_the_version_is_printed(wst: Wst) -> None:
    assert wst("--version").out == f"wst {metadata.version('wst')}\n"
    assert "Usage" in wst("-h").out
