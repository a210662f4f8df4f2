"""Reading study files: references resolved, overrides applied, mistakes told in one line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wst.errors import InputError
from wst.study.references import contents, read_file, resolve
from wst.study.study import Study
from wst.suggest import hint
from wst.yaml_files import first_error, read_yaml, shown

_PART = re.compile(r'"([^"]+)"|[^."]+')


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
        found = {} if found is None else contents(here, found, source)
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
    data, path = read_file(name)
    made: dict[tuple[str, ...], str] = {}
    for assignment in overrides:
        made = {**_override(data, assignment, path), **made}
    resolve(data, path, tasks)
    try:
        return Study.model_validate(data)
    except ValidationError as error:
        place = error.errors(include_url=False)[0]["loc"]
        near = next((text for keys, text in made.items() if place[: len(keys)] == keys), "")
        line = str(first_error(error, str(path), data))
        raise InputError(line if "did you mean" in line else line + near) from None
