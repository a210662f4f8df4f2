"""YAML files read safely, and refused in one line that a user can act on.

Floats such as ``1e-3`` are numbers, and a key given twice is an error.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from wst.errors import InputError


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, made to agree with YAML 1.2 on floats and strict about duplicate keys."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = next((key for i, key in enumerate(keys) if key in keys[:i]), None)
        if twice is not None:
            raise yaml.MarkedYAMLError(
                problem=f"expected each key once; found {twice!r} twice", problem_mark=node.start_mark
            )
        return super().construct_mapping(node, deep)


# YAML 1.1, which PyYAML follows, reads "1e-3" (no dot) as a string.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$"), list("-+0123456789")
)


def read_yaml(text: str, source: str) -> Any:
    """Parse YAML text from ``source``.

    Raises:
        InputError: the text is not YAML; the message has the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{source}{where}: {error.problem}") from None


class Strict(BaseModel):
    """A model that refuses unknown keys in words a user can act on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            for key in data:
                if key not in cls.model_fields:
                    near = difflib.get_close_matches(str(key), cls.model_fields, n=1)
                    hint = f" (did you mean {near[0]!r}?)" if near else ""
                    raise ValueError(
                        f"expected only the keys {', '.join(cls.model_fields)}; found {str(key)!r}{hint}"
                    )
        return data


def first_error(error: ValidationError, source: str) -> InputError:
    """The first problem of ``source`` as one line: source, key, what was expected, what was found."""
    problem = error.errors(include_url=False)[0]
    keys = [str(part) for part in problem["loc"]]
    if len(keys) > 1 and keys[-1] in _tags(Strict):
        del keys[-1]  # which of several models it was read as: no key of the file
    key = ".".join(keys)
    if problem["type"] == "value_error":
        text = str(problem["ctx"]["error"])
    elif problem["type"] == "missing":
        text = "expected a value; found none"
    elif problem["type"] in ("model_type", "dict_type"):
        text = f"expected a mapping; found {problem['input']!r}"
    else:
        message = problem["msg"].removeprefix("Input should be ").removeprefix("Value should be ")
        text = f"expected {message[0].lower() + message[1:]}; found {problem['input']!r}"
    return InputError(f"{source}: {key}: {text}" if key else f"{source}: {text}")


def _tags(model: type[BaseModel]) -> set[str]:
    """Values of ``type``, by which one of several models is chosen, in a model and all derived from it."""
    own = model.model_fields.get("type")
    tags = {str(value) for value in get_args(own.annotation)} if own is not None else set()
    return tags.union(*(_tags(derived) for derived in model.__subclasses__()))
