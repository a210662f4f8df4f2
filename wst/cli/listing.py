"""``wst ls``: what there is, by name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, get_args

import typer

from wst import trackers
from wst.cli.output import Json, print_json
from wst.errors import InputError
from wst.methods import registry
from wst.models.families import FAMILIES, MICRO
from wst.shipped import shipped_names
from wst.suggest import one_of

listing_app = typer.Typer()


class _Kind(NamedTuple):
    """What ``wst ls`` prints of one kind: its lines, and what it has for ``--json``."""

    lines: Callable[[], list[str]]
    plain: Callable[[], list[Any]]


def _shipped(kind: str) -> _Kind:
    return _names(lambda: shipped_names(kind))


def _names(names: Callable[[], list[str]]) -> _Kind:
    return _Kind(names, names)


def _tasks() -> list[str]:
    from wst.data.suites import suites  # loads NumPy

    return [f"{suite.name}/{task.name}" for suite in suites().values() for task in suite.tasks]


def _suites() -> list[str]:
    from wst.data.suites import suites  # loads NumPy

    return list(suites())


def _options(key: str) -> list[dict[str, Any]]:
    """What a key of a study's search may be: its names for ``type``, with their options and defaults."""
    from wst.study.search import Search  # loads Pydantic

    return [
        {
            "name": one.model_fields["type"].default,
            "about": (inspect.getdoc(one) or "").partition("\n\n")[0].replace("\n", " ").replace("``", ""),
            "options": {
                name: {
                    "default": None if field.is_required() else field.default,
                    "required": field.is_required(),
                }
                for name, field in one.model_fields.items()
                if name != "type"
            },
        }
        for one in get_args(Search.model_fields[key].annotation)
    ]


def _trackers() -> list[dict[str, Any]]:
    return [{"name": name, "installed": trackers.is_installed(name)} for name in trackers.names()]


def _tracker_line(one: dict[str, Any]) -> str:
    return str(one["name"]) + (
        "" if one["installed"] else f" (not installed: pip install 'wst[{one['name']}]')"
    )


def _search(key: str) -> _Kind:
    return _Kind(lambda: [one["name"] for one in _options(key)], lambda: _options(key))


def _families() -> list[dict[str, Any]]:
    note = (
        "examples; all but micro are timm's, and --json lists every name; weights: --set checkpoint=FILE, or "
        "--set pretrained=true to download them"
    )
    print(note, file=sys.stderr)
    embedded = {"family": "embedded", "examples": [MICRO]}
    return [
        embedded,
        *({"family": f"{one.kind} ({one.module})", "examples": list(one.examples)} for one in FAMILIES),
    ]


def _every_backbone() -> list[dict[str, Any]]:
    models = [[MICRO], *(one.names() for one in FAMILIES)]
    return [family | {"models": own} for family, own in zip(_families(), models, strict=True)]


_KINDS = {
    "tasks": _names(_tasks),
    "suites": _names(_suites),
    "backbones": _Kind(
        lambda: [f"{one['family']}: {', '.join(one['examples'])}" for one in _families()], _every_backbone
    ),
    "methods": _Kind(
        lambda: registry.names(), lambda: [registry.described(name) for name in registry.names()]
    ),
    "spaces": _shipped("search_spaces"),
    "settings": _shipped("settings"),
    "recipes": _shipped("recipes"),
    "studies": _shipped("studies"),
    "samplers": _search("sampler"),
    "pruners": _search("pruner"),
    "trackers": _Kind(lambda: [_tracker_line(one) for one in _trackers()], _trackers),
}


def _kinds(incomplete: str) -> list[str]:
    return [kind for kind in _KINDS if kind.startswith(incomplete)]


@listing_app.command("ls")
def list_known(
    what: Annotated[str, typer.Argument(help=", ".join(_KINDS), autocompletion=_kinds)],
    as_json: Json = False,
) -> None:
    """List what there is."""
    if what not in _KINDS:
        raise InputError(f"ls: {one_of(what, _KINDS)}")
    kind = _KINDS[what]
    if as_json:
        print_json(kind.plain())
    else:
        print("\n".join(kind.lines()))
