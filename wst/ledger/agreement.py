"""Whether a ledger's rows, curves and intents agree, and what is left of them where they do not.

A row is worth what stands behind it: the intent under whose settings it was trained, and the curve that it is
the end of.  A row without its curve is taken out, so that its trial runs again, and so does one that has lost
its row; an intent that is missing is made from its row, which says all that it said.  Nothing here touches a
file.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from wst.errors import InputError
from wst.ledger.files import COMPACTED, read_file, whole_files
from wst.ledger.reading import fragments

Files = Mapping[Path, pa.Table]
"""A table's files, each with its rows."""

_WHO = ["study", "trial_id", "task", "variant", "stage", "number", "ask_order", "seed", "parent"]
COLUMNS = {
    "trials": [*_WHO, "configuration", "epochs"],
    "intents": [*_WHO, "hyperparameters"],
    "epochs": ["study", "trial_id", "epoch"],
}
"""What tells whether the tables agree."""


@dataclass(frozen=True)
class Fault:
    """What does not agree.

    Attributes:
        file: the file with what is wrong, or the one that is missing.
        trial_id: whose it is.
        found: what is wrong, in words.
        again: the trial has to run again.
        replaced: its settings are no longer accounted for: the study asks for another in its place.
    """

    file: Path
    trial_id: str
    found: str
    again: bool = False
    replaced: bool = False


@dataclass
class Agreement:
    """What agrees.

    Attributes:
        faults: what does not.
        trials: the places of the rows that hold, in the files' order.
        intents: likewise.
        rebuilt: the places of rows whose intent is missing.
        curves: the ids of trials whose epochs are to be taken out.
    """

    faults: list[Fault] = field(default_factory=list)
    trials: list[int] = field(default_factory=list)
    intents: list[int] = field(default_factory=list)
    rebuilt: list[int] = field(default_factory=list)
    curves: set[str] = field(default_factory=set)


def settings_key(hyperparameters: Mapping[str, Any]) -> str:
    """Equal for equal settings, whatever their order."""
    return json.dumps(hyperparameters, sort_keys=True)


@dataclass(frozen=True)
class _Entry:
    """A row of ``trials`` or ``intents``."""

    place: int
    file: Path
    row: Mapping[str, Any]
    settings: str
    ended: bool
    """Whether it is a row of ``trials``."""

    def __getitem__(self, name: str) -> Any:
        return self.row.get(name)

    @property
    def trial_id(self) -> str:
        return str(self.row["trial_id"])

    @property
    def identity(self) -> tuple[Hashable, ...]:
        return (*(self[name] for name in _WHO), self.settings)

    @property
    def own(self) -> bool:
        """Whether it is what its id says."""
        number = f"{self['number']:04d}" if isinstance(self["number"], int) else ""
        return self.trial_id == f"{self['task']}.{self['variant']}.{self['stage']}.{number}"


def _entries(files: Files, settings: str) -> list[_Entry]:
    found: list[_Entry] = []
    for file, table in files.items():
        for row in table.to_pylist():
            try:
                given = json.loads(row[settings])
                key = settings_key(given["hyperparameters"] if settings == "configuration" else given)
            except (ValueError, KeyError, TypeError):
                key = ""
            found.append(_Entry(len(found), file, row, key, settings == "configuration"))
    return found


def agree(study: str | None, trials: Files, intents: Files, epochs: Files) -> Agreement:
    """What of a ledger's tables agrees.

    Args:
        study: the study's name; None takes any.
        trials, intents, epochs: files with at least :data:`COLUMNS`.
    """
    result = Agreement()
    for files in (trials, intents, epochs):
        result.faults += _misplaced(files)
    known = _intents(study, _entries(intents, "hyperparameters"), result)
    found = _entries(trials, "configuration")
    rows = _rows(study, found, result)
    _without_row({row.trial_id for row in found}, epochs, result)
    sizes, curve_files = _curves(epochs)
    for trial_id, row in list(rows.items()):
        intent = known.setdefault(trial_id, row)
        if intent is row:
            where = row.file.parent.parent / "intents" / f"{trial_id}.parquet"
            result.faults.append(Fault(where, trial_id, "its intent is missing"))
        elif intent.identity != row.identity:
            words = "its row is of other settings than its intent"
            result.faults.append(Fault(row.file, trial_id, words, again=True))
            result.curves.add(trial_id)
            del rows[trial_id]
            continue
        many, whole = sizes.get(trial_id, (0, True))
        if many != row["epochs"] or not whole:
            where = row.file.parent.parent / "epochs" / f"{trial_id}.parquet"
            words = f"its row is of {row['epochs']} epochs, its curve of {many}"
            words += "" if whole else ", with gaps or twice the same"
            where = curve_files.get(trial_id, where)
            result.faults.append(Fault(where, trial_id, words, again=True))
            result.curves.add(trial_id)
            del rows[trial_id]
    _orphans(known, rows, result)
    result.trials = sorted(row.place for row in rows.values())
    result.intents = sorted(entry.place for entry in known.values() if not entry.ended)
    result.rebuilt = sorted(entry.place for entry in known.values() if entry.ended)
    return result


def _misplaced(files: Files) -> Iterable[Fault]:
    """Files of one trial that are named after another: that one's would replace them."""
    for file, table in files.items():
        if not file.name.startswith(COMPACTED):
            for trial_id in dict.fromkeys(table["trial_id"].to_pylist()):
                if trial_id != file.stem:
                    yield Fault(file, str(trial_id), "its file has another trial's name")


def _intents(study: str | None, found: list[_Entry], result: Agreement) -> dict[str, _Entry]:
    kept: dict[str, _Entry] = {}
    for entry in found:
        first = kept.get(entry.trial_id)
        if not entry.own or not entry.settings or entry["study"] != (study or entry["study"]):
            result.faults.append(Fault(entry.file, entry.trial_id, "an intent that is not of this study"))
        elif first is None:
            kept[entry.trial_id] = entry
        elif first.identity == entry.identity:
            result.faults.append(Fault(entry.file, entry.trial_id, "its intent is there twice"))
        else:
            words = f"another intent of the trial than in {first.file.name}"
            result.faults.append(Fault(entry.file, entry.trial_id, words))
    orders = Counter(entry["ask_order"] for entry in kept.values())
    for entry in list(kept.values()):
        if orders[entry["ask_order"]] > 1:
            orders[entry["ask_order"]] -= 1
            words = f"place {entry['ask_order']} among the asks is another trial's, too"
            result.faults.append(Fault(entry.file, entry.trial_id, words))
            del kept[entry.trial_id]
    return kept


def _rows(study: str | None, found: list[_Entry], result: Agreement) -> dict[str, _Entry]:
    by_id: dict[str, list[_Entry]] = defaultdict(list)
    for entry in found:
        if not entry.own or not entry.settings or entry["study"] != (study or entry["study"]):
            result.faults.append(Fault(entry.file, entry.trial_id, "a row that is not of this study"))
        else:
            by_id[entry.trial_id].append(entry)
    kept = {}
    for trial_id, entries in by_id.items():
        kept[trial_id] = entries[0]
        for entry in entries[1:]:
            result.faults.append(Fault(entry.file, trial_id, "its row is there twice"))
            if dict(entry.row) != dict(entries[0].row):  # nobody knows which holds
                kept.pop(trial_id, None)
                result.curves.add(trial_id)
    return kept


def _without_row(ended: set[str], epochs: Files, result: Agreement) -> None:
    """Note the trials that have lost their rows: among the files of one trial a curve without a row is left
    from a trial that was cut off, but files of several have none."""
    for file, table in epochs.items():
        if file.name.startswith(COMPACTED):
            for trial_id in dict.fromkeys(table["trial_id"].to_pylist()):
                if trial_id not in ended:
                    where = file.parent.parent / "trials" / f"{trial_id}.parquet"
                    result.faults.append(Fault(where, trial_id, "its row is missing", again=True))
                    result.curves.add(trial_id)


def _curves(epochs: Files) -> tuple[dict[str, tuple[int, bool]], dict[str, Path]]:
    """How many epochs a trial has, and whether these are 1, 2, 3 and so on; and files by their names."""
    if not epochs:
        return {}, {}
    table = pa.concat_tables(table.select(["trial_id", "epoch"]) for table in epochs.values())
    found = table.group_by("trial_id").aggregate(
        [("epoch", "count"), ("epoch", "count_distinct"), ("epoch", "max"), ("epoch", "min")]
    )
    sizes = {}
    for row in found.to_pylist():
        many = row["epoch_count"]
        whole = many == row["epoch_count_distinct"] == row["epoch_max"] and row["epoch_min"] == 1
        sizes[row["trial_id"]] = many, whole
    return sizes, {file.stem: file for file in epochs}


def _orphans(known: dict[str, _Entry], rows: dict[str, _Entry], result: Agreement) -> None:
    """Take out trials with the settings of one that is not known any more: another may get its name.

    Where nothing of that one's stage is known, none will: single trials of a study, run again by themselves.
    """
    stages = {trial_id.rpartition(".")[0] for trial_id in known}
    while True:
        parents = {e.trial_id: e["parent"] for e in known.values() if e["parent"] is not None}
        gone = [known[i] for i, p in parents.items() if p not in known and p.rpartition(".")[0] in stages]
        if not gone:
            return
        for entry in gone:
            words = f"the trial whose settings it has, {entry['parent']}, is missing"
            result.faults.append(Fault(entry.file, entry.trial_id, words, replaced=True))
            result.curves.add(entry.trial_id)
            del known[entry.trial_id]
            rows.pop(entry.trial_id, None)


def check_agreement(folder: Path, study: str | None = None) -> Agreement:
    """Refuse a ledger whose tables do not agree.

    Args:
        folder: the study's output folder.
        study: the study's name; None takes any.

    Raises:
        InputError: naming a trial and a file; or as :func:`wst.ledger.reading.fragments`.
    """
    for attempt in range(3):
        try:
            found = agree(study, *(read_parts(folder, table) for table in ("trials", "intents", "epochs")))
        except FileNotFoundError:  # another generation is in place
            if attempt == 2:
                raise
            continue
        if not found.faults:
            return found
        # A trial that is discarded or written again while it is read here looks like damage; but not twice.
    first, more = found.faults[0], len(found.faults) - 1
    others = f", and {more} more" if more else ""
    raise InputError(
        f"{folder / 'ledger' / first.file.parent.name / first.file.name}: expected rows, curves and intents "
        f"that agree; found of {first.trial_id}: {first.found}{others} (wst repair {folder} says what is "
        "lost, and lays it aside)"
    )


def read_parts(folder: Path, table: str) -> dict[Path, pa.Table]:
    """A table's files, with the columns of :data:`COLUMNS`."""
    files, _ = fragments(folder, table)
    with whole_files(folder, table), ThreadPoolExecutor() as pool:
        return dict(zip(files, pool.map(lambda path: read_file(path, COLUMNS[table]), files), strict=True))
