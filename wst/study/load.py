"""Reading study files: references resolved, overrides applied, mistakes told in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wst.data.suites import suites
from wst.errors import InputError
from wst.files import exists, is_file, read_text
from wst.methods import registry
from wst.shipped import find_yaml
from wst.study.study import Study
from wst.study.variant import Variant
from wst.suggest import hint
from wst.yaml_files import LARGEST, first_error, read_yaml, shown

_NAMED = {
    ("recipe",): "recipes",
    ("variants", "*", "space"): "search_spaces",
    ("variants", "*", "per_task"): "settings",
    ("variants", "*", "warm_start"): "settings",
}
"""Keys that may name a file in the place of its contents, with the kind of the file; ``*`` is any name."""
_PART = re.compile(r'"([^"]+)"|[^."]+')


def _resolved(key: tuple[str, ...], value: Any, source: Path) -> Any:
    """What stands at a key: the contents of a file in the place of its name."""
    kind = _NAMED.get(key if len(key) < 2 else (key[0], "*", *key[2:]))
    if kind is None or not isinstance(value, str):
        return value
    where = find_yaml(kind, value, beside=source.parent)
    return read_yaml(read_text(where, LARGEST), str(where))


def _override(data: dict[str, Any], assignment: str, source: Path) -> dict[tuple[str, ...], str]:
    """Set a key, also inside what a file is named for; mappings on the way to it are made.

    Returns:
        The first mapping that was made, and which key beside it may have been meant: no more than that, since
        a variant or a hyperparameter may be a new one.
    """
    path, separator, text = assignment.partition("=")
    parts = [match[1] or match[0] for match in _PART.finditer(path)]
    if not separator or not parts or len(_PART.sub("", path)) != len(parts) - 1:
        raise InputError(f"--set: expected KEY=VALUE, such as recipe.epochs=5; found {shown(assignment)}")
    value = read_yaml(text, f"--set {path}")
    inner: Any = data
    made: dict[tuple[str, ...], str] = {}
    for place, part in enumerate(parts[:-1]):
        key, here = _key(inner, part, path), tuple(parts[: place + 1])
        found = inner[key] if isinstance(inner, list) else inner.get(key)
        if found is None and not made:
            made[here] = hint(part, inner)
        found = {} if found is None else _resolved(here, found, source)
        if not isinstance(found, dict | list):
            raise InputError(f"--set {path}: expected a mapping at {part!r}; found {shown(found)}")
        inner[key] = found
        inner = found
    inner[_key(inner, parts[-1], path)] = value
    return made


def _key(inner: Any, part: str, path: str) -> Any:
    """A part of an override's key as its mapping or list has it."""
    if not isinstance(inner, list):
        return part
    if not (part.isdecimal() and int(part) < len(inner)):
        raise InputError(f"--set {path}: expected a place in a list of {len(inner)}, from 0; found {part!r}")
    return int(part)


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
        data["recipe"] = _resolved(("recipe",), data["recipe"], source)
    variants = data.get("variants")
    for name, variant in variants.items() if isinstance(variants, dict) else ():
        for key in ("space", "per_task", "warm_start") if isinstance(variant, dict) else ():
            named = variant.get(key)
            if isinstance(named, str):
                variant[key] = _resolved(("variants", str(name), key), named, source)
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


def load_study(name: str, *, overrides: Sequence[str] = (), tasks: Sequence[str] = ()) -> Study:
    """Read, resolve and validate a study.

    Args:
        name: path of a YAML file, or the name of a shipped study.
        overrides: ``KEY=VALUE`` pairs, such as ``recipe.epochs=5``, done in this order;
            a part of a key that has a dot stands in double quotes.
        tasks: run these tasks only.

    Raises:
        InputError: one line that names the file, the key, what was expected and what was found.
    """
    path = find_yaml("studies", name)
    data = read_yaml(read_text(path, LARGEST), str(path))
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping; found {shown(data)}")
    if isinstance(data.get("checkpoint"), str):
        data["checkpoint"] = absolute_file(data["checkpoint"], path.parent)
    made: dict[tuple[str, ...], str] = {}
    for assignment in overrides:
        made = {**_override(data, assignment, path), **made}
    if isinstance(data.get("checkpoint"), str):  # an override is seen from here
        data["checkpoint"] = absolute_file(data["checkpoint"], Path(), path.parent)
    _resolve_files(data, path)
    if tasks:
        data["tasks"] = list(tasks)
    if isinstance(data.get("suite"), str):
        data["suite"] = absolute_suite(data["suite"], path.parent)
    _resolve_methods(data, path)
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        place = error.errors(include_url=False)[0]["loc"]
        near = next((text for keys, text in made.items() if place[: len(keys)] == keys), "")
        line = str(first_error(error, str(path), data))
        raise InputError(line if "did you mean" in line else line + near) from None
