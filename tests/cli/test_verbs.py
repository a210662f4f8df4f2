"""``wst --help``: what it says, and what it waits for."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from tests.cli.commands import Wst, caller
from tests.conftest import ROOT
from wst.cli.group import application
from wst.cli.verbs import VERBS, overall_help


@pytest.fixture
def wst(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wst:
    return caller(monkeypatch, capsys)


def test_the_table_of_verbs_says_what_their_own_help_says() -> None:
    app, found = application(), {}
    for command in app.registered_commands:
        found[command.name or ""] = command
    for group in app.registered_groups:
        inner = group.typer_instance
        assert inner is not None
        if isinstance(group.name, str):
            found[group.name] = inner.info
        else:
            found |= {(one.name or one.callback.__name__): one for one in inner.registered_commands}  # type: ignore[union-attr]
    about = {
        name: one.help if isinstance(one.help, str) else inspect.getdoc(one.callback)  # type: ignore[arg-type]
        for name, one in found.items()
    }
    assert {name: " ".join((text or "").partition("\n\n")[0].split()) for name, text in about.items()} == {
        name: verb.about for name, verb in VERBS.items()
    }


def test_help_without_a_verb(wst: Wst, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, bare = wst("--help"), wst()
    assert (asked.status, bare.status) == (0, 2)
    assert asked.out == bare.out == wst("-h").out and "Usage: wst" in asked.out
    monkeypatch.setenv("COLUMNS", "60")
    assert max(map(len, overall_help().splitlines())) <= 60
    for verb in VERBS:
        assert f"\n  {verb} " in overall_help()


def _python(code: str, *words: str) -> str:
    """What an interpreter of its own says on stderr."""
    run = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return run.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "without"),
    [
        ("--help", "typer rich pydantic numpy"),
        ("status docs/demo", "torch ray timm optuna scipy matplotlib"),
        ("leaderboard docs/demo", "torch ray timm optuna scipy matplotlib"),
    ],
)
def test_what_only_looks_waits_for_no_library_that_it_does_not_need(words: str, without: str) -> None:
    _python(
        "import sys\nfrom wst.cli.app import main\ntry:\n    main()\nexcept SystemExit as stop:\n"
        f"    assert not stop.code\n    assert not {set(without.split())} & set(sys.modules)",
        *words.split(),
    )


WRONG = {
    "demo --track wand": "did you mean 'wandb'?",
    "demo --root /nowhere/at/all": "--root: expected a folder",
    "demo --task digit": "did you mean 'digits'?",
    "demo --set suite=vtab1k --task dtd": "--root: expected the folder that holds vtab-1k",
    "demo --set checkpoint=/nowhere.pt": "checkpoint: expected a file",
    "demo --set backbone=vit_base_patch16_244": "did you mean 'vit_base_patch16_224'?",
    "demo --set variants.linear.method=liner": "did you mean 'linear'?",
    "demo --set recipe.epoch=5": "did you mean 'epochs'?",
    "demmo": "did you mean 'demo'?",
}


@pytest.mark.slow
def test_names_and_paths_are_looked_at_before_anything_slow_is_imported() -> None:
    code = (
        "import sys\nfrom wst.cli.app import main\nfor words in sys.argv[1:]:\n"
        "    sys.argv = ['wst', 'tune', *words.split()]\n    try:\n        main()\n"
        "    except SystemExit as stop:\n        assert stop.code == 2\n"
        "assert not {'torch', 'ray', 'timm', 'optuna', 'pandas'} & set(sys.modules)"
    )
    told = _python(code, *WRONG).splitlines()
    assert len(told) == len(WRONG)
    for line, (words, expected) in zip(told, WRONG.items(), strict=True):
        assert expected in line, words
