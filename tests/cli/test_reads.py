"""Reads of the test split, from the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wst.cli import app as cli
from wst.ledger import read_table
from wst.training.trial import Trial

pytestmark = pytest.mark.slow  # trains


@pytest.fixture
def train(  # type: ignore[no-untyped-def]
    tmp_path: Path, mini_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))

    def call(*words: object) -> Any:
        more = ["--root", mini_root] if words[0] == "train" else []
        monkeypatch.setattr("sys.argv", ["wst", *map(str, [*words, *more, "--json"])])
        with pytest.raises(SystemExit):
            cli.main()
        return json.loads(capsys.readouterr().out)

    return call


ONCE = ["train", "--task", "digits", "--method", "linear", "--epochs", 1, "--final"]


def test_fine_tunes_in_folders_of_their_own_are_counted_together(train, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    found = [
        train(*ONCE, "--set", f"lr={lr}", "--out", tmp_path / lr)["test_reads"]
        for lr in ("1e-3", "1e-2", "1e-1")
    ]
    assert found == [{"by this study": 1, "by others on this machine": others} for others in (0, 1, 2)]
    trial = train("status", tmp_path / "1e-3")[0]["test read by"][0]
    again = train("train", "--trial", trial, "--from", tmp_path / "1e-3", "--out", tmp_path / "again")
    assert again["test_reads"] == {"by this study": 1, "by others on this machine": 3}
    (row,) = train("status", tmp_path / "1e-3")
    assert (row["test reads"], row["test reads of the task"]) == (1, again["test_reads"])
    board = train("leaderboard", tmp_path / "1e-3")
    assert board["test reads by others"] == {"digits": 3}
    assert "Besides, 3 times by others on this machine." in " ".join(board["notes"])
    (read,) = read_table(tmp_path / "again", "reads").to_pylist()
    assert read["purpose"] == f"{trial} of {tmp_path / '1e-3'} run again"


def test_a_final_whose_adapter_cannot_be_saved_is_counted_and_so_is_its_next_try(  # type: ignore[no-untyped-def]
    train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Trial, test: object) -> None:
        raise PermissionError("read-only")

    words = [*ONCE, "--set", "lr=1e-2", "--save", "--out", tmp_path / "t"]
    with monkeypatch.context() as patch:
        patch.setattr(Trial, "save_adapter", fail)
        first = train(*words)
    assert (first["state"], first["test_reads"]["by this study"]) == ("failed", 1)
    second = train(*words)
    assert (second["state"], second["test_reads"]["by this study"]) == ("completed", 2)
    purposes = [row["purpose"] for row in read_table(tmp_path / "t", "reads").sort_by("time").to_pylist()]
    assert purposes == ["a single fine-tune", "a single fine-tune; a retry of a failed trial"]
