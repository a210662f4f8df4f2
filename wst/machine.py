"""What of this machine is ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_PROCESS = Path("/proc/self")


def usable_cpus() -> int:
    """CPUs that this process may keep busy; at least one.

    Those that it may be placed on (``taskset``, Slurm), bounded by the quota of its control group and of
    each one around it (containers, systemd), of either version, rounded down.
    """
    placed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([placed, *_quotas()])))


def _quotas() -> Iterator[float]:
    """In CPUs; none where the system has no control groups."""
    try:
        groups = [line.split(":", 2) for line in (_PROCESS / "cgroup").read_text().splitlines()]
        mounts = (_PROCESS / "mountinfo").read_text().splitlines()
    except OSError:
        return
    group_of = {name: group for _, names, group in groups for name in names.split(",")}
    for mount in mounts:
        place, _, what = mount.partition(" - ")
        kind, _, options = what.split(" ", 2)
        name = {"cgroup2": "", "cgroup": "cpu"}.get(kind)
        if name not in group_of or (name and name not in options.split(",")):
            continue
        root, top = place.split(" ")[3:5]
        group = PurePosixPath(group_of[name])
        # A container may see its own group alone, at the top, and be told its path outside.
        inside = group.relative_to(root) if group.is_relative_to(root) else PurePosixPath()
        folder = Path(top) / (PurePosixPath() if ".." in inside.parts else inside)
        for around in [folder, *folder.parents][: len(folder.parts) - len(Path(top).parts) + 1]:
            with suppress(OSError, ValueError):  # no quota here
                quota, period = _quota(around, kind)
                if quota > 0:
                    yield quota / period


def _quota(group: Path, kind: str) -> tuple[int, int]:
    """Microseconds of CPU time in each period of so many; not positive, or a ValueError, where unbounded."""
    if kind == "cgroup2":
        quota, period = (group / "cpu.max").read_text().split()
    else:
        quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    return int(quota), int(period)
