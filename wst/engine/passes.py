"""Which trials of a study can train together in one pass over the backbone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from wst.methods import registry
from wst.records import OF_THE_TRIAL, Intent, Stage, Value, of_the_method
from wst.study import Study


class Kind(NamedTuple):
    """What is equal in trials that share a pass."""

    stage: Stage
    method: str
    method_hash: str | None
    settings: frozenset[tuple[str, Value]]
    """The method's hyperparameters that change a tensor's shape."""


class Passes:
    """The kinds of a study's trials.

    Args:
        study: the study.
    """

    def __init__(self, study: Study):
        self._study = study
        self._known: dict[str, tuple[str, ...]] = {}
        """Hyperparameters of a variant's method that change no shape."""

    def kind(self, intent: Intent) -> Kind:
        """That of a trial."""
        return self._kind(intent.stage, intent.variant, intent.hyperparameters)

    def kind_of_search(self, task: str, variant: str) -> Kind | None:
        """That of every trial that the search of a cell suggests; None where it tries several."""
        searched = self._study.variants[variant].space or {}
        if searched.keys() - {*OF_THE_TRIAL, *self._free(variant)}:
            return None
        return self._kind("search", variant, self._study.variants[variant].given_settings(task))

    def _kind(self, stage: Stage, variant: str, settings: Mapping[str, Value]) -> Kind:
        found, free = self._study.variants[variant], self._free(variant)
        shapes = {name: value for name, value in of_the_method(dict(settings)).items() if name not in free}
        return Kind(stage, found.method, found.method_hash, frozenset(shapes.items()))

    def _free(self, variant: str) -> tuple[str, ...]:
        if variant not in self._known:
            found = self._study.variants[variant]
            self._known[variant] = registry.get(found.method, found.method_hash).free
        return self._known[variant]
