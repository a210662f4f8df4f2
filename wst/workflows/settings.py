"""Every value that a study could ever use, looked at before its first trial."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from wst.errors import InputError
from wst.methods import registry
from wst.methods.contract import TRIAL_PARAMETERS, Method, Parameter
from wst.records import Hyperparameters, Value
from wst.study import Study, Variant
from wst.study.space import Categorical, Distribution, Float, gathered
from wst.study.variant import FromLedger
from wst.suggest import hint


class Given(NamedTuple):
    """A value of a hyperparameter, and where it stands in the study file."""

    where: str
    name: str
    value: object


def check_settings(study: Study) -> None:
    """Put every value of a study through the signature of its variant's method.

    Those in ``fixed``, ``per_task`` and ``warm_start``, every choice of a space and both ends of every range.

    Raises:
        InputError: one line that names variant, hyperparameter, what was expected and what was found.
    """
    for name, variant in study.variants.items():
        method = _method(name, variant)
        _check_ranges(study, name, method)
        values = list(given(study, name))
        for one in values:
            _check(one, method)
        for task in study.tasks:
            there = study.set_in_every_trial(name, task)
            for needed, parameter in method.parameters.items():
                if parameter.required and needed not in there:
                    row = f".per_task.{task}" if variant.per_task is not None else ""
                    under = " but under a condition ('when')" if needed in (variant.space or {}) else ""
                    raise InputError(
                        f"variants.{name}{row}: {needed} of {method.name}: expected {parameter.expectation}; "
                        f"found no value{under}"
                    )


def typed(study: Study) -> Study:
    """The study with every value in the type in which its method takes it: ``lr: 1`` is 1.0 from here on.

    What the method does not take stays as it is, for :func:`check_settings` to say.

    Raises:
        InputError: a method cannot be imported.
    """
    variants = {}
    for name, variant in study.variants.items():
        known = TRIAL_PARAMETERS | _method(name, variant).parameters
        changes: dict[str, Any] = {"fixed": _typed_table(variant.fixed, known)}
        if variant.per_task is not None:
            changes["per_task"] = {task: _typed_table(t, known) for task, t in variant.per_task.items()}
        if variant.space is not None:
            changes["space"] = {
                key: entry.model_copy(update={"choices": tuple(_typed(key, v, known) for v in entry.choices)})
                if isinstance(entry, Categorical)
                else entry
                for key, entry in variant.space.items()
            }
        start = variant.warm_start
        if isinstance(start, dict):
            changes["warm_start"] = {
                task: tuple(_typed_table(point, known) for point in points) for task, points in start.items()
            }
        elif isinstance(start, tuple):
            changes["warm_start"] = tuple(_typed_table(point, known) for point in start)
        variants[name] = variant.model_copy(update=changes)
    return study.model_copy(update={"variants": variants})


def _typed_table(table: Hyperparameters, known: Mapping[str, Parameter]) -> Hyperparameters:
    return {key: _typed(key, value, known) for key, value in table.items()}


def _typed(key: str, value: Value, known: Mapping[str, Parameter]) -> Value:
    """A value of a hyperparameter, or of one of its places."""
    place = re.fullmatch(r"(.+)\[\d+\]", key)
    parameter = known.get(place[1] if place else key)
    try:
        if parameter is None:
            return value
        if place and parameter.several:
            return replace(parameter, several=False).checked(value)
        return parameter.checked(value)
    except ValueError:
        return value


def _method(name: str, variant: Variant) -> Method:
    try:
        return registry.get(variant.method, variant.method_hash)
    except InputError as error:
        raise InputError(f"variants.{name}: {error}") from None


def _check_ranges(study: Study, name: str, method: Method) -> None:
    """Refuse a range of real numbers for a hyperparameter that takes whole ones.

    Raises:
        InputError: naming it.
    """
    source = study.variants[name].settings_from
    where = "space" if source is None else f"settings_from ({source})"
    for key, entry in (study.variants[source or name].space or {}).items():
        taken = next(iter(gathered({key: 0})))
        parameter = method.parameters.get(taken)
        if isinstance(entry, Float) and parameter is not None and parameter.kind is int:
            raise InputError(
                f"variants.{name}.{where}: {taken} of {method.name}: expected {parameter.expectation}; "
                "found a range of type float"
            )


def given(study: Study, name: str) -> Iterator[Given]:
    """All values that a variant's trials may have; of a range its two ends."""
    variant, where = study.variants[name], f"variants.{name}"
    if variant.settings_from is not None:
        space = study.variants[variant.settings_from].space or {}
        yield from _of_space(f"{where}.settings_from ({variant.settings_from})", space)
    yield from _of_table(f"{where}.fixed", variant.fixed)
    for task, table in (variant.per_task or {}).items():
        yield from _of_table(f"{where}.per_task.{task}", table)
    if not isinstance(variant.warm_start, FromLedger | None):
        by_task = variant.warm_start if isinstance(variant.warm_start, dict) else {"": variant.warm_start}
        for points in by_task.values():
            for point in points:
                yield from _of_table(f"{where}.warm_start", point)
    yield from _of_space(f"{where}.space", variant.space or {})


def _of_table(where: str, table: Hyperparameters) -> Iterator[Given]:
    for name, value in table.items():
        yield Given(where, name, value)


def _of_space(where: str, space: Mapping[str, Distribution]) -> Iterator[Given]:
    for key, entry in space.items():
        for condition, values in entry.when.items():
            for one in values:
                for name, taken in gathered({condition: one}).items():
                    yield Given(f"{where}.{key}.when", name, taken)
        for value in entry.choices if isinstance(entry, Categorical) else (entry.low, entry.high):
            for name, taken in gathered({key: value}).items():
                yield Given(where, name, taken)


def _check(given: Given, method: Method) -> None:
    known = TRIAL_PARAMETERS | method.parameters
    if given.name not in known:
        raise InputError(
            f"{given.where}: expected hyperparameters of {method.name} ({', '.join(known)}); "
            f"found {given.name!r}{hint(given.name, known)}"
        )
    try:
        known[given.name].checked(given.value)
    except ValueError as error:
        raise InputError(f"{given.where}: {given.name} of {method.name}: {error}") from None
