"""The page docs/methods.md, generated from the methods' signatures.

``python -m tools.methods_page > docs/methods.md`` renews it.
"""

from __future__ import annotations

from typing import Any

from wst.methods import registry

_HEAD = """# Methods

What each method takes, from its signature; `wst ls methods --json` has the same. Every trial has `lr`,
`weight_decay` and `drop_path` besides. Hyperparameters marked *free* change no tensor's shape.
How to write one: [method.md](method.md#a-method-of-your-own).

This page is generated: `python -m tools.methods_page > docs/methods.md`.
"""


def page() -> str:
    """The page as Markdown."""
    return "\n".join([_HEAD, *(_section(registry.described(name)) for name in registry.names())])


def _section(method: dict[str, Any]) -> str:
    fits = " and ".join(f"`{name}`" for name in method["fits"]) or "any model"
    lines = [f"## {method['name']}", "", f"{method['about']} Fits {fits}.", ""]
    if method["hyperparameters"]:
        lines += ["| hyperparameter | value | default | free |", "| --- | --- | --- | --- |"]
    for name, one in method["hyperparameters"].items():
        default = "" if one["default"] is None else f"`{one['default']}`"
        free = "free" if one["changes no shape"] else ""
        lines.append(f"| `{name}` | {one['expected']} | {default} | {free} |")
    return "\n".join([*lines, ""] if method["hyperparameters"] else lines)


if __name__ == "__main__":
    print(page(), end="")
