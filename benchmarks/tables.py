"""The tables of a study that was disturbed, beside those of one that was not."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from wst.ledger.agreement import settings_key

VARYING = [
    *("train_seconds", "eval_seconds", "wall_seconds", "images_per_second", "seconds", "started", "ended"),
    *("peak_memory", "slot", "time", "code_commit"),
    "attempts",  # counts the workers that a trial has lost
]
"""What may differ: times, places and memory."""
KEYS = {"trials": ["trial_id"], "epochs": ["trial_id", "epoch"], "intents": ["trial_id"]}
_READ = ["study", "trial_id", "task", "variant", "split", "test_hash", "images"]


def check_same(disturbed: Path, whole: Path) -> int:
    """Compare two studies' ledgers: trials, epochs and intents but for what may differ, and reads.

    A read of a test split is written before it happens, so one that was cut off stands there twice: of each
    that the undisturbed study has there is at least one, and no other.

    Returns:
        How many reads the disturbed study has besides.

    Raises:
        AssertionError: a table differs.
    """
    for table, keys in KEYS.items():
        frames = []
        for folder in (disturbed, whole):
            frame = pd.read_parquet(folder / "ledger" / table).drop(columns=VARYING, errors="ignore")
            if "hyperparameters" in frame:  # in any order
                frame["hyperparameters"] = [
                    settings_key(json.loads(text)) for text in frame["hyperparameters"]
                ]
            frames.append(frame.sort_values(keys).reset_index(drop=True))
        # The order of a column's categories is that of the files it lies in.
        pd.testing.assert_frame_equal(*frames, check_categorical=False, obj=table)
    reads = [
        pd.read_parquet(folder / "ledger" / "reads").astype({"trial_id": str})
        for folder in (disturbed, whole)
    ]
    found, wanted = (set(frame[_READ].itertuples(index=False, name=None)) for frame in reads)
    assert found == wanted, f"reads: expected {sorted(wanted - found)}; found {sorted(found - wanted)}"
    return len(reads[0]) - len(reads[1])
