"""What of a damaged ledger holds, and what does not: nothing is made up.

A plan is made, of files alone; carrying it out is another step (:mod:`wst.ledger.laying_aside`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from wst.errors import InputError
from wst.ledger.agreement import Agreement, agree
from wst.ledger.files import COMPACTED, damage, fits, home_of, read_file
from wst.ledger.generations import newest
from wst.ledger.lost_reads import lost_reads
from wst.ledger.reading import resolved_study
from wst.ledger.reads import Log
from wst.ledger.schema import INTENTS_SCHEMA, READS_SCHEMA, TABLES, table_schemas
from wst.study import Study

AGAIN = "wst tune runs it again under the same settings and seed"
_AGAIN_FINAL = f"{AGAIN}; that reads the test split once more, and reads are counted"


@dataclass(frozen=True)
class Finding:
    """A thing that is damaged.

    Attributes:
        path: what it is, below the study's folder.
        found: what is wrong with it, in words.
        meaning: what that means, in words.
    """

    path: str
    found: str
    meaning: str


@dataclass
class Plan:
    """What is damaged in a study's folder, and what is left when that is laid aside.

    Attributes:
        findings: what is damaged; nothing is to be done where it is empty.
        study: the study; None where its file is damaged.
        aside: files and folders to lay aside as they are.
        removed: rows to lay aside, by table.
        tables: those that hold, by table; None where the ledger stays as it is.
    """

    findings: list[Finding] = field(default_factory=list)
    study: Study | None = None
    aside: list[Path] = field(default_factory=list)
    removed: dict[str, pa.Table] = field(default_factory=dict)
    tables: dict[str, pa.Table] | None = None

    def note(self, folder: Path, path: Path, found: str, meaning: str) -> None:
        """Add a finding."""
        self.findings.append(Finding(str(path.relative_to(folder)), found, meaning))


def plan(folder: Path, log: Log) -> Plan:
    """Look at a study's folder; nothing in it is changed.

    Args:
        folder: a study's output folder.
        log: the user's log of reads, which has a copy of what a damaged file of ``reads`` held.
    """
    made = Plan()
    _look_at_study(folder, made)
    _look_at_link(folder, made)
    generation = newest(folder)
    if generation is not None:
        _look_at_tables(folder, generation, made, log)
    return made


def _look_at_study(folder: Path, made: Plan) -> None:
    path = folder / "study.yaml"
    if not path.exists():
        made.note(folder, path, "it is missing", "give the study's file to wst tune again, with this --out")
        return
    try:
        made.study = resolved_study(folder)
    except InputError as error:
        words = str(error).removeprefix(f"{path}").lstrip(":, ")
        made.note(folder, path, words, "give the study's file to wst tune again, with this --out")
        made.aside.append(path)


def _look_at_link(folder: Path, made: Plan) -> None:
    current, whole = folder / "ledger", newest(folder)
    if current.exists() and (not current.is_dir() or whole != current):
        words = "a folder without its tables" if current.is_dir() else "a file"
        meaning = f"{whole.name} takes its place" if whole else "it is no ledger"
        made.note(folder, current, f"expected the ledger; found {words}", meaning)
        made.aside.append(current)
    elif current.is_symlink() and not current.exists():
        words = f"it leads to {current.readlink()}, which is not there"
        lost = (
            "every row, curve and intent is lost: wst tune begins anew, and what it scores on test is counted"
        )
        made.note(folder, current, words, f"{whole.name} takes its place" if whole else lost)
        made.aside.append(current)
    elif not current.exists() and whole is not None:
        made.note(folder, current, "it is missing", f"{whole.name} takes its place")


def _look_at_tables(folder: Path, generation: Path, made: Plan, log: Log) -> None:
    good: dict[str, dict[Path, pa.Table]] = {}
    bad: dict[str, list[Path]] = {}
    schemas = _schemas(generation, made)
    for table in TABLES:
        good[table], bad[table] = _scan(folder, generation / table, table, schemas.get(table), made)
    _take_home(folder, schemas, good, bad, made)
    name = made.study.name if made.study is not None else _name(good)
    agreed = agree(name, good["trials"], good["intents"], good["epochs"])
    restored = _restored_reads(bad["reads"], log)
    named = {read["read_id"] for read in restored}
    missing = [read for read in _missing_reads(folder, good, log) if read["read_id"] not in named]
    for read in missing if not bad["reads"] else ():
        path = folder / "ledger" / "reads" / f"{read['trial_id']}.{read['read_id']}.parquet"
        made.note(folder, path, "it is missing", "the read is made again from the log of reads")
    restored += missing
    if not made.findings and not agreed.faults:
        return
    _describe(folder, agreed, good, bad, {read["read_id"] for read in restored}, made)
    if (
        agreed.faults
        or missing
        or any(bad.values())
        or not all((generation / table).is_dir() for table in TABLES)
    ):
        made.tables = _kept(agreed, good, restored, name, made)


def _take_home(
    folder: Path,
    schemas: Mapping[str, pa.Schema],
    good: Mapping[str, dict[Path, pa.Table]],
    bad: Mapping[str, list[Path]],
    made: Plan,
) -> None:
    """Count a whole file of another table, as of two that were exchanged, to that one."""
    for table, paths in bad.items():
        for path in paths:
            home = home_of(path, schemas)
            if home is not None and home != table:
                good[home][path] = read_file(path)
                shown = str(path.relative_to(folder))
                made.findings = [finding for finding in made.findings if finding.path != shown]
                made.note(folder, path, f"it is a file of the table {home}", "its rows are put back there")


def _schemas(generation: Path, made: Plan) -> Mapping[str, pa.Schema]:
    """The schemas that files must have; of a study that is not known, those of the newest whole files."""
    if made.study is not None:
        # Its module loads the methods, which a study's own file may have moved away from.
        from wst.ledger.hyperparameters import column_types

        try:
            return table_schemas(column_types(made.study))
        except InputError:
            pass
    found = {}
    for table in TABLES:
        files = sorted((generation / table).glob("*.parquet"), key=lambda path: path.stat().st_mtime_ns)
        whole = next((path for path in reversed(files) if damage(path, table) is None), None)
        if whole is not None:
            found[table] = read_file(whole).schema
    return found


def _scan(
    folder: Path, where: Path, table: str, schema: pa.Schema | None, made: Plan
) -> tuple[dict[Path, pa.Table], list[Path]]:
    """A table's whole files with their rows, and its damaged ones."""
    whole: dict[Path, pa.Table] = {}
    damaged: list[Path] = []
    if not where.is_dir():
        if where.exists() or table != "reads":
            made.note(folder, where, "expected a table's folder; found none", "all that it held is lost")
            made.aside += [where] if where.exists() else []
        return whole, damaged
    for path in sorted(where.iterdir()):
        if path.suffix != ".parquet":
            made.note(folder, path, "it is no file of the ledger", "nothing is lost")
            made.aside.append(path)
            damaged.append(path)
            continue
        words = damage(path, table)
        rows = read_file(path) if words is None else None
        if rows is not None and schema is not None and not fits(rows.schema, schema):
            words = f"expected the columns of this study's table {table}; found others"
        if words is None and rows is not None:
            whole[path] = rows
        else:
            made.findings.append(Finding(str(path.relative_to(folder)), words or "", ""))
            made.aside.append(path)
            damaged.append(path)
    return whole, damaged


def _name(good: Mapping[str, Mapping[Path, pa.Table]]) -> str:
    """The study's name, by most of its rows."""
    values = [name for table in good["intents"].values() for name in table["study"].to_pylist()]
    return max(set(values), key=values.count) if values else ""


def _restored_reads(damaged: Iterable[Path], log: Log) -> list[dict[str, Any]]:
    """The reads that damaged files are named after, as the user's log has them."""
    wanted = {path.stem.rpartition(".")[2] for path in damaged}
    names = READS_SCHEMA.names
    found = []
    for entry in log.entries:
        if entry["read_id"] in wanted:
            when = datetime.fromisoformat(entry["time"]) if entry.get("time") else None
            found.append({name: entry.get(name) for name in names} | {"time": when})
    return found


def _missing_reads(
    folder: Path, good: Mapping[str, Mapping[Path, pa.Table]], log: Log
) -> list[dict[str, Any]]:
    """The reads that no file holds, as the user's log has them."""
    rows = {table: [row for part in good[table].values() for row in part.to_pylist()] for table in _OF_READS}
    found = lost_reads(folder, rows["intents"], rows["trials"], rows["reads"], log.entries)
    return list(found.to_pylist())


_OF_READS = ("intents", "trials", "reads")


def _describe(
    folder: Path,
    agreed: Agreement,
    good: Mapping[str, Mapping[Path, pa.Table]],
    bad: Mapping[str, list[Path]],
    restored: set[str],
    made: Plan,
) -> None:
    """Say what each damage means."""
    rows = {i for table in good["trials"].values() for i in table["trial_id"].to_pylist()}
    intents = {i for table in good["intents"].values() for i in table["trial_id"].to_pylist()}
    meanings, again = {}, {(f.file.parent.name, f.file.name): f for f in agreed.faults if f.again}
    for table, paths in bad.items():
        for path in paths:
            meaning = _meaning(table, path.stem, rows, intents, restored)
            fault = again.get((table, path.name))
            if fault is not None:
                meaning = f"{fault.trial_id}: its curve is lost; {_again(fault.trial_id)}"
            meanings[str(path.relative_to(folder))] = meaning
    made.findings = [
        finding if finding.meaning else Finding(finding.path, finding.found, meanings[finding.path])
        for finding in made.findings
    ]
    said = {(table, path.name) for table, paths in bad.items() for path in paths}
    for fault in agreed.faults:
        if (fault.file.parent.name, fault.file.name) in said:
            continue
        if fault.again:
            meaning = f"{fault.trial_id}: {_again(fault.trial_id)}"
        elif fault.replaced:
            meaning = f"{fault.trial_id} is taken out, and wst tune asks for what is missing"
        elif fault.found == "its intent is missing":
            meaning = f"{fault.trial_id}: its intent is made again from its row"
        else:
            meaning = f"{fault.trial_id}: what holds is kept, and the rest laid aside"
        path = Path("ledger") / fault.file.parent.name / fault.file.name
        made.findings.append(Finding(str(path), fault.found, meaning))


def _again(trial_id: str) -> str:
    final = trial_id.rpartition(".")[0].endswith(".final")
    return _AGAIN_FINAL if final else AGAIN


def _meaning(table: str, name: str, rows: set[str], intents: set[str], restored: set[str]) -> str:
    """What the damage of a file means."""
    if table == "reads":
        if name.rpartition(".")[2] in restored:
            return "the read is made again from the log of reads"
        if name.startswith(COMPACTED):
            return "its reads are made again from the log of reads, as far as that has them, or from rows"
        return "reads that only it showed count as those of others, by the log of reads"
    if name.startswith(COMPACTED):
        return {
            "trials": "its trials have lost their rows: those whose intents are whole run again",
            "epochs": "its trials have lost their curves, and run again",
            "intents": "the intents of trials that have ended are made again from their rows",
        }[table]
    if table == "trials":
        words = f"its row is lost; {_again(name)}" if name in intents else "nothing else of it is there"
        return f"{name}: {words}"
    if table == "epochs":
        return f"{name}: its curve is lost" if name in rows else f"{name}: it had not ended, and goes on"
    if name in rows:
        return f"{name}: its intent is made again from its row"
    return f"{name}: it was begun and had not ended; wst tune asks for another in its place"


def _kept(
    agreed: Agreement,
    good: Mapping[str, Mapping[Path, pa.Table]],
    restored: list[dict[str, Any]],
    name: str,
    made: Plan,
) -> dict[str, pa.Table]:
    """The tables that hold; what they have lost is noted as removed."""
    whole = {table: _together(good[table].values()) for table in TABLES}
    kept: dict[str, pa.Table] = {}
    for table, places in (("trials", agreed.trials), ("intents", agreed.intents)):
        rows = whole[table]
        if rows is not None:
            kept[table] = rows.take(pa.array(places, pa.int64()))
            _remove(
                made, table, rows, pc.invert(pc.is_in(_places(rows), value_set=pa.array(places, pa.int64())))
            )
    if agreed.rebuilt and whole["trials"] is not None:
        made_again = _intents_of(whole["trials"].take(pa.array(agreed.rebuilt, pa.int64())))
        kept["intents"] = _together(
            [table for table in (kept.get("intents"), made_again) if table is not None]
        )
    epochs = whole["epochs"]
    if epochs is not None:
        # What has no row is sent again, and would be there twice.
        ended = set(kept["trials"]["trial_id"].to_pylist()) if "trials" in kept else set()
        out = pc.invert(pc.is_in(epochs["trial_id"], value_set=pa.array(sorted(ended), pa.string())))
        kept["epochs"] = epochs.filter(pc.invert(out))
        _remove(made, "epochs", epochs, out)
    again = pa.Table.from_pylist(restored, READS_SCHEMA)
    kept["reads"] = _together([table for table in (whole["reads"], again) if table is not None])
    return {table: rows for table, rows in kept.items() if rows is not None}


def _together(tables: Iterable[pa.Table]) -> pa.Table | None:
    found = list(tables)
    return pa.concat_tables(found, promote_options="default").combine_chunks() if found else None


def _places(rows: pa.Table) -> pa.Array:
    return pa.array(range(rows.num_rows), pa.int64())


def _remove(made: Plan, table: str, rows: pa.Table, which: pa.Array) -> None:
    removed = rows.filter(which)
    if removed.num_rows:
        made.removed[table] = removed


def _intents_of(rows: pa.Table) -> pa.Table:
    """The intents of trials that have ended, made of their rows."""
    found = []
    for row in rows.to_pylist():
        settings = json.dumps(json.loads(row["configuration"])["hyperparameters"])
        found.append({**row, "hyperparameters": settings, "time": row["started"]})
    return pa.Table.from_pylist(found, INTENTS_SCHEMA)
