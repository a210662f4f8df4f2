"""The ledger: a study's Parquet tables, the only truth about it.

``DIR/ledger`` has a folder of Parquet files for each of ``trials``, ``epochs``, ``intents`` and ``reads``,
all with the study's full typed schema, so that ``pandas.read_parquet``, DuckDB and Polars read each folder as
one table.  A trial's fragments, named after it, are written aside, flushed and renamed into place.  Its
epochs come first and its row last: the row is the commit, and writing again after a crash replaces.  A read
of a test split is a fragment of its own, written before it happens and never again.

Many fragments are slow to read, so on opening and on closing they become one file a table, in a new
generation of the ledger (:mod:`wst.ledger.generations`); so does everything when a study grows by a
hyperparameter, and when trials are discarded to be run again.

Who opens a ledger for writing holds its lock, which the operating system frees when the process ends,
however it ends.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from wst.data.suites import find_suite
from wst.errors import InputError
from wst.files import locked, make_folder, replacing
from wst.ledger.agreement import check_agreement, settings_key
from wst.ledger.configuration import configuration
from wst.ledger.files import COMPACTED
from wst.ledger.generations import newest, settle
from wst.ledger.hyperparameters import column_types
from wst.ledger.own import is_study
from wst.ledger.reading import (
    all_reads,
    fragments,
    ordered_tables,
    read_files,
    read_table,
    resolved_study,
)
from wst.ledger.reads import read_log
from wst.ledger.rewriting import write_generation, write_table
from wst.ledger.schema import (
    SCHEMA_VERSION,
    TABLES,
    table_schemas,
)
from wst.records import Intent, Outcome, Read
from wst.study import Study
from wst.study.growth import check_extension

COMPACT_ABOVE = 500
"""Files of the tables together that are left as they are."""


class Ledger:
    """A study's ledger, open for writing.

    Args:
        folder: the study's output folder.
        study: the resolved study; its hyperparameters give the ``hp_*`` columns.  It may ask for more than
            the study in the folder, as :func:`wst.study.growth.check_extension` says.
        code: code version, commit and library versions, as :func:`wst.ledger.provenance.code` gives them.
        check: called before anything of what the folder holds is changed; it may refuse to go on.

    Raises:
        InputError: the folder belongs to another study, another process writes to it, a file is damaged, or
            rows, curves and intents do not agree.
    """

    def __init__(
        self,
        folder: Path,
        study: Study,
        code: Mapping[str, str | None],
        check: Callable[[], None] = lambda: None,
    ):
        self.folder, self.study, self._code, self._check = folder, study, code, check
        self._suite = find_suite(study.suite)
        self._types = column_types(study)
        self._schemas = table_schemas(self._types)
        self._partial = folder / "ledger" / ".partial"
        self._shared: set[str] = set()
        """Trials whose row or epochs lie in a file with those of others."""
        self._settings: dict[str, dict[str, tuple[object, ...]]] = {"trials": {}, "intents": {}}
        """What tells a trial's configuration from another's, of every row and intent, by its id."""
        self._read = Counter[str]()
        if folder.exists() and not is_study(folder):
            # A process killed while it began a study has left no more than these.
            others = {path.name for path in folder.iterdir()} - {".lock", ".study.yaml"}
            if others:
                raise InputError(
                    f"{folder}: expected an empty or new folder, or a study's; found other files"
                )
        make_folder(folder)
        with ExitStack() as held:
            if not held.enter_context(locked(folder / ".lock", wait=False)):
                raise InputError(
                    f"{folder}: expected no other process on this study; found one that writes to it"
                )
            self._open()
            self._lock = held.pop_all()

    def _open(self) -> None:
        if not (self.folder / "study.yaml").exists():
            if newest(self.folder) is not None:  # its study file is lost: the rows say whose it is
                settle(self.folder)
                check_agreement(self.folder, self.study.name)
                self._check()
            self._write_study()
        settle(self.folder)
        listed = {table: fragments(self.folder, table) for table in TABLES}
        begun = bool(listed["intents"][0])
        check_extension(self.folder, resolved_study(self.folder), self.study, begun=begun)
        self._check()
        for table, (files, found) in listed.items():
            self._check_columns(table, files, found.names)
        self._note_settings()
        (self.folder / "ledger" / "reads").mkdir(exist_ok=True)  # an older version's has none
        self._partial.mkdir(exist_ok=True)
        for left_over in self._partial.iterdir():
            left_over.unlink()
        self._keep_reads()  # before a rewrite, which would make up those that the log has
        outdated = any(files and not found.equals(self._schemas[t]) for t, (files, found) in listed.items())
        if outdated or sum(len(files) for files, _ in listed.values()) > COMPACT_ABOVE:
            self._rewrite()
        else:
            for table, (files, _) in listed.items():
                several = [path for path in files if path.name.startswith(COMPACTED)]
                if several and table in ("trials", "epochs"):
                    self._shared |= set(read_files(several, ["trial_id"])["trial_id"].to_pylist())
        self._write_study()

    def _check_columns(self, table: str, files: Iterable[Path], names: Iterable[str]) -> None:
        """Refuse columns that are not the study's, as of a damaged file: a rewrite would leave them out.

        Raises:
            InputError: naming one and its file.
        """
        other = next((name for name in names if name not in self._schemas[table].names), None)
        if other is not None:
            file = next(path for path in files if other in pq.read_schema(path).names)
            raise InputError(
                f"{self.folder / 'ledger' / table / file.name}: expected the columns of this study's table "
                f"{table}; found {other!r} besides, in a damaged file or one of a newer version (wst repair "
                f"{self.folder} lays it aside)"
            )

    def _note_settings(self) -> None:
        """Check that the tables agree, and keep what tells their trials' configurations apart.

        Raises:
            InputError: they do not.
        """
        check_agreement(self.folder, self.study.name)
        columns = ["trial_id", "task", "variant", "stage", "seed", "hyperparameters"]
        for row in read_table(self.folder, "intents", columns).to_pylist():
            settings = json.loads(row.pop("hyperparameters"))
            self._settings["intents"][row["trial_id"]] = (*row.values(), settings_key(settings))
        # They agree, so that a row's settings are its intent's.
        for trial_id in read_table(self.folder, "trials", ["trial_id"])["trial_id"].to_pylist():
            self._settings["trials"][trial_id] = self._settings["intents"][trial_id]

    def _keep_reads(self) -> None:
        """Write down the reads that only the user's log or rows show, as those of a ledger from before reads
        were kept."""
        known = all_reads(self.folder, read_log().entries)
        kept = set(read_table(self.folder, "reads", ["read_id"])["read_id"].to_pylist())
        found = known.filter(pc.invert(pc.is_in(known["read_id"], value_set=pa.array(kept, pa.string()))))
        if found.num_rows:
            self._write("reads", f"{COMPACTED}{uuid4().hex[:12]}", found)
        self._read.update(known["trial_id"].to_pylist())

    def close(self) -> None:
        """Make one file a table out of many fragments, and release the lock."""
        try:
            with suppress(OSError, InputError, pa.ArrowException):  # the ledger is whole as it is
                if sum(len(fragments(self.folder, table)[0]) for table in TABLES) > COMPACT_ABOVE:
                    self._rewrite()
        finally:
            self._lock.close()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_intent(self, intent: Intent) -> None:
        """Make an intent durable, unless it is so already.

        Raises:
            InputError: the trial is there with other settings.
        """
        if self._same("intents", intent):
            return
        row = {
            "study": self.study.name,
            **vars(intent),
            "hyperparameters": json.dumps(intent.hyperparameters),
            "time": intent.time or datetime.now(UTC),
        }
        self._write("intents", intent.trial_id, [row])
        self._settings["intents"][intent.trial_id] = _settings(intent)

    def add_trial(self, intent: Intent, outcome: Outcome) -> None:
        """Append an ended trial: its epochs, then its row.  One that is there is replaced.

        Raises:
            InputError: the trial is there with other settings.
        """
        self._same("intents", intent)
        self._same("trials", intent)
        if intent.trial_id in self._shared:
            self._rewrite({intent.trial_id})
        who = {"study": self.study.name, **vars(intent)}
        epochs = [{**who, **vars(epoch)} for epoch in outcome.epochs]
        self._write("epochs", intent.trial_id, epochs)
        self._write("trials", intent.trial_id, [self._row(intent, outcome)])
        self._settings["trials"][intent.trial_id] = _settings(intent)

    def begun(self, trial_id: str) -> bool:
        """Whether the trial has an intent."""
        return trial_id in self._settings["intents"]

    def add_read(self, read: Read) -> None:
        """Write down a read of a test split, which is to come."""
        self._write("reads", f"{read.trial_id}.{read.read_id}", [{"study": self.study.name, **vars(read)}])
        self._read[read.trial_id] += 1

    def reads(self, trial_id: str) -> int:
        """How often a trial has read its test split, or was about to."""
        return self._read[trial_id]

    def _same(self, table: str, intent: Intent) -> bool:
        """Whether the trial is in a table already.

        Raises:
            InputError: with other settings, which must not be lost.
        """
        there = self._settings[table].get(intent.trial_id)
        if there is not None and there != _settings(intent):
            found = f"{settings_key(intent.hyperparameters)}, seed {intent.seed}"
            raise InputError(
                f"{self.folder / 'ledger' / table}: expected {intent.trial_id} with the settings, stage and "
                f"seed that it has there; found others ({found})"
            )
        return there is not None

    def discard(self, trial_ids: Iterable[str]) -> None:
        """Take ended trials out of ``trials`` and ``epochs``, so that they can be run again.

        Their intents stay.  All of them go in one step.

        Raises:
            InputError: one has not ended.
        """
        unwanted = set(trial_ids)
        ended = set(read_table(self.folder, "trials", ["trial_id"])["trial_id"].to_pylist())
        unknown = sorted(unwanted - ended)
        if unknown:
            raise InputError(f"{self.folder}: expected an ended trial; found none named {unknown[0]!r}")
        if unwanted:
            self._rewrite(unwanted)
            for trial_id in unwanted:
                del self._settings["trials"][trial_id]

    def _row(self, intent: Intent, outcome: Outcome) -> dict[str, Any]:
        study, last = self.study, outcome.epochs[-1] if outcome.epochs else None
        values = [epoch.val_top1 for epoch in outcome.epochs if epoch.val_top1 is not None]
        return {
            **vars(intent),
            **vars(outcome),
            **{f"hp_{name}": value for name, value in intent.hyperparameters.items()},
            "study": study.name,
            "suite": study.suite,
            "group": self._suite.task(intent.task).group,
            "method": study.variants[intent.variant].method,
            "backbone": study.backbone,
            "recipe_hash": study.recipe.digest(),
            "configuration": json.dumps(configuration(study, intent), sort_keys=True),
            "epochs": len(outcome.epochs),
            "val_top1_last": last.val_top1 if last else None,
            "val_top1_best": max(values, default=None),
            "val_loss": last.val_loss if last else None,
            "train_loss": last.train_loss if last else None,
            "code_version": self._code["version"],
            "code_commit": self._code["commit"],
            "library_versions": self._code["libraries"],
            "schema_version": SCHEMA_VERSION,
        }

    def _write(self, table: str, name: str, rows: list[dict[str, Any]] | pa.Table) -> None:
        schema = self._schemas[table]
        content = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist(rows, schema=schema)
        repeated = [field.name for field in schema if pa.types.is_dictionary(field.type)]
        path = self.folder / "ledger" / table / f"{name}.parquet"
        # Not beside it: readers take whatever lies in a table's folder.
        with replacing(path, aside=self._partial / f"{table}-{name}.parquet") as aside:
            # A fragment is a row or a curve: these would cost more than they save.
            write_table(content, aside, use_dictionary=repeated, write_statistics=False, compression="none")

    def _write_study(self) -> None:
        """Keep the resolved study beside its results."""
        path, text = self.folder / "study.yaml", self.study.to_yaml()
        if not path.exists() or path.read_text() != text:
            with replacing(path, aside=self.folder / ".study.yaml") as aside:
                aside.write_text(text)

    def _rewrite(self, without: Collection[str] = ()) -> None:
        """Put the ledger into a new generation, of one file a table, in the study's schema.

        Args:
            without: ended trials to leave out.
        """
        tables = ordered_tables(self.folder)
        for table in ("trials", "epochs"):
            left_out = pc.is_in(tables[table]["trial_id"], value_set=pa.array(list(without), pa.string()))
            tables[table] = tables[table].filter(pc.invert(left_out))
        write_generation(self.folder, {table: self._in_schema(table, rows) for table, rows in tables.items()})
        self._shared = {i for table in ("trials", "epochs") for i in tables[table]["trial_id"].to_pylist()}

    def _in_schema(self, table: str, rows: pa.Table) -> pa.Table:
        """The rows with the columns of the study's schema: a new one is null, one of another type is filled
        from the configurations."""
        columns = []
        for field in self._schemas[table]:
            if field.name not in rows.schema.names:
                column = pa.nulls(rows.num_rows, field.type)
            elif rows.schema.field(field.name).type == field.type:
                column = rows[field.name]
            else:
                name = field.name.removeprefix("hp_")
                settings = (json.loads(c)["hyperparameters"] for c in rows["configuration"].to_pylist())
                values = [s.get(name) for s in settings]
                column = pa.array(values, field.type)
            columns.append(column)
        return pa.Table.from_arrays(columns, schema=self._schemas[table])


def _settings(intent: Intent) -> tuple[object, ...]:
    """What tells a trial's configuration from another's."""
    who = (intent.trial_id, intent.task, intent.variant, intent.stage, intent.seed)
    return (*who, settings_key(intent.hyperparameters))
