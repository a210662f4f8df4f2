"""Reading study files: references resolved, overrides applied, mistakes told in one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wst.data.suites import suites
from wst.errors import InputError
from wst.methods import registry
from wst.shipped import find_yaml
from wst.study.study import Study
from wst.study.variant import Variant
from wst.yaml_files import first_error, read_yaml


def _override(data: dict[str, Any], assignment: str) -> None:
    path, separator, value = assignment.partition("=")
    if not separator or not path:
        raise InputError(f"--set: expected KEY=VALUE, such as recipe.epochs=5; found {assignment!r}")
    *parents, last = path.split(".")
    for parent in parents:
        data = data.setdefault(parent, {})
        if not isinstance(data, dict):
            raise InputError(f"--set {path}: expected a mapping at {parent!r}; found {data!r}")
    data[last] = read_yaml(value, f"--set {path}")


def _resolve_recipe(data: dict[str, Any], source: Path) -> None:
    """Put the contents of a recipe file in the place of its name."""
    if isinstance(data.get("recipe"), str):
        where = find_yaml("recipes", data["recipe"], beside=source.parent)
        data["recipe"] = read_yaml(where.read_text(), str(where))


def absolute_suite(name: str, beside: Path = Path()) -> str:
    """A suite's name, or the path of a user's own suite made absolute: workers have another current folder.

    The path may be relative to ``beside`` or to the current folder.
    """
    if name not in suites():
        for base in (beside, Path()):
            if (base / name).exists():
                return str((base / name).resolve())
    return name


def absolute_file(name: str, *folders: Path) -> str:
    """A file's path made absolute, as seen from one of these folders or from the current one; as it is where
    none has it.  Links are not followed: a model hub's lead to names without an ending."""
    for base in (*folders, Path()):
        if (base / name).is_file():
            return str((base / name).absolute())
    return name


def _resolve_spaces(data: dict[str, Any], source: Path) -> None:
    """Put the contents of search-space files and settings tables in the place of their names."""
    variants = data.get("variants")
    if not isinstance(variants, dict):
        return
    for name, variant in variants.items():
        if not isinstance(variant, dict):
            continue
        for key in ("per_task", "warm_start"):
            if isinstance(variant.get(key), str):
                where = find_yaml("settings", variant[key], beside=source.parent)
                variant[key] = read_yaml(where.read_text(), str(where))
        if isinstance(variant.get("space"), str):
            where = find_yaml("search_spaces", variant["space"], beside=source.parent)
            space = read_yaml(where.read_text(), str(where))
            if not isinstance(space, dict):
                raise InputError(
                    f"{where}: expected a mapping of hyperparameters; found {type(space).__name__}"
                )
            variant["space"] = space
            try:
                Variant.model_validate(
                    {"method": "any", "fixed": {} if "lr" in space else {"lr": 0.0}, "space": space}
                )
            except ValidationError as error:
                raise first_error(error, f"{where} (space of variant {name!r})") from None


def _resolve_methods(data: dict[str, Any], source: Path) -> None:
    """Make the paths of a user's own methods absolute, as workers have another current folder, and note which
    version of each file the study means."""
    variants = data.get("variants")
    for name, variant in variants.items() if isinstance(variants, dict) else ():
        if isinstance(variant, dict) and isinstance(variant.get("method"), str):
            variant["method"] = registry.beside(variant["method"], source.parent)
            try:
                digest = registry.source_hash(variant["method"])
            except InputError as error:
                raise InputError(f"{source}: variants.{name}: {error}") from None
            if variant.setdefault("method_hash", digest) != digest:
                raise InputError(
                    f"{source}: variants.{name}.method_hash: expected the file {variant['method']} as it was "
                    f"({variant['method_hash']}); found {digest}"
                )


def load_study(name: str, *, overrides: Sequence[str] = (), tasks: Sequence[str] = ()) -> Study:
    """Read, resolve and validate a study.

    Args:
        name: path of a YAML file, or the name of a shipped study.
        overrides: ``KEY=VALUE`` pairs, such as ``recipe.epochs=5``.
        tasks: run these tasks only.

    Raises:
        InputError: one line that names the file, the key, what was expected and what was found.
    """
    path = find_yaml("studies", name)
    data = read_yaml(path.read_text(), str(path))
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping; found {type(data).__name__}")
    _resolve_recipe(data, path)
    if isinstance(data.get("checkpoint"), str):
        data["checkpoint"] = absolute_file(data["checkpoint"], path.parent)
    for assignment in overrides:
        _override(data, assignment)
    _resolve_recipe(data, path)  # an override may name one
    if isinstance(data.get("checkpoint"), str):  # an override is seen from here
        data["checkpoint"] = absolute_file(data["checkpoint"], Path(), path.parent)
    if tasks:
        data["tasks"] = list(tasks)
    if isinstance(data.get("suite"), str):
        data["suite"] = absolute_suite(data["suite"], path.parent)
    _resolve_spaces(data, path)
    _resolve_methods(data, path)
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        raise first_error(error, str(path)) from None
