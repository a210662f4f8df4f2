"""Variants: a method with the hyperparameters that are searched, taken over, or fixed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from wst.records import Hyperparameters, Value
from wst.study.bounds import Count, Settings, Text, check_of_the_trial
from wst.study.space import (
    Categorical,
    Distribution,
    applies,
    brought,
    check_places,
    expanded,
    gathered,
    spread,
)
from wst.suggest import hint
from wst.yaml_files import Strict

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*\z"
LONGEST_NAME = 100
"""Signs: names become those of files and folders."""


class FromLedger(Strict):
    """The best settings of another study's search: of the same task where it has that, else of all tasks."""

    ledger: Text
    """The other study's output folder."""
    top: Count = 3
    """Settings for each task."""
    variant: Text | None = None
    """The other study's variant; all of them when left out."""


def _kind_of_start(value: object) -> str | None:
    """Which of the three a warm start is; a table of settings by task may have a task called ledger."""
    if isinstance(value, FromLedger):
        return "<ledger>"
    if isinstance(value, dict):
        return "<ledger>" if isinstance(value.get("ledger"), str) else "<by task>"
    return "<list>" if isinstance(value, list | tuple) else None


WarmStart = Annotated[
    Annotated[tuple[Settings, ...], Tag("<list>")]
    | Annotated[dict[Text, tuple[Settings, ...]], Tag("<by task>")]
    | Annotated[FromLedger, Tag("<ledger>")],
    Discriminator(
        _kind_of_start,
        custom_error_type="warm_start",
        custom_error_message="a list of settings, settings by task, or another study's ledger",
    ),
]


class Variant(Strict):
    """A method with the hyperparameters that are searched, taken over, or fixed.

    One of four: ``space`` (searched), ``settings_from`` (the settings found for another variant),
    ``per_task`` (a table of settings by task), or none of these (``fixed`` says everything).  ``fixed`` comes
    on top of each. A variant without a space has no search and goes straight to the final stage.
    """

    method: Text = Field(min_length=1)
    """Name of a method, ``package.module:function``, or the path of a ``.py`` file of your own."""
    method_hash: Text | None = None
    """Of that file, or of the package's; filled in when the study is read, None for wst's own methods."""
    fixed: Settings = Field(default_factory=dict)
    space: dict[Text, Distribution] | None = None
    settings: Literal["own", "shared"] = "own"
    """Of what is searched: each task's own, or one configuration shared by all tasks of the study, chosen by
    the mean of its accuracy on val over them."""
    settings_from: Text | None = None
    per_task: dict[Text, Settings] | None = None
    """Settings by task; in a study file also the name of a shipped table, such as ``released/vit_base``."""
    warm_start: WarmStart | None = None
    """Settings that a search tries first: a list for every task, one by task, or the best settings of another
    study, which are looked up before this one starts.  In a study file also the name of a shipped table."""

    @field_validator("space", mode="before")
    @classmethod
    def _one_entry_a_place(cls, space: Any) -> Any:
        return expanded(space) if isinstance(space, dict) else space

    @field_validator("warm_start", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        if _kind_of_start(value) == "<by task>":
            return {task: [points] if isinstance(points, dict) else points for task, points in value.items()}
        return value

    @model_validator(mode="after")
    def _one_source(self) -> Variant:
        sources = [n for n in ("space", "settings_from", "per_task") if getattr(self, n) is not None]
        if len(sources) > 1:
            found = " and ".join(sources)
            raise ValueError(f"expected at most one of space, settings_from, per_task; found {found}")
        if self.warm_start is not None and self.space is None:
            raise ValueError("expected a space to warm-start; found none")
        if self.shared and self.space is None:
            raise ValueError("settings: expected a space whose settings are shared; found none")
        if self.shared and isinstance(self.warm_start, FromLedger | dict):
            found = "settings by task" if isinstance(self.warm_start, dict) else "another study's ledger"
            raise ValueError(
                f"warm_start: expected one list for all tasks, as settings are shared; found {found}"
            )
        if self.space is not None and not self.space:
            raise ValueError("expected at least one hyperparameter in space; found none")
        check_places(self.space or {})
        before = set(spread(self.fixed))
        for name, entry in (self.space or {}).items():
            for condition in entry.when:
                if condition not in before:
                    raise ValueError(
                        f"space.{name}.when: expected hyperparameters set before it "
                        f"({', '.join(sorted(before)) or 'none'}); found {condition!r}"
                        f"{hint(condition, before)}"
                    )
            before.add(name)
        both = sorted(
            {*self.fixed, *spread(self.fixed)}
            & {*(self.space or {}), *gathered(dict.fromkeys(self.space or {}, 0))}
        )
        if both:
            raise ValueError(f"expected each hyperparameter in space or in fixed; found {both[0]!r} in both")
        tables = self.per_task.values() if self.per_task is not None else [{}]
        if self.settings_from is None and any(
            "lr" not in {*self.fixed, *(self.space or {}), *t} for t in tables
        ):
            raise ValueError("expected a learning rate ('lr') in space, per_task or fixed; found none")
        return self

    @model_validator(mode="after")
    def _on_the_grid(self) -> Variant:
        """Values that refer to the space are as the space has them, so that equal ones are equal anywhere."""
        space = self.space or {}
        if any(condition in space for entry in space.values() for condition in entry.when):
            conditioned = {}
            for name, entry in space.items():
                when = {
                    condition: tuple(space[condition].brought(value) for value in values)
                    if condition in space
                    else values
                    for condition, values in entry.when.items()
                }
                conditioned[name] = entry.model_copy(update={"when": when})
            object.__setattr__(self, "space", conditioned)
        start = self.warm_start
        if isinstance(start, dict):
            points = {task: tuple(map(self._brought, found)) for task, found in start.items()}
            object.__setattr__(self, "warm_start", points)
        elif isinstance(start, tuple):
            object.__setattr__(self, "warm_start", tuple(map(self._brought, start)))
        return self

    def _brought(self, point: Hyperparameters) -> Hyperparameters:
        return gathered(brought(point, self.space or {}))

    @model_validator(mode="after")
    def _possible(self) -> Variant:
        for where, name, value in self._values():
            try:
                check_of_the_trial(name, value)
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from None
        return self

    def _values(self) -> Iterator[tuple[str, str, Value]]:
        """The values that its trials may have, each with the key it stands under; of a range its two ends."""
        for name, value in self.fixed.items():
            yield "fixed", name, value
        for task, table in (self.per_task or {}).items():
            for name, value in table.items():
                yield f"per_task.{task}", name, value
        for name, entry in (self.space or {}).items():
            for value in entry.choices if isinstance(entry, Categorical) else (entry.low, entry.high):
                yield "space", name, value

    @property
    def shared(self) -> bool:
        """Whether all tasks get the same settings from its search."""
        return self.settings == "shared"

    def given_settings(self, task: str) -> Hyperparameters:
        """The settings of a variant that is neither searched nor taken over."""
        return {**(self.per_task or {}).get(task, {}), **self.fixed}

    def first_points(self, task: str) -> list[Hyperparameters]:
        """The settings with which a task's search begins, those hyperparameters that are searched alone."""
        if isinstance(self.warm_start, FromLedger):
            raise TypeError("expected settings that are looked up; found another study's ledger")
        given = self.warm_start or ()
        points = given.get(task, ()) if isinstance(given, dict) else given
        space = self.space or {}
        spreads = [spread(point, space) for point in points]
        return [{name: point[name] for name in space if name in point} for point in spreads]

    def any_settings(self) -> Hyperparameters:
        """One configuration of a searched variant: every hyperparameter at its first value."""
        found: Hyperparameters = spread(self.fixed)
        for name, entry in (self.space or {}).items():
            if applies(entry, found):
                found[name] = entry.values(2)[0]
        return gathered(found)

    def names(self) -> set[str]:
        """The hyperparameters that it sets itself, in whatever way."""
        tables = (self.fixed, *(self.per_task or {}).values(), gathered(dict.fromkeys(self.space or {}, 0)))
        return {name for table in tables for name in table}
