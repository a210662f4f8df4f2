"""What a study did: trials by state, cost, failures, and every read of the test split."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.load import load
from analysis.tables import Cell, Column, Table
from wst.ledger import read_table
from wst.ledger.reading import all_reads
from wst.ledger.reads import count_reads, read_lines, read_log
from wst.study import Study
from wst.study.search import NoPruner

MOST_FAILURES = 200
"""Failed trials listed one by one; of more, the first of these."""


@dataclass(frozen=True)
class Census:
    """Counts and costs of one study.

    Attributes:
        facts: what was run, on what, with what, at which cost: pairs of a term and its value.
        counts: one row a stage: trials by state, epochs, slot-hours.  Trials that were not run, of settings
            that came again or are above the ceiling on parameters, are counted apart.
    """

    study: str
    facts: list[tuple[str, str]]
    counts: list[dict[str, Any]]


_GROUPED = ("stage", "state", "attempts")
_DISTINCT = {
    "device": "device",
    "node": "machine",
    "backbone": "backbone",
    "checkpoint_hash": "backbone weights (SHA-256)",
    "normalisation": "normalisation",
    "preprocessing": "preprocessing",
    "recipe_hash": "recipe hash",
    "code_version": "wst version",
    "code_commit": "git commit",
    "library_versions": "libraries",
}


def census(folder: Path, study: Study) -> Census:
    """Count one study's trials; the columns pass through Arrow, not through pandas."""
    columns = [*_GROUPED, *_DISTINCT, "task", "data_hash", "epochs", "wall_seconds"]
    columns += ["started", "ended"]
    table = read_table(folder, "trials", columns)
    sums = table.group_by(list(_GROUPED)).aggregate(
        [("wall_seconds", "sum"), ("epochs", "sum"), ("state", "count")]
    )
    by_stage: dict[str, dict[str, Any]] = {}
    for row in sums.to_pylist():
        stage = by_stage.setdefault(
            row["stage"],
            {"stage": row["stage"], "completed": 0, "pruned": 0, "failed": 0, "epochs": 0}
            | {"slot-hours": 0.0, "test reads": 0, "not run": 0},
        )
        if row["attempts"] == 0:
            stage["not run"] += row["state_count"]
            continue
        stage[row["state"]] += row["state_count"]
        stage["epochs"] += row["epochs_sum"] or 0
        stage["slot-hours"] += (row["wall_seconds_sum"] or 0.0) / 3600
    if "final" in by_stage:
        by_stage["final"]["test reads"] = all_reads(folder, read_log().entries).num_rows
    counts = [by_stage[stage] for stage in ("search", "confirm", "final") if stage in by_stage]
    return Census(study.name, [*_asked(study), *_found(table, study, counts)], counts)


def _asked(study: Study) -> list[tuple[str, str]]:
    recipe = ", ".join(f"{name} {value}" for name, value in study.recipe.model_dump().items())
    facts = [
        ("suite", f"{study.suite}: {', '.join(study.tasks)}"),
        ("variants", ", ".join(study.variants)),
        ("recipe", recipe),
    ]
    if study.search:
        pruner = study.search.pruner
        words = "no pruning" if isinstance(pruner, NoPruner) else f"pruner {pruner.type}"
        trials = "all combinations" if study.search.trials is None else f"{study.search.trials} trials"
        search = f"{trials} a cell, sampler {study.search.sampler.type}, {words}"
        facts.append(("search (train, scored on val)", search))
        if len(study.search.objectives) > 1:
            facts.append(
                ("objectives, each cell's front of which goes on", ", ".join(study.search.objectives))
            )
        most = study.search.max_trainable_parameters
        if most is not None:
            facts.append(("ceiling", f"{most:,} trainable parameters without the head"))
    if study.confirm:
        confirm = f"the best {study.confirm.top} of each cell, {study.confirm.seeds} seeds each"
        facts.append(("confirm (train, scored on val)", confirm))
    if study.final:
        facts.append(("final (trainval, scored once on test)", f"{study.final.seeds} seeds a cell"))
    return facts


def _found(table: pa.Table, study: Study, counts: list[dict[str, Any]]) -> list[tuple[str, str]]:
    facts = []
    for column, term in _DISTINCT.items():
        values = [value for value in pc.unique(table.column(column)).to_pylist() if value is not None]
        if values:
            facts.append((term, "; ".join(sorted(_readable(column, str(value)) for value in values))))
    pairs = table.select(["task", "data_hash"]).group_by(["task", "data_hash"]).aggregate([]).to_pylist()
    hashes = [f"{p['task']} {p['data_hash'][:12]}" for p in pairs if p["data_hash"]]
    if hashes:
        facts.append(("data (SHA-256 of images and labels)", ", ".join(sorted(hashes))))
    if table.num_rows:
        first, last = pc.min(table.column("started")).as_py(), pc.max(table.column("ended")).as_py()
        if first and last:
            facts.append(("run", f"{first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC"))
    hours = sum(row["slot-hours"] for row in counts)
    gpus = study.resources.gpus_per_trial
    on_gpus = f"{hours * gpus:.2f} GPU-hours, {hours:.2f} slot-hours ({gpus:g} GPU a slot)"
    facts.append(("cost", on_gpus if gpus else f"{hours:.2f} slot-hours, no GPU"))
    return facts


def _readable(column: str, value: str) -> str:
    if column == "checkpoint_hash":
        return value[:12]
    if column == "library_versions":
        try:
            return ", ".join(f"{name} {version}" for name, version in json.loads(value).items())
        except (ValueError, AttributeError):
            return value
    return value


def counts_table(found: list[Census]) -> Table:
    """Trials by study and stage."""
    columns = [Column("study"), Column("stage")]
    columns += [Column(name, "count") for name in ("completed", "pruned", "failed", "not run", "epochs")]
    columns += [Column("slot-hours", "number"), Column("test reads", "count")]
    rows: list[dict[str, Cell]] = [{"study": one.study, **row} for one in found for row in one.counts]
    return Table("Trials by stage and state", columns, rows, keys=2)


def failures_table(folders: list[Path]) -> Table:
    """Failed trials with the last line of their error; of more than :data:`MOST_FAILURES` the first.

    Settings above the ceiling on parameters, which were not run, are counted in a line of their own.
    """
    names = ["study", "trial_id", "stage", "attempts", "error_type", "error_text", "configuration"]
    failed = load(folders, columns=names, where=pc.field("state") == "failed")
    not_run = failed["attempts"] == 0
    above = int((not_run & (failed["error_type"] == "CeilingError")).sum())
    failed = failed[~not_run]
    rows = []
    for row in failed.head(MOST_FAILURES).to_dict("records"):
        lines = str(row["error_text"] or "").strip().splitlines() or [""]
        rows.append(
            {
                "trial": row["trial_id"],
                "study": row["study"],
                "attempts": row["attempts"],
                "error": str(row["error_type"] or ""),
                "message": lines[-1][:300],
            }
        )
    notes = (
        [f"{len(failed)} trials failed; the first {len(rows)} are listed."] if len(failed) > len(rows) else []
    )
    if above:
        notes.append(
            f"{above} settings have more trainable parameters than the ceiling, and were not trained."
        )
    columns = [
        Column("trial"),
        Column("study"),
        Column("attempts", "count"),
        Column("error"),
        Column("message"),
    ]
    return Table("Failed trials", columns, rows, notes, keys=2)


def reads_table(folders: list[Path]) -> Table:
    """Reads of the test split by variant; any but one read a seed and settings in stage final is named."""
    of_trials = load(folders, "intents", columns=["study", "trial_id", "stage", "parent", "seed"])
    columns_of_reads = ["study", "trial_id", "task", "variant", "images", "purpose"]
    log = read_log()
    tables = [all_reads(folder, log.entries).select(columns_of_reads) for folder in folders]
    found = pd.concat([table.to_pandas() for table in tables])
    reads = found.merge(of_trials, on=["study", "trial_id"], how="left")
    rows: list[dict[str, Cell]] = []
    notes = []
    for (study, variant), part in reads.groupby(["study", "variant"], sort=False):
        tasks = part.groupby("task")["seed"].nunique()
        settings = part.groupby("task")["parent"].nunique().clip(lower=1)  # fixed ones have no parent
        rows.append(
            {
                "variant": str(variant),
                "study": str(study),
                "tasks": len(tasks),
                "reads": len(part),
                "seeds a task": _span(tasks),
                "settings a task": _span(settings),
                "test images scored": int(part["images"].sum()),
            }
        )
    for row in reads[reads["stage"].notna() & (reads["stage"] != "final")].to_dict("records"):
        notes.append(f"{row['trial_id']} read the test split in stage {row['stage']}: not allowed.")
    twice = reads[reads.duplicated(["study", "task", "variant", "parent", "seed"])]
    for row in twice.to_dict("records"):
        notes.append(f"{row['trial_id']} read the test split again for its seed ({row['purpose']}).")
    notes.append(
        "No read outside stage final, and one a seed and settings."
        if not notes
        else f"{len(notes)} reads are not as they should be."
    )
    noun = "this study" if len(folders) == 1 else "these studies"
    notes += [*read_lines(count_reads(folders, log), noun), *filter(None, [log.caveat])]
    columns = [Column("variant"), Column("study"), Column("tasks", "count"), Column("reads", "count")]
    columns += [Column("seeds a task"), Column("settings a task"), Column("test images scored", "count")]
    return Table("Reads of the test split", columns, rows, notes[:50], keys=2)


def _span(numbers: pd.Series[int]) -> str:
    return "-".join(str(number) for number in dict.fromkeys((numbers.min(), numbers.max())))
