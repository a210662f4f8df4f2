"""What rows that stand beside each other were made with, and in what they differ besides their variants."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import pandas as pd

from wst.study import Study

Aspect = Literal[
    "recipe",
    "epochs",
    "backbone",
    "weights",
    "normalisation",
    "preprocessing",
    "precision",
    "budget",
    "data",
]
"""``recipe`` is what is left of it beside epochs and precision, ``budget`` the trials of the search that the
settings come from."""
ASPECTS: tuple[Aspect, ...] = get_args(Aspect)
IN_RECIPE: tuple[Aspect, ...] = ("epochs", "precision")
UNSEARCHED = "none"
"""The budget of settings that no search of the study has found."""
MADE_WITH: dict[str, Aspect] = {
    "backbone": "backbone",
    "checkpoint_hash": "weights",
    "normalisation": "normalisation",
    "preprocessing": "preprocessing",
    "precision": "precision",
    "data_hash": "data",
}
"""Columns of ``trials`` that say what a trial was made with; the studies say the rest."""

Values = Mapping[Aspect, frozenset[str]]


@dataclass(frozen=True)
class Made:
    """What rows were made with.

    Attributes:
        values: by row and task, the values of each aspect that is known.
        studies: of the trials behind each value of an aspect.
    """

    values: Mapping[str, Mapping[str, Values]] = field(default_factory=dict)
    studies: Mapping[Aspect, Mapping[str, list[str]]] = field(default_factory=dict)

    @cached_property
    def differing(self) -> list[Aspect]:
        """In what two rows differ on a task that both have; what is not known of a row is no difference."""
        by_task: dict[tuple[str, Aspect], set[frozenset[str]]] = {}
        for tasks in self.values.values():
            for task, values in tasks.items():
                for aspect, found in values.items():
                    by_task.setdefault((task, aspect), set()).add(found)
        unlike = {aspect for (_, aspect), found in by_task.items() if len(found) > 1}
        return [aspect for aspect in ASPECTS if aspect in unlike]

    def line(self, without: Collection[Aspect] = ()) -> list[str]:
        """A line that names in what the rows differ; none where they are alike."""
        words = [self._words(aspect) for aspect in self.differing if aspect not in without]
        return [f"These rows differ in {', '.join(words)}: not in their variants alone."] if words else []

    def _words(self, aspect: Aspect) -> str:
        values = self.studies[aspect]
        if aspect == "data":
            return aspect
        several = len({study for studies in values.values() for study in studies}) > 1
        where = {value: f" in {', '.join(studies)}" if several else "" for value, studies in values.items()}
        return f"{aspect} ({'; '.join(f'{value}{where[value]}' for value in _ordered(values))})"

    def cell(self, row: str, aspect: Aspect, tasks: Collection[str] | None = None) -> str:
        """What a row was made with, in words; of its data eight digits, equal for equal data of equal tasks.

        Args:
            row: any; of one that is not known nothing is said.
            aspect: which.
            tasks: on these alone.
        """
        found = {
            task: values[aspect]
            for task, values in self.values.get(row, {}).items()
            if aspect in values and (tasks is None or task in tasks)
        }
        if aspect == "data" and found:
            words = repr(sorted((task, sorted(values)) for task, values in found.items()))
            return hashlib.sha256(words.encode()).hexdigest()[:8]
        return " and ".join(_ordered({value for values in found.values() for value in values}))

    def unlike(self, one: str, other: str, task: str, across: Collection[Aspect] = ()) -> dict[Aspect, str]:
        """What forbids to compare two rows on a task, with the values of both in words.

        Settings that were searched and settings that were not are what variants are there to compare.

        Args:
            one, other: the rows.
            task: a task that both have.
            across: differences in these are wanted; in ``recipe``, in what is :data:`IN_RECIPE` too.
        """
        wanted = {*across, *(IN_RECIPE if "recipe" in across else ())}
        ours, theirs = self.values[one][task], self.values[other][task]
        found: dict[Aspect, str] = {}
        for aspect in ASPECTS:
            mine, its = ours.get(aspect), theirs.get(aspect)
            if aspect in wanted or mine is None or its is None or mine == its:
                continue
            if aspect == "budget" and UNSEARCHED in mine | its:
                continue
            against = f"{' and '.join(_ordered(mine))} against {' and '.join(_ordered(its))}"
            found[aspect] = "" if aspect == "data" else against
        return found


def made_of(trials: pd.DataFrame, rows: pd.Series[str], studies: Mapping[str, Study]) -> Made:
    """What the rows of a table were made with.

    Args:
        trials: with the columns ``study``, ``task`` and ``variant``, and those of :data:`MADE_WITH` that are
            known.
        rows: the row that each trial belongs to.
        studies: the studies by name; of one that is missing, recipe, epochs and budget are not known.
    """
    known = trials.reindex(columns=["study", "task", "variant", *MADE_WITH]).astype(object).assign(row=rows)
    known = known.drop_duplicates()
    recipes = _recipes(studies)
    values: dict[str, dict[str, dict[Aspect, frozenset[str]]]] = {}
    found: dict[Aspect, dict[str, list[str]]] = {}
    for trial in known.to_dict("records"):
        name, own = str(trial["study"]), values.setdefault(trial["row"], {}).setdefault(trial["task"], {})
        said = {column: trial[column] for column in MADE_WITH if not pd.isna(trial[column])}
        made: dict[Aspect, str] = {
            **(
                {**recipes[name], "budget": _budget(studies[name], trial["variant"])}
                if name in studies
                else {}
            ),
            **{MADE_WITH[column]: _short(str(value)) for column, value in said.items()},
        }
        for aspect, value in made.items():
            if value:
                own[aspect] = own.get(aspect, frozenset()) | {value}
                where = found.setdefault(aspect, {}).setdefault(value, [])
                where += [name] if name not in where else []
    return Made(values, found)


def _recipes(studies: Mapping[str, Study]) -> dict[str, dict[Aspect, str]]:
    """What each study's recipe says; of all but epochs and precision, what is not the same in all of them."""
    recipes = {name: study.recipe.model_dump(mode="json") for name, study in studies.items()}
    unlike = [
        key
        for key in next(iter(recipes.values()), {})
        if key not in IN_RECIPE and len({recipe[key] for recipe in recipes.values()}) > 1
    ]
    return {
        name: {
            "recipe": ", ".join(f"{key} {recipe[key]}" for key in unlike),
            "epochs": str(recipe["epochs"]),
            "precision": "" if recipe["precision"] == "auto" else recipe["precision"],
        }
        for name, recipe in recipes.items()
    }


def _budget(study: Study, variant: str) -> str:
    """Trials of the search behind a variant's settings; nothing where a table of the user's has them."""
    settings = study.variants.get(variant)
    if settings is None or settings.per_task is not None:
        return ""
    trials = study.search_trials(settings.settings_from or variant)
    return f"{trials} trials" if trials else UNSEARCHED


def _short(value: str) -> str:
    """A SHA-256 by its first digits."""
    return value[:12] if len(value) == 64 and value.isalnum() else value


def _ordered(values: Iterable[str]) -> list[str]:
    """Numbers by their size, and texts by the alphabet."""
    return sorted(values, key=lambda value: (len(value) if value[:1].isdigit() else 0, value))
