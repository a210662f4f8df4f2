"""Variants: a method with the hyperparameters that are searched, taken over, or fixed."""

from __future__ import annotations

from typing import Any

from pydantic import (
    Field,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from wst.records import Hyperparameters
from wst.study.space import Distribution, applies, brought, check_places, expanded, gathered, spread
from wst.yaml_files import Strict, first_error

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"


class FromLedger(Strict):
    """The best settings of another study's search: of the same task where it has that, else of all tasks."""

    ledger: str
    """The other study's output folder."""
    top: PositiveInt = 3
    """Settings for each task."""
    variant: str | None = None
    """The other study's variant; all of them when left out."""


class Variant(Strict):
    """A method with the hyperparameters that are searched, taken over, or fixed.

    One of four: ``space`` (searched), ``settings_from`` (the settings found for another variant),
    ``per_task`` (a table of settings by task), or none of these (``fixed`` says everything).  ``fixed`` comes
    on top of each. A variant without a space has no search and goes straight to the final stage.
    """

    method: str = Field(min_length=1)
    """Name of a method, ``package.module:function``, or the path of a ``.py`` file of your own."""
    method_hash: str | None = None
    """Of that file, or of the package's; filled in when the study is read, None for wst's own methods."""
    fixed: Hyperparameters = Field(default_factory=dict)
    space: dict[str, Distribution] | None = None
    settings_from: str | None = None
    per_task: dict[str, Hyperparameters] | None = None
    """Settings by task; in a study file also the name of a shipped table, such as ``released/vit_base``."""
    warm_start: tuple[Hyperparameters, ...] | dict[str, tuple[Hyperparameters, ...]] | FromLedger | None = (
        None
    )
    """Settings that a search tries first: a list for every task, one by task, or the best settings of another
    study, which are looked up before this one starts.  In a study file also the name of a shipped table."""

    @field_validator("space", mode="before")
    @classmethod
    def _one_entry_a_place(cls, space: Any) -> Any:
        return expanded(space) if isinstance(space, dict) else space

    @field_validator("warm_start", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("ledger"), str):
            try:
                return FromLedger.model_validate(value)
            except ValidationError as error:
                raise ValueError(str(first_error(error, "another study's settings"))) from None
        if isinstance(value, dict):
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

    def settings(self, task: str) -> Hyperparameters:
        """The settings of a variant that is neither searched nor taken over."""
        return {**(self.per_task or {}).get(task, {}), **self.fixed}

    def first_points(self, task: str) -> list[Hyperparameters]:
        """The settings with which a task's search begins, those hyperparameters that are searched alone."""
        assert not isinstance(self.warm_start, FromLedger), "another study's settings are not looked up yet"
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
