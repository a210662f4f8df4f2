"""Learning curves that need no training; it imports no torch, since Ray's workers import it."""

from __future__ import annotations

from collections.abc import Iterator

from wst.records import Epoch, Intent, stable_seed


def noise(intent: Intent) -> float:
    """In [0, 1), by the trial's id."""
    return stable_seed(intent.trial_id) / 2**32


def curve(intent: Intent, epochs: int) -> Iterator[Epoch]:
    """Accuracy rises; the learning rate, best at 0.5, and a little noise say how far."""
    lr, final = float(intent.hyperparameters["lr"]), intent.stage == "final"  # type: ignore[arg-type]
    for epoch in range(1, epochs + 1):
        value = 0.9 - abs(lr - 0.5) / 2 - 0.5**epoch / 2 + 0.05 * noise(intent)
        yield Epoch(epoch, lr, 1.0, None if final else 1 - value, None if final else value, 1.0)
