"""Whether a ledger's rows are of the study that is asked for now.

A study file in an output folder can be edited, by mistake or to get round a refusal; the rows say how they
were made.  So a start compares these with what it is asked for, row by row, on all that a row knows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from wst.engine.fingerprint import Fingerprint, check_unchanged
from wst.errors import InputError
from wst.ledger.configuration import configuration
from wst.ledger.reading import read_table
from wst.records import EndedTrial, Intent, Outcome, Stage, same
from wst.study import Study, Variant
from wst.study.growth import Difference, differences
from wst.study.space import Space, brought

_ELSEWHERE = ("suite", "checkpoint", "task", "stage", "seed", "hyperparameters")
"""Keys of a configuration that say nothing that could differ, where hashes decide, or what intents say."""


def check_rows(folder: Path, study: Study, now: Fingerprint, seeds: Mapping[Stage, range]) -> None:
    """Refuse to go on with a ledger whose trials were made in another way than is asked for.

    Args:
        folder: the study's output folder.
        study: what is asked for.
        now: hashes of the images and of the backbone's weights.
        seeds: those that the study gives its trials, by stage.

    Raises:
        InputError: naming the trial and the key, with both values; or what changed, with both hashes.
    """
    ended: list[EndedTrial] = []
    found = chain(_in_intents(folder, study, seeds), _in_rows(folder, study, ended))
    for trial_id, difference in found:
        where = f"{folder}: holds a trial that differs: {trial_id}"
        raise InputError(f"{where}: {difference}; choose another --out")
    check_unchanged(ended, now)


def check_row(folder: Path, trial_id: str, study: Study, now: Fingerprint) -> None:
    """Refuse to run a row again with other data, weights, method or recipe than it was made with.

    Args:
        folder: the output folder with the row.
        trial_id: the row's trial.
        study: what it is to run as.
        now: hashes of the images and of the backbone's weights.

    Raises:
        InputError: naming what differs, with both values.
    """
    for intent, outcome, made in _rows(folder):
        if intent.trial_id == trial_id:
            for difference in _in_configuration(made, configuration(study, intent)):
                raise InputError(f"{folder}: holds {trial_id} made in another way: {difference}")
            check_unchanged([EndedTrial(intent, outcome)], now, f"{trial_id} was made with the first")


def _in_rows(folder: Path, study: Study, ended: list[EndedTrial]) -> Iterator[tuple[str, Difference]]:
    """How a trial was made; the trials go into ``ended`` on the way."""
    for intent, outcome, made in _rows(folder):
        for difference in _in_configuration(made, configuration(study, intent)):
            yield intent.trial_id, difference
        ended.append(EndedTrial(intent, outcome))


def _rows(folder: Path) -> Iterator[tuple[Intent, Outcome, dict[str, Any]]]:
    """Every row: who it is, its hashes, and its configuration as far as it says one."""
    who = ("trial_id", "task", "variant", "stage", "number", "ask_order", "seed")
    hashes = ("checkpoint_hash", "data_hash", "tuning_hash")
    table = read_table(folder, "trials", [*who, *hashes, "state", "configuration"])
    for row in table.sort_by("ask_order").to_pylist():
        intent = Intent(**{name: row[name] for name in who}, hyperparameters={})
        outcome = Outcome(row["state"], **{name: row.get(name) for name in hashes})
        yield intent, outcome, json.loads(row["configuration"] or "{}")


def _in_configuration(made: dict[str, Any], asked: dict[str, Any]) -> Iterator[Difference]:
    """The differences in the keys that the row has; an older version may have written fewer."""
    known = {key: value for key, value in made.items() if key not in _ELSEWHERE and key in asked}
    if known.get("method_hash") is not None:  # the same file, wherever it lies now
        known.pop("method", None)
    wanted = {key: asked[key] for key in known}
    if isinstance(known.get("recipe"), dict):
        wanted["recipe"] = {key: value for key, value in wanted["recipe"].items() if key in known["recipe"]}
    yield from differences("", known, wanted)


def _in_intents(folder: Path, study: Study, seeds: Mapping[Stage, range]) -> Iterator[tuple[str, Difference]]:
    """What decided on a trial: its study, its cell, its seed and its settings."""
    cells = set(study.cells)
    names = ["study", "trial_id", "task", "variant", "stage", "seed", "ask_order", "hyperparameters"]
    for row in read_table(folder, "intents", names).sort_by("ask_order").to_pylist():
        trial_id, task, variant = row["trial_id"], row["task"], row["variant"]
        if row["study"] != study.name:
            yield trial_id, Difference("name", row["study"], study.name)
        elif (task, variant) not in cells:
            yield trial_id, Difference("cells", f"{task} x {variant}", None)
        else:
            if row["seed"] not in seeds[row["stage"]]:
                yield trial_id, Difference("seed", row["seed"], list(seeds[row["stage"]]))
            for difference in _in_settings(study, task, variant, json.loads(row["hyperparameters"])):
                yield trial_id, difference


def _in_settings(study: Study, task: str, name: str, found: dict[str, Any]) -> Iterator[Difference]:
    variant = study.variants[name]
    space, usual = _searched(study, variant), study.recipe.complete({})
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    settings, fixed = brought(given, space), brought(variant.given_settings(task), {})
    for key, value in fixed.items():
        if not same(settings.get(key), value):
            yield Difference(f"variants.{name}.fixed.{key}", settings.get(key), value)
    for key, value in settings.items():
        if key in space:
            if not space[key].holds(value):
                wanted = space[key].model_dump(mode="json", exclude={"when"})
                yield Difference(f"variants.{name}.space.{key}", value, wanted)
        elif key not in fixed and not (key in usual and same(value, usual[key])):
            yield Difference(f"variants.{name}.fixed.{key}", value, usual.get(key))


def _searched(study: Study, variant: Variant) -> Space:
    """The space that gives a variant's trials their settings, without what the variant itself fixes."""
    source = study.variants[variant.settings_from] if variant.settings_from else variant
    fixed = brought(variant.fixed, {})
    return {key: entry for key, entry in (source.space or {}).items() if key not in fixed}
