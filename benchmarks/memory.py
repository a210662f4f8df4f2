"""What this process has taken of the machine's memory, as Linux counts it."""

from __future__ import annotations

from pathlib import Path


def peak() -> int:
    """Highest resident memory since the process began, or since :func:`restart`, in bytes.

    Not ``getrusage``, in which a process inherits the peak of the one that started it.
    """
    return _status("VmHWM")


def restart() -> int:
    """Forget the peak so far; returns the memory that is resident now, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def anonymous() -> int:
    """Memory that the system cannot take back, in bytes: resident pages of no file."""
    return _status("RssAnon")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status: expected {name}; found none")
