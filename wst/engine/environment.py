"""Where a study runs, and where its files are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wst.data.check.beside import Beside
from wst.data.splits import TaskData
from wst.engine.fingerprint import Fingerprint
from wst.training.spec import Device


@dataclass(frozen=True)
class Environment:
    """Where a study runs and what its data are.

    Attributes:
        data: each task's images on this machine, by name.
        fingerprint: their hashes and that of the backbone's weights.
        address: a running Ray cluster; None starts Ray on this machine, on loopback.
        deadline: when the study stops, to be gone on with later, by ``time.monotonic()``.
        device: where its trials train; None as its resources say.
        beside: what is known of each task's images, and who looks at large test splits meanwhile; None where
            nothing is known.
    """

    data: Mapping[str, TaskData]
    fingerprint: Fingerprint
    address: str | None = None
    deadline: float | None = None
    device: Device | None = None
    beside: Beside | None = None


def checkpoint_path(folder: Path, trial_id: str) -> Path:
    """Where a trial keeps its state while it runs, below the study's output folder."""
    return folder / "checkpoints" / f"{trial_id}.pt"
