"""A real study, damaged, repaired and gone on with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import LR, small_study
from wst.cli import app as cli
from wst.errors import InputError
from wst.ledger import history, read_table
from wst.workflows.tune import run_study

pytestmark = pytest.mark.slow  # trains


def _results(folder: Path) -> dict[str, object]:
    return {
        t.intent.trial_id: (
            t.intent.hyperparameters,
            t.intent.seed,
            t.outcome.state,
            t.outcome.test_top1,
            [(e.train_loss, e.val_top1) for e in t.outcome.epochs],
        )
        for t in history(folder)[1]
    }


def test_it_ends_in_the_undisturbed_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = small_study(
        variants={"linear": {"method": "linear", "space": {"lr": LR}}},
        recipe={"epochs": 1, "warmup_epochs": 0},
        search={"trials": 2, "sampler": {"type": "random"}},
        final={"seeds": 1},
    )
    out = tmp_path / "s"
    run_study(study, out, inline=True)
    before = _results(out)
    search, final = "digits.linear.search.0001", "digits.linear.final.0000"
    (out / "ledger" / "intents" / f"{search}.parquet").write_bytes(b"PAR1")
    (out / "ledger" / "epochs" / f"{final}.parquet").unlink()
    with pytest.raises(InputError, match=f"ledger/intents/{search}.parquet: .*wst repair {out}"):
        run_study(study, out, inline=True)
    monkeypatch.setattr("sys.argv", ["wst", "repair", str(out)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr().out.splitlines()
    assert stop.value.code == 0
    assert said[0] == (
        f"ledger/intents/{search}.parquet: expected a whole Parquet file; found a damaged one of 4 bytes. "
        f"{search}: its intent is made again from its row."
    )
    assert said[1] == (
        f"ledger/epochs/{final}.parquet: its row is of 1 epochs, its curve of 0. {final}: wst tune runs it "
        "again under the same settings and seed; that reads the test split once more, and reads are counted."
    )
    assert said[2].startswith(f"laid aside: {out}/damaged-2")
    run_study(study, out, inline=True)
    assert _results(out) == before
    assert len(read_table(out, "reads")) == 2
