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
    left_out = frozenset(without)
    counts: dict[str, np.ndarray] = {}
    columns = ["trial_id", "epoch", "val_top1"]
    for batch in batches(folder, "epochs", columns, pc.field("val_top1").is_valid()):
        if not batch.num_rows:
            continue
        encoded = batch.column("trial_id").dictionary_encode()
        ids = encoded.dictionary.to_pylist()
        cells = np.array(["" if trial_id in left_out else _cell(trial_id) for trial_id in ids])
        names, cell_of_trial = np.unique(cells, return_inverse=True)
        codes = cell_of_trial[encoded.indices.to_numpy(zero_copy_only=False)]
        epochs = batch.column("epoch").to_numpy(zero_copy_only=False)
        values = batch.column("val_top1").to_numpy(zero_copy_only=False)
        bins = np.clip(np.rint(values * (_BINS - 1)).astype(np.int64), 0, _BINS - 1)
        for code, cell in enumerate(names.tolist()):
            if cell:
                _count(counts, cell, epochs[codes == code], bins[codes == code])
    return [_band(study, cell, found) for cell, found in counts.items()]


def _cell(trial_id: str) -> str:
    """``<task>.<variant>`` of a search trial; nothing for other stages."""
    cell, stage, _ = trial_id.rsplit(".", 2)
    return cell if stage == "search" else ""


def _count(counts: dict[str, np.ndarray], cell: str, epochs: np.ndarray, bins: np.ndarray) -> None:
    length = int(epochs.max())
    fresh = np.bincount((epochs - 1) * _BINS + bins, minlength=length * _BINS).reshape(length, _BINS)
    known = counts.get(cell)
    if known is None or len(known) < length:
        grown = np.zeros((length, _BINS), dtype=np.int64)
        if known is not None:
            grown[: len(known)] = known
        counts[cell] = known = grown
    known[:length] += fresh


def _band(study: str, cell: str, counts: np.ndarray) -> CurveBand:
    task, variant = cell.split(".", 1)
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
