"""The base of all models of YAML files, and what is wrong with a file in one line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from wst.errors import InputError


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
    spaces, samplers = {"float", "int", "categorical"}, {"tpe", "gp", "random", "grid", "nsga2"}
    tags = spaces | samplers | {"successive_halving", "median", "none"}
    keys = [str(part) for part in problem["loc"]]
    key = ".".join(part for i, part in enumerate(keys) if not (part in tags and i == len(keys) - 1 and i > 0))
    if problem["type"] == "value_error":
        text = str(problem["ctx"]["error"])
    elif problem["type"] == "missing":
        text = "expected a value; found none"
    else:
        message = problem["msg"].removeprefix("Input should be ").removeprefix("Value should be ")
        text = f"expected {message[0].lower() + message[1:]}; found {problem['input']!r}"
    return InputError(f"{source}: {key}: {text}" if key else f"{source}: {text}")
