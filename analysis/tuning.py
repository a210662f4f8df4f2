"""How the variants of a study come by their settings, and which of them differ in nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from wst.records import Tuning
from wst.study import Study
from wst.study.space import gathered
from wst.study.variant import Variant


def tuning_of(study: Study, variant: str) -> Tuning:
    """How a variant of a study comes by its settings."""
    found = study.variants.get(variant)
    if found is None or found.space is None:
        return "untuned"
    return "shared" if found.shared else "tuned"


def of_tuning(trials: pd.DataFrame, studies: Mapping[str, Study], tuning: Tuning | None) -> pd.DataFrame:
    """The trials of the variants whose settings come about in this way; all for None.

    Args:
        trials: with the columns ``study`` and ``variant``.
        studies: the studies by name.
        tuning: which.
    """
    if tuning is None:
        return trials
    wanted = {(n, v) for n, study in studies.items() for v in study.variants if tuning_of(study, v) == tuning}
    pairs = zip(trials["study"], trials["variant"], strict=True)
    return trials[[pair in wanted for pair in pairs]]


def counterparts(study: Study) -> list[dict[Tuning, str]]:
    """Variants that differ in nothing but how their settings are found.

    A variant without a search belongs to those with one where it fixes what they fix, and besides only what
    they search.

    Returns:
        For each method with two such variants at least, their names, in the study's order.
    """
    found: list[tuple[Variant, dict[Tuning, str]]] = []
    for name, variant in study.variants.items():
        if variant.space is None:
            continue
        kind = tuning_of(study, name)
        for first, names in found:
            if kind not in names and _searched_alike(first, variant):
                names[kind] = name
                break
        else:
            found.append((variant, {kind: name}))
    for name, variant in study.variants.items():
        if variant.space is None and variant.settings_from is None and variant.per_task is None:
            for first, names in found:
                if "untuned" not in names and _fixes_what_is_searched(variant, first):
                    names["untuned"] = name
                    break
    return [names for _, names in found if len(names) > 1]


def _searched_alike(one: Variant, other: Variant) -> bool:
    return all(
        getattr(one, key) == getattr(other, key) for key in ("method", "method_hash", "space", "fixed")
    )


def _fixes_what_is_searched(untuned: Variant, searched: Variant) -> bool:
    space = searched.space or {}
    names = {*space, *gathered(dict.fromkeys(space, 0))}
    rest = {name: value for name, value in untuned.fixed.items() if name not in searched.fixed}
    return (
        (untuned.method, untuned.method_hash) == (searched.method, searched.method_hash)
        and all(name in untuned.fixed and untuned.fixed[name] == v for name, v in searched.fixed.items())
        and set(rest) <= names
    )
