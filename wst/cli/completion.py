"""Names that a shell completes: read from files' names and tables, so that Tab waits for no library."""

from __future__ import annotations

from wst.methods import registry
from wst.models.families import FAMILIES, MICRO
from wst.shipped import shipped_names
from wst.trackers import names as tracker_names


def _beginning(incomplete: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def studies(incomplete: str) -> list[str]:
    """Shipped studies."""
    return _beginning(incomplete, shipped_names("studies"))


def recipes(incomplete: str) -> list[str]:
    """Shipped recipes."""
    return _beginning(incomplete, shipped_names("recipes"))


def methods(incomplete: str) -> list[str]:
    """Methods of wst's own."""
    return _beginning(incomplete, registry.names())


def backbones(incomplete: str) -> list[str]:
    """The embedded backbone, and the examples of every family."""
    return _beginning(incomplete, [MICRO, *(name for family in FAMILIES for name in family.examples)])


def trackers(incomplete: str) -> list[str]:
    """Trackers."""
    return _beginning(incomplete, tracker_names())


def suites(incomplete: str) -> list[str]:
    """Suites that come with wst."""
    from wst.data.suites import suites  # loads NumPy

    return _beginning(incomplete, list(suites()))


def tasks(incomplete: str) -> list[str]:
    """Tasks of these suites."""
    from wst.data.suites import suites  # loads NumPy

    return _beginning(incomplete, [task.name for suite in suites().values() for task in suite.tasks])
