"""YAML text read as it is written, and refused in one line that a user can act on.

Plain scalars mean what YAML 1.2's core schema says: ``1e-3`` is a number, ``010`` is ten, and ``no``, ``on``,
``1:30`` and ``2001-01-01`` are texts.  What is quoted is a text.  A key given twice is an error, and so is
whatever a study needs none of: other tags, several documents, files that are larger or nested deeper than any
that a person writes.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

from wst.errors import InputError

_MOST_SIGNS = 1_000_000
LARGEST = 4 * _MOST_SIGNS
"""Bytes of a file: more can be no text of so many signs."""
_MOST_NODES = 30_000
"""Values and keys, an alias counted as often as it stands for something."""
_DEEPEST = 50
_SHOWN = 60
"""Signs of a value that a message shows."""
_LEVELS = 4
"""Of lists and mappings that it shows: JSON nests a thousand."""

_TAG = "tag:yaml.org,2002:"
_CORE = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)
"""Tags of YAML 1.2's core schema: which plain scalars have them, and how these begin; the first that fits."""


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of YAML 1.2, within bounds, and strict about duplicate keys."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]
    yaml_constructors: ClassVar[dict[Any, Any]] = {}

    def __init__(self, text: str):
        super().__init__(text)
        self._levels = self._composed = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """A node, counted with all below it: an alias as much as what it stands for."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        mark, alias = event.start_mark, isinstance(event, yaml.AliasEvent)
        self._levels += 1
        self._composed += 1
        if self._composed > _MOST_NODES:
            raise _too_many(mark)
        if self._levels > _DEEPEST:
            raise _problem(f"expected at most {_DEEPEST} levels; found more", mark)
        node = super().compose_node(parent, index)
        self._levels -= 1
        if node is None:
            return None
        if not alias:
            self._sizes[id(node)] = 1 + sum(self._sizes[id(child)] for child in _children(node))
        elif id(node) not in self._sizes:  # it is being composed
            raise _problem("expected a value; found one that holds itself", mark)
        if self._sizes[id(node)] > _MOST_NODES:
            raise _too_many(mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, dict | list):
                raise _problem(f"expected a text as a key; found {shown(key)}", key_node.start_mark)
            if key in found:
                raise _problem(f"expected each key once; found {key!r} twice", key_node.start_mark)
            found[key] = self.construct_object(value_node, deep=True)
        return found


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [one for pair in node.value for one in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _problem(text: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=text, problem_mark=mark)


def _too_many(mark: Any) -> yaml.MarkedYAMLError:
    return _problem(f"expected at most {_MOST_NODES:,} values and keys; found more", mark)


def _scalar(loader: _Loader, node: yaml.Node) -> str:
    if not isinstance(node, yaml.ScalarNode):
        raise _problem(f"expected a single value for {_tag(node)}; found several", node.start_mark)
    return str(node.value)


def _tag(node: yaml.Node) -> str:
    return str(node.tag).replace(_TAG, "!!")


def _null(loader: _Loader, node: yaml.Node) -> None:
    if not re.fullmatch(_CORE[0][1], _scalar(loader, node)):
        raise _mistagged(node, "null")


def _bool(loader: _Loader, node: yaml.Node) -> bool:
    text = _scalar(loader, node)
    if not re.fullmatch(_CORE[1][1], text):
        raise _mistagged(node, "true or false")
    return text.lower() == "true"


def _int(loader: _Loader, node: yaml.Node) -> int:
    text = _scalar(loader, node)
    if not re.fullmatch(_CORE[2][1], text):
        raise _mistagged(node, "a whole number")
    digits = text.lstrip("+-").lstrip("0") or "0"
    # Python refuses to read thousands of digits, and no table of a ledger holds what needs more than these.
    value = int(text, 0 if text[:2] in ("0o", "0x") else 10) if len(digits) < 30 else 2**63
    if not -(2**63) <= value < 2**63:
        raise _mistagged(node, "a whole number of at most 64 bits")
    return value


def _float(loader: _Loader, node: yaml.Node) -> float:
    text = _scalar(loader, node)
    if not re.fullmatch(f"{_CORE[3][1]}|{_CORE[2][1]}", text):
        raise _mistagged(node, "a number")
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


def _text(loader: _Loader, node: yaml.Node) -> str:
    text = _scalar(loader, node)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _mistagged(node, "a text that UTF-8 can hold") from None
    return text


def _mistagged(node: yaml.Node, expected: str) -> yaml.MarkedYAMLError:
    return _problem(f"expected {expected}; found {shown(node.value)}", node.start_mark)


def _sequence(loader: _Loader, node: yaml.Node) -> list[Any]:
    if not isinstance(node, yaml.SequenceNode):
        raise _problem(f"expected a list for {_tag(node)}; found another kind", node.start_mark)
    return [loader.construct_object(child, deep=True) for child in node.value]


def _mapping(loader: _Loader, node: yaml.Node) -> dict[Any, Any]:
    if not isinstance(node, yaml.MappingNode):
        raise _problem(f"expected a mapping for {_tag(node)}; found another kind", node.start_mark)
    return loader.construct_mapping(node)


def _unknown(loader: _Loader, node: yaml.Node) -> None:
    raise _problem(f"expected a plain value; found the tag {_tag(node)}", node.start_mark)


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which besides quotes whatever :class:`_Loader` would take for a number."""


for _name, _pattern, _first in _CORE:
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"^(?:{_pattern})$"), _first)
for _name, _read in {
    "null": _null,
    "bool": _bool,
    "int": _int,
    "float": _float,
    "str": _text,
    "seq": _sequence,
    "map": _mapping,
}.items():
    _Loader.add_constructor(f"{_TAG}{_name}", _read)
_Loader.add_constructor(None, _unknown)


def read_yaml(text: str, source: str) -> Any:
    """Parse YAML text from ``source``: mappings, lists, texts, numbers, true, false and null.

    Raises:
        InputError: the text is not YAML, or is more of it than any study needs; the message has the line.
    """
    if len(text) > _MOST_SIGNS:
        raise InputError(f"{source}: expected at most {_MOST_SIGNS:,} signs; found {len(text):,}")
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}" if mark else ""
        # "expected a single document in the stream", "but found another document"
        parts = (error.context, error.problem) if str(error.problem).startswith("but ") else (error.problem,)
        raise InputError(f"{source}{where}: {', '.join(map(str, parts))}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise InputError(
            f"{source}, line {line}: expected text; found the sign {chr(error.character)!r}"
        ) from None
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(
            f"{source}: expected YAML; found {type(error).__name__}: {shown(str(error))}"
        ) from None


def write_yaml(value: Any) -> str:
    """YAML text that :func:`read_yaml` reads back as the same value.

    Raises:
        InputError: it would be more than that takes.
    """
    if _nodes(value) > _MOST_NODES:
        raise InputError(f"YAML: expected at most {_MOST_NODES:,} values and keys; found {_nodes(value):,}")
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=110)
    if len(text) > _MOST_SIGNS:
        raise InputError(f"YAML: expected at most {_MOST_SIGNS:,} signs; found {len(text):,}")
    return text


def _nodes(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + sum(1 + _nodes(one) for one in value.values())
    return 1 + sum(map(_nodes, value)) if isinstance(value, list | tuple) else 1


def shown(value: object) -> str:
    """A value as a message shows it: as YAML says it where that differs from Python, and never long."""
    return _shown(value, _LEVELS)


def _shown(value: object, levels: int) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower() if value is not None else "null"
    if isinstance(value, str):
        text = repr(value[:_SHOWN]) if len(value) <= _SHOWN else f"{value[: _SHOWN - 3]!r}..."
    elif isinstance(value, dict | list | tuple) and not levels:
        text = "..."
    elif isinstance(value, dict):
        entries = _first_of(value.items())
        text = "{" + ", ".join(f"{key}: {_shown(one, levels - 1)}" for key, one in entries) + "}"
    elif isinstance(value, list | tuple):
        text = "[" + ", ".join(_shown(one, levels - 1) for one in _first_of(value)) + "]"
    elif isinstance(value, int) and abs(value) >= 10**20:
        text = f"a whole number of {value.bit_length():,} bits"
    else:
        text = repr(value)
    return text if len(text) <= _SHOWN + 5 else f"{text[: _SHOWN - 3]}..."


def _first_of(values: Any) -> list[Any]:
    """Enough of them for a message."""
    return [one for one, _ in zip(values, range(_SHOWN), strict=False)]
