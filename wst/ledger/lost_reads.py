"""Reads of test splits that a ledger's table has lost, as the user's log still has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from wst.ledger.schema import READS_SCHEMA


def lost_reads(
    folder: Path,
    intents: Iterable[Mapping[str, Any]],
    rows: Iterable[Mapping[str, Any]],
    kept: Iterable[Mapping[str, Any]],
    logged: Sequence[Mapping[str, Any]],
) -> pa.Table:
    """The reads of a ledger's trials that the log has and the table ``reads`` has not.

    A read is a trial's when study, trial and images are, and when it came after the trial was decided on:
    what an earlier ledger in the same folder read is none of this one's.  Of ledgers with trials of the same
    names in several folders each has its own; one that has been moved has those of the only other folder.

    Args:
        folder: the output folder.
        intents: ``study``, ``trial_id``, ``stage`` and ``time`` of the table ``intents``.
        rows: ``trial_id``, ``test_hash`` and ``ended`` of the table ``trials``.
        kept: ``trial_id``, ``read_id`` and ``test_hash`` of the table ``reads``.
        logged: the entries of the user's log.
    """
    begun = {row["trial_id"]: row for row in intents if row["stage"] == "final"}
    ended = {row["trial_id"]: row for row in rows}
    known = list(kept)
    here, counted = {row["read_id"] for row in known}, {row["trial_id"] for row in known}
    hashes = {row["trial_id"]: row.get("test_hash") for row in [*known, *ended.values()]}
    candidates: dict[str, list[dict[str, Any]]] = {}
    for entry in logged:
        intent, when = begun.get(entry.get("trial_id")), _time(entry.get("time"))
        if (
            intent is not None
            and when is not None
            and intent["time"] is not None
            and when >= intent["time"]
            and entry.get("study") == intent["study"]
            and entry["read_id"] not in here
            and hashes.get(intent["trial_id"], entry["test_hash"]) == entry["test_hash"]
        ):
            candidates.setdefault(intent["trial_id"], []).append({**entry, "time": when})
    found: list[dict[str, Any]] = []
    for trial_id, entries in candidates.items():
        own = [entry for entry in entries if entry.get("folder") == str(folder.absolute())]
        if not own and trial_id not in counted and trial_id in ended:
            until = ended[trial_id].get("ended")
            own = [entry for entry in entries if until is not None and entry["time"] <= until]
            own = own if len({entry.get("folder") for entry in own}) == 1 else []
        found += own
    return pa.Table.from_pylist(
        [{name: entry.get(name) for name in READS_SCHEMA.names} for entry in found], READS_SCHEMA
    )


def _time(text: object) -> datetime | None:
    try:
        when = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return when if when.tzinfo is not None else None
