"""A study's searches as Optuna studies, for optuna-dashboard."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.exceptions import StorageInternalError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from wst.errors import InputError
from wst.files import replacing
from wst.ledger import history, resolved_study
from wst.planning.cell_search import distribution
from wst.planning.ranking import objective_values
from wst.records import EndedTrial, Intent
from wst.study import Study
from wst.study.space import plain, spread


def export_optuna(folder: Path, target: Path, *, replace: bool = False) -> dict[str, int]:
    """Write the searches as Optuna studies, one a cell, into a new SQLite file.

    A study is named ``<study>.<task>.<variant>``.  Its trials stand in the order of their asks, with val
    accuracies of every epoch as intermediate values.  A trial that was begun and has not ended is running
    there.

    Args:
        folder: the study's output folder.
        target: the file.
        replace: it may exist.

    Returns:
        Trials by name of the Optuna study.

    Raises:
        InputError: the folder is no study's, it has no search, or the file exists or cannot be written.
    """
    from optuna.storages import RDBStorage  # with SQLAlchemy, which other exports need not load

    study = resolved_study(folder)
    if study.search is None:
        raise InputError(f"{folder}: expected a study with a search; found none")
    if target.exists() and not replace:
        raise InputError(f"{target}: expected a new file; found one that exists")
    with replacing(target) as aside:
        aside.unlink(missing_ok=True)  # SQLite would go on with what a killed process left
        with _said(target):
            storage = RDBStorage(f"sqlite:///{aside.absolute()}")
            try:
                return dict(_fill(storage, study, folder))
            finally:
                storage.engine.dispose()


@contextmanager
def _said(target: Path) -> Iterator[None]:
    """Turn what SQLite refuses, such as to write to a full disk, into a line.

    Raises:
        InputError: naming the file.
    """
    from sqlalchemy.exc import OperationalError

    try:
        yield
    except (OperationalError, StorageInternalError) as error:
        refused = error if isinstance(error, OperationalError) else error.__cause__
        if not isinstance(refused, OperationalError):
            raise
        raise InputError(f"{target}: expected a database to write there; found: {refused.orig}") from None


def _fill(storage: Any, study: Study, folder: Path) -> Iterator[tuple[str, int]]:
    assert study.search is not None
    intents, ended = history(folder)
    ends = {trial.intent.trial_id: trial for trial in ended}
    searches = sorted(
        (intent for intent in intents if intent.stage == "search"),
        key=lambda intent: (intent.task, intent.variant, intent.ask_order),
    )
    down = len(study.search.objectives) - 1
    directions = [StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * down]
    for (task, variant), group in itertools.groupby(searches, lambda intent: (intent.task, intent.variant)):
        name = f"{study.name}.{task}.{variant}"
        study_id = storage.create_new_study(directions, name)
        storage.set_study_user_attr(study_id, "task", task)
        storage.set_study_user_attr(study_id, "variant", variant)
        storage.set_study_user_attr(study_id, "objectives", list(study.search.objectives))
        storage.set_study_user_attr(study_id, "fixed", study.variants[variant].fixed)
        trials = [
            _optuna_trial(study, intent, ends.get(intent.trial_id), number)
            for number, intent in enumerate(group)
        ]
        _insert(storage.engine, study_id, trials)
        yield name, len(trials)


def _insert(engine: Any, study_id: int, trials: list[FrozenTrial]) -> None:
    """Add trials to Optuna's tables, some thousand rows at a time.

    The storage's own way looks every value up before it writes it, and needs minutes for a large study.
    """
    from sqlalchemy import MetaData, func, insert, select

    database = MetaData()
    database.reflect(engine)
    rows: dict[str, list[dict[str, Any]]] = {
        "trials": [],
        "trial_params": [],
        "trial_values": [],
        "trial_intermediate_values": [],
        "trial_user_attributes": [],
    }
    with engine.begin() as connection:
        last = connection.execute(select(func.max(database.tables["trials"].c.trial_id))).scalar() or 0
        for key, trial in enumerate(trials, start=last + 1):
            rows["trials"].append(
                {
                    "trial_id": key,
                    "study_id": study_id,
                    "number": trial.number,
                    "state": trial.state.name,
                    "datetime_start": trial.datetime_start,
                    "datetime_complete": trial.datetime_complete,
                }
            )
            for name, value in trial.params.items():
                kind = trial.distributions[name]
                inner = {
                    "param_value": kind.to_internal_repr(value),
                    "distribution_json": distribution_to_json(kind),
                }
                rows["trial_params"].append({"trial_id": key, "param_name": name, **inner})
            for objective, value in enumerate(trial.values or ()):
                inner = {"objective": objective, "value": value, "value_type": "FINITE"}
                rows["trial_values"].append({"trial_id": key, **inner})
            for step, value in trial.intermediate_values.items():
                inner = {"intermediate_value": value, "intermediate_value_type": "FINITE"}
                rows["trial_intermediate_values"].append({"trial_id": key, "step": step, **inner})
            for name, value in trial.user_attrs.items():
                inner = {"key": name, "value_json": json.dumps(value)}
                rows["trial_user_attributes"].append({"trial_id": key, **inner})
        for table, found in rows.items():
            if found:
                connection.execute(insert(database.tables[table]), found)


def _optuna_trial(study: Study, intent: Intent, trial: EndedTrial | None, number: int) -> FrozenTrial:
    """The trial as Optuna has it."""
    assert study.search is not None
    space = study.variants[intent.variant].space or {}
    settings = spread(intent.hyperparameters, space)
    searched = {name: plain(value) for name, value in settings.items() if name in space}
    attributes: dict[str, Any] = {"trial_id": intent.trial_id, "reason": intent.reason}
    state, values, curve = TrialState.RUNNING, None, {}
    started, finished = intent.time, None
    if trial is not None:
        outcome = trial.outcome
        several = len(study.search.objectives) > 1
        told = () if several else outcome.epochs
        curve = {e.epoch: e.val_top1 for e in told if e.val_top1 is not None and e.finite}
        started, finished = outcome.started or intent.time, outcome.ended or intent.time
        attributes |= {
            "trainable_parameters": outcome.trainable_parameters,
            "wall_seconds": outcome.wall_seconds,
            "train_seconds": outcome.train_seconds,
            "epochs": len(outcome.epochs),
        }
        if outcome.ranked:
            state, values = TrialState.COMPLETE, objective_values(study.search.objectives, outcome)
        elif outcome.state == "pruned":
            state, values = TrialState.PRUNED, [curve[max(curve)]] if curve else None
        else:
            state = TrialState.FAIL
            attributes["error"] = outcome.error_type or "DivergedError"
    return FrozenTrial(
        number=number,
        trial_id=-1,  # the database gives it
        state=state,
        value=None,
        values=values,
        datetime_start=_local(started),
        datetime_complete=_local(finished),
        params=searched,
        distributions={name: distribution(space[name]) for name in searched},
        user_attrs=attributes,
        system_attrs={},
        intermediate_values=curve,
    )


def _local(time: datetime | None) -> datetime | None:
    """The form in which Optuna keeps times: local, without a zone."""
    return time.astimezone().replace(tzinfo=None) if time is not None else None
