"""What a study refers to by name or path: recipes, search spaces, settings, suites, weights, own methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wst.data.suites import suites
from wst.errors import InputError
from wst.files import exists, is_file, read_text
from wst.methods import registry
from wst.shipped import find_yaml
from wst.study.variant import Variant
from wst.yaml_files import LARGEST, first_error, read_yaml, shown

_NAMED = {
    ("recipe",): "recipes",
    ("variants", "*", "space"): "search_spaces",
    ("variants", "*", "per_task"): "settings",
    ("variants", "*", "warm_start"): "settings",
}
"""Keys that may name a file in the place of its contents, with the kind of the file; ``*`` is any name."""


def read_file(name: str) -> tuple[dict[str, Any], Path]:
    """What a study's file says, its weights' path seen from there, and where it is.

    Args:
        name: path of a YAML file, or the name of a shipped study.

    Raises:
        InputError: there is none, or it is no YAML mapping.
    """
    path = find_yaml("studies", name)
    data = read_yaml(read_text(path, LARGEST), str(path))
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping; found {shown(data)}")
    if isinstance(data.get("checkpoint"), str):
        data["checkpoint"] = absolute_file(data["checkpoint"], path.parent)
    return data, path


def as_yaml(value: Any) -> Any:
    """A value of Python's as YAML would have it: mappings and lists copied, paths as texts."""
    if isinstance(value, Mapping):
        return {key: as_yaml(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_yaml(inner) for inner in value]
    return fspath(value) if isinstance(value, PathLike) else value


def resolve(data: dict[str, Any], source: Path, tasks: Sequence[str] = ()) -> None:
    """Put the contents of files in the place of their names, and make the paths of others absolute.

    Args:
        data: what a study is made of; it is changed.
        source: its file, for messages and for paths relative to it.
        tasks: these tasks in the place of its own.

    Raises:
        InputError: something that is named is not there or not valid.
    """
    if isinstance(data.get("checkpoint"), str):  # one that was given beside the file is seen from here
        data["checkpoint"] = absolute_file(data["checkpoint"], Path(), source.parent)
    _resolve_files(data, source)
    if tasks:
        data["tasks"] = list(tasks)
    if isinstance(data.get("suite"), str):
        data["suite"] = absolute_suite(data["suite"], source.parent)
    _resolve_methods(data, source)


def contents(key: tuple[str, ...], value: Any, source: Path) -> Any:
    """What stands at a key: the contents of a file in the place of its name."""
    kind = _NAMED.get(key if len(key) < 2 else (key[0], "*", *key[2:]))
    if kind is None or not isinstance(value, str):
        return value
    where = find_yaml(kind, value, beside=source.parent)
    return read_yaml(read_text(where, LARGEST), str(where))


def absolute_suite(name: str, beside: Path = Path()) -> str:
    """A suite's name, or the path of a user's own suite made absolute: workers have another current folder.

    The path may be relative to ``beside`` or to the current folder.
    """
    if name not in suites():
        for base in (beside, Path()):
            if exists(base / name):
                return str((base / name).resolve())
    return name


def absolute_file(name: str, *folders: Path) -> str:
    """A file's path made absolute, as seen from one of these folders or from the current one; as it is where
    none has it.  Links are not followed: a model hub's lead to names without an ending."""
    for base in (*folders, Path()):
        if is_file(base / name):
            return str((base / name).absolute())
    return name


def _resolve_files(data: dict[str, Any], source: Path) -> None:
    """Put the contents of files in the place of their names."""
    if "recipe" in data:
        data["recipe"] = contents(("recipe",), data["recipe"], source)
    variants = data.get("variants")
    for name, variant in variants.items() if isinstance(variants, dict) else ():
        for key in ("space", "per_task", "warm_start") if isinstance(variant, dict) else ():
            named = variant.get(key)
            if isinstance(named, str):
                variant[key] = contents(("variants", str(name), key), named, source)
                if key == "space":
                    where = find_yaml("search_spaces", named, beside=source.parent)
                    _check_space(variant[key], f"{where} (space of variant {name!r})")


def _check_space(space: Any, source: str) -> None:
    """Look at a file's search space for itself, so that a mistake names that file."""
    if not isinstance(space, dict):
        raise InputError(f"{source}: expected a mapping of hyperparameters; found {shown(space)}")
    data = {"method": "any", "fixed": {} if "lr" in space else {"lr": 1.0}, "space": space}
    try:
        Variant.model_validate(data)
    except ValidationError as error:
        raise first_error(error, source, data) from None


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
