"""What a ledger takes, refuses and knows of its trials while it is open."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import small_study
from tests.ledger.processes import CODE, read_of, write
from tests.ledger.test_ledger import small_trials
from wst.errors import InputError
from wst.ledger import Ledger, read_table
from wst.ledger.reading import fragments


def test_what_has_begun_and_what_was_read(tmp_path: Path) -> None:
    first, second, *_ = small_trials()
    final = next(trial for trial in small_trials() if trial.intent.stage == "final")
    with Ledger(tmp_path / "s", small_study(), CODE) as ledger:
        assert not ledger.begun(first.intent.trial_id)
        ledger.add_intent(first.intent)
        assert ledger.begun(first.intent.trial_id) and not ledger.begun(second.intent.trial_id)
        ledger.add_intent(first.intent)  # is there already
        assert ledger.reads(final.intent.trial_id) == 0
        ledger.add_read(read_of(final))
        ledger.add_read(replace(read_of(final), read_id="again"))
        assert ledger.reads(final.intent.trial_id) == 2
    with Ledger(tmp_path / "s", small_study(), CODE) as ledger:
        assert ledger.begun(first.intent.trial_id) and ledger.reads(final.intent.trial_id) == 2
    assert len(read_table(tmp_path / "s", "intents")) == 1 and len(read_table(tmp_path / "s", "reads")) == 2


def test_a_trial_with_other_settings_is_not_written_over_the_one_that_is_there(tmp_path: Path) -> None:
    first = small_trials()[0]
    others = [
        replace(first.intent, hyperparameters={**first.intent.hyperparameters, "lr": 0.5}),
        replace(first.intent, seed=9),
        replace(first.intent, stage="confirm"),
        replace(first.intent, task="emoji_group"),
    ]
    with Ledger(tmp_path / "s", small_study(tasks=["digits", "emoji_group"]), CODE) as ledger:
        write(ledger, [first])
        for other in others:
            line = (
                f"expected {first.intent.trial_id} with the settings, stage and seed that it has there; found"
            )
            with pytest.raises(InputError, match=line):
                ledger.add_intent(other)
            with pytest.raises(InputError, match=line):
                ledger.add_trial(other, first.outcome)
    (row,) = read_table(tmp_path / "s", "trials").to_pylist()
    assert (row["seed"], row["stage"], row["task"]) == (first.intent.seed, "search", "digits")


def test_discarded_trials_can_be_run_again_and_keep_their_intents(tmp_path: Path) -> None:
    trials = small_trials()[:5]
    ids = [trial.intent.trial_id for trial in trials]
    with Ledger(tmp_path / "s", small_study(), CODE) as ledger:
        write(ledger, trials)
        with pytest.raises(InputError) as caught:
            ledger.discard([ids[0], "zz", "nobody"])
        assert str(caught.value) == f"{tmp_path / 's'}: expected an ended trial; found none named 'nobody'"
        ledger.discard([])
        assert len(read_table(tmp_path / "s", "trials")) == 5
        ledger.discard(iter(ids[1:3]))
        for table in ("trials", "epochs"):
            assert set(read_table(tmp_path / "s", table)["trial_id"].to_pylist()) == {ids[0], *ids[3:]}
        assert len(read_table(tmp_path / "s", "intents")) == 5
        with pytest.raises(InputError, match=f"found none named '{ids[1]}'"):
            ledger.discard([ids[1]])
        ledger.add_trial(trials[1].intent, trials[1].outcome)
        ledger.add_trial(trials[3].intent, replace(trials[3].outcome, attempts=7))  # in a file with others
    rows = {row["trial_id"]: row for row in read_table(tmp_path / "s", "trials").to_pylist()}
    assert set(rows) == {ids[0], ids[1], ids[3], ids[4]} and rows[ids[3]]["attempts"] == 7


def test_a_column_of_another_type_is_filled_from_the_configurations(tmp_path: Path) -> None:
    """As where a version of wst took a hyperparameter in another type."""
    trials = [trial for trial in small_trials() if trial.intent.variant == "wst-r2"][:3]
    with Ledger(tmp_path / "s", small_study(), CODE) as ledger:
        write(ledger, trials)
    before = read_table(tmp_path / "s", "trials", ["trial_id", "hp_r", "hp_lr"]).sort_by("trial_id")
    for path in fragments(tmp_path / "s", "trials")[0]:
        table = pq.read_table(path)
        place = table.schema.get_field_index("hp_r")
        words = pa.array(["two"] * len(table))
        changed = table.set_column(place, table.schema.field(place).with_type(pa.string()), words)
        pq.write_table(changed, path)
    with Ledger(tmp_path / "s", small_study(), CODE):
        pass
    after = read_table(tmp_path / "s", "trials", ["trial_id", "hp_r", "hp_lr"]).sort_by("trial_id")
    assert after.equals(before) and after["hp_r"].to_pylist() == [2, 2, 2]
