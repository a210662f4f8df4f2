"""Which changes a study in progress may take: it may grow; what makes its trials comparable stays.

More trials, seeds, tasks and variants extend a study; so does a stage that it did not have.  Where it runs
and how often it reports may change at will.  Everything else decides about results, and another value is
another study.

Bytes are not compared here: where a study's weights and its own images lie may change, and whether they are
the same is for their hashes to say, which stand in the rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wst.data.suites import shipped_name
from wst.errors import InputError
from wst.records import same
from wst.study.study import Study

_FREE = {
    "resources",
    "faults",
    "report_every",
    "validate_at",
    "checkpoint_every",
    "accept",
    "final.save_adapters",
    "final.seeds_per_job",
}
"""What changes no result."""
_GROWING = {"confirm.top", "confirm.seeds", "final.seeds"}
_STAGES = {"search", "confirm", "final"}
_BY_TASK = {"per_task", "warm_start"}
"""Tables of a variant with an entry a task; those for tasks that the study did not have are new."""
_SHOWN = 5


@dataclass(frozen=True)
class Difference:
    """A key of two studies with different values; None stands for no value."""

    key: str
    found: Any
    wanted: Any

    def __str__(self) -> str:
        return f"{self.key}: has {_words(self.found)}, asked for {_words(self.wanted)}"


def _words(value: Any) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def check_extension(folder: Path, found: Study, wanted: Study, *, begun: bool) -> None:
    """Refuse to go on with a study as one whose results would not compare with those it has.

    Args:
        folder: the study's output folder, for the message.
        found: the study that it holds.
        wanted: what is asked for now.
        begun: whether a trial has begun.

    Raises:
        InputError: naming each difference by its dotted key, with both values.
    """
    differences = list(forbidden_changes(found, wanted, begun=begun))
    if differences:
        shown = "; ".join(map(str, differences[:_SHOWN]))
        more = f"; and {len(differences) - _SHOWN} more" if len(differences) > _SHOWN else ""
        file = folder / "study.yaml"
        raise InputError(f"{file}: holds a study that differs: {shown}{more}; choose another --out")


def forbidden_changes(found: Study, wanted: Study, *, begun: bool) -> Iterator[Difference]:
    """Every difference between two studies that is no extension of the first, by dotted key.

    Args:
        found: the study as it is.
        wanted: the study as it is to be.
        begun: whether a trial has begun; before that a warm start may still change.
    """
    before, after = found.model_dump(mode="json"), wanted.model_dump(mode="json")
    for study in (before, after):
        del study["checkpoint"]  # its hash says which it is, wherever it lies
        study["suite"] = shipped_name(study["suite"])
        for variant in study["variants"].values():
            if variant["method_hash"] is not None:  # the same file, wherever it lies now
                del variant["method"]
            for table in _BY_TASK:
                variant[table] = _by_task(variant.get(table), before["tasks"])
            if not begun:
                del variant["warm_start"]
    removed = [task for task in before["tasks"] if task not in after["tasks"]]
    if removed:
        yield Difference("tasks", before["tasks"], after["tasks"])
    for name in set(after["variants"]) - set(before["variants"]):
        del after["variants"][name]
    del before["tasks"], after["tasks"]
    trials = [_search_trials(study) for study in (found, wanted)]
    if before["suite"] != after["suite"]:
        yield Difference("suite", found.suite, wanted.suite)
    del before["suite"], after["suite"]
    for difference in differences("", before, after):
        if difference.key == "search.trials":
            if any(number > trials[1].get(name, number) for name, number in trials[0].items()):
                yield difference
        elif not _allowed(difference):
            yield difference


def _allowed(difference: Difference) -> bool:
    key, found, wanted = difference.key, difference.found, difference.wanted
    if key in _STAGES and found is None:
        return True
    if key in _GROWING and found is not None and wanted is not None:
        return bool(wanted >= found)
    return any(key == free or key.startswith(f"{free}.") for free in _FREE)


def _search_trials(study: Study) -> dict[str, int]:
    """Trials of the search by variant: a grid has a number of its own."""
    return {name: study.search_trials(name) for name in study.variants}


def _by_task(table: Any, tasks: list[str]) -> Any:
    """A table's entries for these tasks; a list is every task's."""
    if isinstance(table, dict):
        return {task: table[task] for task in tasks if table.get(task)} or None
    return dict.fromkeys(tasks, table) if table else None


def differences(key: str, found: Any, wanted: Any) -> Iterator[Difference]:
    """Keys at which two nested mappings differ, in the order of the first, then of the second."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        if found.get("type") != wanted.get("type"):  # of a sampler, say: its other keys say no more
            yield Difference(f"{key}.type", found.get("type"), wanted.get("type"))
            return
        for name in [*found, *(name for name in wanted if name not in found)]:
            inner = f"{key}.{name}" if key else name
            yield from differences(inner, found.get(name), wanted.get(name))
    elif not same(found, wanted):
        yield Difference(key, found, wanted)
