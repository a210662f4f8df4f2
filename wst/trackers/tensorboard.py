"""Writes a study for TensorBoard: a run a trial, under ``tensorboard/`` of the study's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from wst.records import Epoch, Intent, Outcome
from wst.trackers import Tracker

_SCALARS = ("val_top1", "val_loss", "train_loss", "lr")


class TensorBoard(Tracker):
    """Curves by epoch, and each trial's hyperparameters beside its last metrics (the tab HPARAMS).

    Runs are called as the trials are, so a filter such as ``^digits`` or ``final`` picks some of them.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def start(self, intent: Intent) -> None:
        """Open the trial's run, unless it is open: then the trial starts again.

        A trial that goes on after the study was stopped sends its curve from the first epoch; what it wrote
        before is deleted, or every point would stand there twice.
        """
        if intent.trial_id in self._writers:
            return
        folder = self._folder / intent.trial_id
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self._writers[intent.trial_id] = SummaryWriter(str(folder))

    def epochs(self, intent: Intent, epochs: Sequence[Epoch]) -> None:
        """Add points to the curves, and bring them to the disk: somebody may be watching."""
        writer = self._writers[intent.trial_id]
        for epoch in epochs:
            for name in _SCALARS:
                value = getattr(epoch, name)
                if value is not None:
                    writer.add_scalar(name, value, epoch.epoch)
        writer.flush()

    def end(self, intent: Intent, outcome: Outcome) -> None:
        """Add the test accuracy and the hyperparameters, and close the run.

        TensorBoard takes the metrics beside the hyperparameters from the curves' last points.
        """
        writer = self._writers.pop(intent.trial_id)
        if outcome.test_top1 is not None:
            writer.add_scalar("test_top1", outcome.test_top1, len(outcome.epochs))
        where = {name: getattr(intent, name) for name in ("task", "variant", "stage", "seed")}
        # The first of the three, a list of the columns, is left out: TensorBoard would take that of one
        # trial for all, and variants have different hyperparameters.  Without it, it looks at every trial.
        table = {**where, **intent.hyperparameters, "state": outcome.state}
        _, start, end = hparams(table, {})  # type: ignore[no-untyped-call]
        assert writer.file_writer is not None
        for summary in (start, end):
            writer.file_writer.add_summary(summary)
        writer.close()

    def close(self) -> None:
        """Close the runs of the trials that have no end."""
        while self._writers:
            self._writers.popitem()[1].close()


def tracker(folder: Path, study: str) -> Tracker:
    """Write below ``folder``."""
    return TensorBoard(folder / "tensorboard")
