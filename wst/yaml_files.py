"""Reading YAML safely: floats such as ``1e-3`` are numbers, and a key given twice is an error."""

from __future__ import annotations

import re
from typing import Any

import yaml

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
