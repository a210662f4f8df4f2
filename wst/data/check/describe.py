"""What a suite on disk holds, in numbers and in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wst.data.splits import TaskData
from wst.errors import InputError


@dataclass(frozen=True)
class TaskInfo:
    """One task on disk; sizes and hash are None where the data is not there or not readable, and names of
    classes are none where these are not known."""

    task: str
    group: str
    classes: int
    class_names: tuple[str, ...]
    train: int | None
    val: int | None
    test: int | None
    metric: str
    source: str
    licence: str
    data_hash: str | None
    state: str


def describe(tasks: Sequence[TaskData]) -> list[TaskInfo]:
    """What there is of each task; files are hashed, pixels are not decoded."""
    return [_describe(data) for data in tasks]


def _describe(data: TaskData) -> TaskInfo:
    sizes: tuple[int | None, int | None, int | None] = (None, None, None)
    task, found, state = data.task, None, "ready"
    try:
        data.check_there()
    except InputError:
        state = "absent"
    else:
        try:
            sizes = (
                len(data.list("train").images),
                len(data.list("val").images),
                len(data.list("test").images),
            )
            found = data.hashes().all
        except InputError as error:
            state = str(error)
    return TaskInfo(
        task.name,
        task.group,
        task.classes,
        data.class_names,
        *sizes,
        task.metric,
        task.source,
        task.licence,
        found,
        state,
    )
