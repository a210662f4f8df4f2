"""Models of the YAML files that users write, and what is wrong with a file in one line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from wst.errors import InputError
from wst.suggest import hint
from wst.yaml_text import LARGEST, read_yaml, shown, write_yaml

__all__ = ["LARGEST", "Strict", "first_error", "in_words", "read_yaml", "shown", "write_yaml"]


class Strict(BaseModel):
    """A model that refuses unknown keys in words a user can act on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    raise ValueError(
                        f"expected only the keys {', '.join(cls.model_fields)}; "
                        f"found {shown(str(key))}{hint(key, cls.model_fields)}"
                    )
        return data


_KINDS = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
    "string_type": "a text",
    "string_unicode": "a text that UTF-8 can hold",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of at most 64 bits",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
}
"""What was expected, in a person's words, by pydantic's name of a problem."""
_SIDES = {
    "greater_than": "greater than",
    "less_than": "less than",
    "greater_than_equal": "of at least",
    "less_than_equal": "of at most",
}


def first_error(error: ValidationError, source: str, data: Any = None) -> InputError:
    """The first problem of ``source`` as one line: source, key, what was expected, what was found.

    Args:
        error: what the model says.
        source: the file, for the message.
        data: what the model was given, by which the keys of the file are told from the model's own.
    """
    problem = error.errors(include_url=False)[0]
    keys, text = _keys(problem["loc"], data), in_words(problem)
    if "[key]" in problem["loc"] and problem["type"] == "string_type":
        text += " (a key in quotes is a text)"
    return InputError(f"{source}: {'.'.join(keys)}: {text}" if keys else f"{source}: {text}")


def in_words(problem: Any) -> str:
    """What one of pydantic's problems says, in our words: what was expected and what was found."""
    kind, found, context = problem["type"], problem["input"], problem.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "missing":
        return "expected a value; found none"
    if kind == "union_tag_invalid":
        tag, tags = context["tag"], _quoted(context["expected_tags"])
        return f"expected type {', '.join(tags)}; found {shown(tag)}{hint(tag, tags)}"
    if kind == "union_tag_not_found":
        if isinstance(found, Mapping):
            return "expected a key 'type'; found none"
        return f"expected a mapping; found {shown(found)}"
    near = hint(found, _quoted(context["expected"])) if kind == "literal_error" else ""
    return f"expected {_expected(problem)}; found {shown(found)}{near}"


def _quoted(names: str) -> list[str]:
    """The names in a list of pydantic's: ``'a', 'b' or 'c'``."""
    return re.findall(r"'([^']*)'", names)


def _expected(problem: Any) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if kind in _KINDS:
        return _KINDS[kind]
    if kind in _SIDES:
        number = next(iter(context.values()))
        return f"a number {_SIDES[kind]} {number:{',' if isinstance(number, int) else 'g'}}"
    if kind == "warm_start":
        return str(problem["msg"])
    if kind == "string_pattern_mismatch":
        return "a name of letters, digits, _ and -, that begins with a letter or a digit"
    if kind in ("too_short", "too_long"):  # of a text too, where a check of our own comes before its length
        side, length = ("least", "min_length") if kind == "too_short" else ("most", "max_length")
        unit = "signs" if isinstance(problem["input"], str) else "entries"
        return f"at {side} {context[length]:,} {unit}"
    if kind == "literal_error":
        return f"one of {', '.join(_quoted(context['expected']))}"
    message = str(problem["msg"]).removeprefix("Input should be ").removeprefix("Value should be ")
    return message[0].lower() + message[1:]


def _keys(location: Sequence[int | str], data: Any) -> list[str]:
    """A problem's place as the file has it: without what tells several models of one place apart."""
    tags, keys, here = _tags(Strict), [], data
    for place, part in enumerate(location):
        last = place == len(location) - 1
        if _holds(here, part):
            here = here[part]
        elif part == "[key]" or str(part).startswith("<") or (part in tags and not (last and here is None)):
            continue  # which of several models it was read as: no key of the file
        else:
            here = None
        keys.append(str(part))
    return keys


def _holds(value: Any, part: int | str) -> bool:
    if isinstance(value, list | tuple):
        return isinstance(part, int) and part < len(value)
    return isinstance(value, Mapping) and part in value


def _tags(model: type[BaseModel]) -> set[str]:
    """Values of ``type``, by which one of several models is chosen, in a model and all derived from it."""
    own = model.model_fields.get("type")
    tags = {str(value) for value in get_args(own.annotation)} if own is not None else set()
    return tags.union(*(_tags(derived) for derived in model.__subclasses__()))
