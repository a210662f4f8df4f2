"""Which hyperparameters mattered in the search: PED-ANOVA and fANOVA, by task and over tasks."""

from __future__ import annotations

import importlib.util
import statistics
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution

from analysis.search.trials import run_trials
from analysis.tables import Cell, Column, Table
from wst.errors import InputError
from wst.planning.cell_search import distribution
from wst.study import Study
from wst.study.space import Categorical, Distribution, Int, plain

Method = Literal["ped-anova", "fanova"]
MOST_TRIALS = 2_000
"""Trials a cell that an importance is computed from, unless told otherwise."""
_FEWEST_TRIALS = 4

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Importance:
    """Importances of one cell's hyperparameters: shares that sum to one.

    Attributes:
        trials: completed trials behind them.
        shares: by hyperparameter that every trial has; empty where the trials are too few, or all equally
            good.
        conditional: by hyperparameter that some trials have: its share among those hyperparameters that all
            of these have, and how many these are.  Left out where they are too few, or all equally good.
    """

    study: str
    variant: str
    task: str
    trials: int
    shares: dict[str, float]
    conditional: dict[str, tuple[float, int]] = field(default_factory=dict)


def searched(study: Study, variant: str) -> dict[str, Distribution]:
    """The search space of a variant, its lists as texts; empty where nothing was searched."""
    settings = study.variants.get(variant)
    return {
        name: entry.model_copy(update={"choices": tuple(map(plain, entry.choices))})
        if isinstance(entry, Categorical)
        else entry
        for name, entry in ((settings.space or {}) if settings else {}).items()
    }


def importances(
    trials: pd.DataFrame,
    studies: Mapping[str, Study],
    method: Method = "ped-anova",
    most: int = MOST_TRIALS,
) -> list[Importance]:
    """Importances of every cell that was searched.

    PED-ANOVA (Watanabe et al., IJCAI 2023) asks what it takes to be among the best tenth; fANOVA (Hutter et
    al., ICML 2014) explains the variance over the whole space with a random forest.  Both see completed
    trials alone: a pruned trial has no value after the last epoch.  Settings that the search came upon again
    count once.

    A hyperparameter that only applies under a condition is judged in the trials that have it, and not in the
    others: there is no value to compare there.

    Args:
        trials: the search trials, with the columns of :func:`analysis.search.trials.search_columns`, of one
            or more ledgers.
        studies: the studies by name.
        method: ``fanova`` needs scikit-learn.
        most: trials a cell to compute from; of more, evenly spaced ones are taken.

    Raises:
        InputError: fANOVA without scikit-learn.
    """
    if method == "fanova" and importlib.util.find_spec("sklearn") is None:
        raise InputError("--method fanova: expected scikit-learn (pip install scikit-learn); found none")
    completed = run_trials(trials)
    completed = completed[(completed["state"] == "completed") & completed["val_top1_last"].notna()]
    found = []
    for (study, variant, task), part in completed.groupby(["study", "variant", "task"], sort=False):
        space = searched(studies[str(study)], str(variant))
        if space:
            cell = str(study), str(variant), str(task)
            found.append(Importance(*cell, len(part), *_by_condition(part, space, method, most)))
    return found


def _by_condition(
    part: pd.DataFrame, space: Mapping[str, Distribution], method: Method, most: int
) -> tuple[dict[str, float], dict[str, tuple[float, int]]]:
    """Shares of the hyperparameters that all trials have, and of the others where they have them."""
    present = {name: part[f"hp_{name}"].notna() for name in space}
    shares = _shares(part, {n: e for n, e in space.items() if present[n].all()}, method, most)
    conditional = {}
    for name in space:
        if not present[name].all():
            active = part[present[name]]
            along = {n: e for n, e in space.items() if active[f"hp_{n}"].notna().all()}
            share = _shares(active, along, method, most).get(name)
            if share is not None:
                conditional[name] = share, len(active)
    return shares, conditional


def _shares(
    part: pd.DataFrame, space: Mapping[str, Distribution], method: Method, most: int
) -> dict[str, float]:
    if not space or len(part) < _FEWEST_TRIALS or part["val_top1_last"].nunique() < 2:
        return {}
    if len(part) > most:
        part = part.sort_values("number").iloc[:: -(-len(part) // most)]
    distributions = {name: distribution(entry) for name, entry in space.items()}
    study = optuna.create_study(direction="maximize")
    # A column with nulls elsewhere has lost its type: whole numbers come as floats.
    columns = [
        part[f"hp_{n}"].astype(int if isinstance(entry, Int) else part[f"hp_{n}"].dtype).tolist()
        for n, entry in space.items()
    ]
    for values, accuracy in zip(zip(*columns, strict=True), part["val_top1_last"], strict=True):
        settings = dict(zip(space, values, strict=True))
        if all(_inside(distributions[name], value) for name, value in settings.items()):
            study.add_trial(
                optuna.trial.create_trial(params=settings, distributions=distributions, value=float(accuracy))
            )
    if len(study.get_trials(deepcopy=False)) < _FEWEST_TRIALS:
        return {}
    evaluator = (
        optuna.importance.FanovaImportanceEvaluator(seed=0)
        if method == "fanova"
        else optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.1)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few trials in the best tenth; the table gives their number
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: float(share) for name, share in found.items()}


def _inside(space: BaseDistribution, value: object) -> bool:
    """True where a value of the ledger lies in the space: a warm start may bring others."""
    if isinstance(space, CategoricalDistribution):
        return value in space.choices
    return isinstance(value, int | float) and space._contains(space.to_internal_repr(value))


def over_tasks(found: list[Importance]) -> dict[tuple[str, str], dict[str, float]]:
    """Mean share over the tasks that have one, by (study, variant) and hyperparameter."""
    together: dict[tuple[str, str], list[dict[str, float]]] = {}
    for importance in found:
        if importance.shares:
            together.setdefault((importance.study, importance.variant), []).append(importance.shares)
    return {
        cell: {name: statistics.fmean(s[name] for s in shares) for name in shares[0]}
        for cell, shares in together.items()
    }


def as_table(found: list[Importance], method: Method) -> Table:
    """Shares in per cent, a row a cell, then the mean over tasks."""
    names = list(dict.fromkeys(name for i in found for name in (*i.shares, *i.conditional)))
    rows: list[dict[str, Cell]] = []
    for importance in found:
        own = importance.shares | {name: share for name, (share, _) in importance.conditional.items()}
        shares = {name: _percent(own.get(name)) for name in names}
        rows.append(
            {
                "variant": importance.variant,
                "study": importance.study,
                "task": importance.task,
                "trials": importance.trials,
                **shares,
            }
        )
    for (study, variant), mean in over_tasks(found).items():
        shares = {name: _percent(mean.get(name)) for name in names}
        trials = sum(i.trials for i in found if (i.study, i.variant) == (study, variant))
        rows.append({"variant": variant, "study": study, "task": "mean of tasks", "trials": trials, **shares})
    notes = [
        f"{i.variant} on {i.task}: {i.trials} completed trials, too few or all alike; no importance."
        for i in found
        if not i.shares
    ]
    notes += _conditions(found)
    if any(0 < i.trials < 50 for i in found):
        notes.append("Importances from fewer than about 50 completed trials are rough.")
    words = {"ped-anova": "PED-ANOVA, best tenth", "fanova": "fANOVA"}[method]
    return Table(
        title=f"Importance of hyperparameters in the search (%, {words})",
        columns=[
            *(Column("variant"), Column("study"), Column("task"), Column("trials", "count")),
            *(Column(name, "percent") for name in names),
        ],
        rows=rows,
        notes=notes,
        keys=3,
    )


def _conditions(found: list[Importance]) -> list[str]:
    """What shares of hyperparameters are about that only some trials have."""
    trials: dict[str, list[int]] = {}
    for importance in found:
        for name, (_, number) in importance.conditional.items():
            trials.setdefault(name, []).append(number)
    return [
        f"{name} applies to some settings only: its share is that in the {_range(numbers)} trials of a cell "
        "that have it, beside the other hyperparameters of these; it is in no mean."
        for name, numbers in trials.items()
    ]


def _range(numbers: list[int]) -> str:
    return " to ".join(str(number) for number in dict.fromkeys((min(numbers), max(numbers))))


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
