"""Learning curves of many trials: exact quantiles by epoch, in one pass and little memory."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc

from wst.ledger.reading import batches

_BINS = 2_001
"""Bins of accuracy in [0, 1]: steps of 0.0005, ten to one of 200 images."""
QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)

_Cell = tuple[str, str]
"""Task and variant."""


@dataclass(frozen=True)
class CurveBand:
    """Validation accuracy by epoch of all the trials of one cell.

    Attributes:
        epochs: from 1.
        trials: how many have a value there; fewer towards the end where trials were pruned.
        quantiles: per cent, one list over epochs for each of :data:`QUANTILES`.
    """

    study: str
    variant: str
    task: str
    epochs: list[int]
    trials: list[int]
    quantiles: list[list[float]]


def curve_bands(folder: Path, study: str, without: Collection[str] = ()) -> list[CurveBand]:
    """Quantiles of validation accuracy by cell and epoch, over the trials of stage ``search``.

    Accuracies are counted in bins of 0.0005, which is exact for validation splits of up to 2,000 images
    whose number divides 2,000.  The table passes through in batches, so memory does not grow with the
    trials.

    Args:
        folder: the study's output folder.
        study: its name.
        without: trials to leave out.
    """
    wanted = (pc.field("stage") == "search") & pc.is_finite(pc.field("val_top1"))
    columns = ["task", "variant", "epoch", "val_top1"]
    if len(without):
        wanted &= ~pc.field("trial_id").isin(list(without))
    counts: dict[_Cell, np.ndarray] = {}
    for batch in batches(folder, "epochs", columns, wanted):
        if not batch.num_rows:
            continue
        tasks, variants = batch.column("task"), batch.column("variant")
        several = len(variants.dictionary)
        codes = tasks.indices.to_numpy() * several + variants.indices.to_numpy()
        epochs = batch.column("epoch").to_numpy()
        values = batch.column("val_top1").to_numpy(zero_copy_only=False)
        bins = np.clip(np.rint(values * (_BINS - 1)).astype(np.int64), 0, _BINS - 1)
        for code in np.unique(codes).tolist():
            cell = tasks.dictionary[code // several].as_py(), variants.dictionary[code % several].as_py()
            _count(counts, cell, epochs[codes == code], bins[codes == code])
    return [_band(study, cell, found) for cell, found in counts.items()]


def _count(counts: dict[_Cell, np.ndarray], cell: _Cell, epochs: np.ndarray, bins: np.ndarray) -> None:
    length = int(epochs.max())
    fresh = np.bincount((epochs - 1) * _BINS + bins, minlength=length * _BINS).reshape(length, _BINS)
    known = counts.get(cell)
    if known is None or len(known) < length:
        grown = np.zeros((length, _BINS), dtype=np.int64)
        if known is not None:
            grown[: len(known)] = known
        counts[cell] = known = grown
    known[:length] += fresh


def _band(study: str, cell: _Cell, counts: np.ndarray) -> CurveBand:
    task, variant = cell
    totals = counts.sum(axis=1)
    there = np.flatnonzero(totals)
    cumulative = counts.cumsum(axis=1)
    quantiles = []
    for quantile in QUANTILES:
        rank = np.maximum(np.ceil(quantile * totals), 1)  # the smallest value that so many trials reach
        position = (cumulative >= rank[:, None]).argmax(axis=1)
        quantiles.append((100 * position[there] / (_BINS - 1)).tolist())
    return CurveBand(
        study, variant, task, (there + 1).tolist(), totals[there].astype(int).tolist(), quantiles
    )
