from __future__ import annotations

import os
from pathlib import Path

import pytest

from wst import machine

V2, V1 = "cgroup2 cgroup2 rw", "cgroup cgroup rw,cpu,cpuacct"


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 16 CPUs; the folder is where its control groups are mounted."""
    monkeypatch.setattr(machine, "_PROCESS", tmp_path / "self")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    (tmp_path / "self").mkdir()
    (tmp_path / "cgroup").mkdir()
    return tmp_path / "cgroup"


def _process(groups: Path, group: str, kind: str, root: str = "/") -> None:
    names = {V2: "0::", V1: "3:cpu,cpuacct:"}[kind]
    own = groups.parent / "self"
    (own / "cgroup").write_text(f"9:name=systemd:/elsewhere\n{names}{group}\n")
    (own / "mountinfo").write_text(
        "22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        f"30 22 0:25 {root} {groups} rw,nosuid shared:9 - {kind}\n"
    )


def _limit(folder: Path, kind: str, quota: str, period: int = 100_000) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if kind == V2:
        (folder / "cpu.max").write_text(f"{quota} {period}\n")
    else:
        (folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (folder / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system places processes anywhere")
def test_cpus_are_those_the_process_may_be_placed_on() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert machine.usable_cpus() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert 1 <= machine.usable_cpus() <= len(before)


@pytest.mark.parametrize("kind", [V2, V1])
@pytest.mark.parametrize(
    ("quota", "period", "cpus"),
    [
        ("400000", 100_000, 4),
        ("350000", 100_000, 3),  # rounded down
        ("50000", 100_000, 1),  # but one there is
        ("25000", 10_000, 2),
        ("9900000", 100_000, 16),  # more than there are
    ],
)
def test_quota_bounds_them(groups: Path, kind: str, quota: str, period: int, cpus: int) -> None:
    _process(groups, "/slice/job", kind)
    _limit(groups / "slice/job", kind, quota, period)
    assert machine.usable_cpus() == cpus


@pytest.mark.parametrize("kind", [V2, V1])
def test_quota_of_a_group_around_bounds_them_too(groups: Path, kind: str) -> None:
    none = {V2: "max", V1: "-1"}[kind]
    _process(groups, "/slice/job", kind)
    _limit(groups / "slice/job", kind, none)
    assert machine.usable_cpus() == 16
    _limit(groups / "slice", kind, "300000")
    assert machine.usable_cpus() == 3
    _limit(groups, kind, "200000")
    assert machine.usable_cpus() == 2
    _limit(groups.parent, kind, "100000")  # above the mount: no group of this machine's
    assert machine.usable_cpus() == 2


@pytest.mark.parametrize("kind", [V2, V1])
@pytest.mark.parametrize(
    ("group", "root"), [("/docker/1a", "/docker/1a"), ("/../..", "/"), ("/docker/1a", "/other")]
)
def test_container_sees_its_own_group_at_the_top(groups: Path, kind: str, group: str, root: str) -> None:
    _process(groups, group, kind, root)
    _limit(groups, kind, "200000")
    assert machine.usable_cpus() == 2


def test_without_control_groups_none_bounds_them(groups: Path) -> None:
    assert machine.usable_cpus() == 16
    _process(groups, "/", V2)
    assert machine.usable_cpus() == 16
