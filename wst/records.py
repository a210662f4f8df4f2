"""What passes between planner, trial, engine and ledger: plain frozen records."""

from __future__ import annotations

import hashlib
import traceback
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal

from wst.faults import error_type
from wst.space import Hyperparameters
from wst.study import Normalisation, Recipe, Study

Stage = Literal["search", "confirm", "final"]
State = Literal["completed", "pruned", "failed"]


def stable_seed(*parts: object) -> int:
    """A 32-bit seed that depends on the parts alone, on every machine and in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


@dataclass(frozen=True)
class Intent:
    """A trial that was decided on: made durable before it is launched.

    Attributes:
        trial_id: ``<task>.<variant>.<stage>.<number>``.
        ask_order: place among all asks of the study, from 0; the order in which a study is replayed.
        seed: seeds initialisation, shuffling and stochastic depth.
        parent: trial whose settings this one uses: in the stages after the search, and where a search comes
            upon settings again.
        reason: why these settings, in words.
    """

    trial_id: str
    task: str
    variant: str
    stage: Stage
    number: int
    ask_order: int
    seed: int
    hyperparameters: Hyperparameters
    parent: str | None = None
    reason: str = ""
    time: datetime | None = None


@dataclass(frozen=True)
class Epoch:
    """Metrics of one epoch, counted from 1; the learning rate is that of the epoch's last step.

    Validation columns are None where a stage has no validation split (``final`` trains on it).
    """

    epoch: int
    lr: float
    train_loss: float
    val_loss: float | None
    val_top1: float | None
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, and what it cost.

    Accuracies are fractions in [0, 1]; ``*_seconds`` are wall-clock; ``peak_memory`` is in bytes, on the
    accelerator where there is one, else of the process.
    """

    state: State
    epochs: tuple[Epoch, ...] = ()
    error_type: str | None = None
    error_text: str | None = None
    attempts: int = 1
    test_top1: float | None = None
    test_images: int | None = None
    trainable_parameters: int | None = None
    head_parameters: int | None = None
    total_parameters: int | None = None
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    wall_seconds: float = 0.0
    images_per_second: float | None = None
    peak_memory: int | None = None
    device: str | None = None
    node: str | None = None
    slot: str | None = None
    checkpoint_hash: str | None = None
    normalisation: str | None = None
    data_hash: str | None = None
    preprocessing: str | None = None
    started: datetime | None = None
    ended: datetime | None = None


def failed(error: BaseException) -> Outcome:
    """The outcome of a trial that raised: its class, and its message with the traceback."""
    text = "".join(traceback.format_exception(error))
    return Outcome("failed", error_type=error_type(error), error_text=text)


@dataclass(frozen=True)
class Report:
    """What a job says of one of its trials.

    Attributes:
        trial_id: the trial.
        epochs: those since its last report.
        outcome: how it ended, or would if it were stopped here; without epochs.
        ended: whether it has ended.
    """

    trial_id: str
    epochs: tuple[Epoch, ...]
    outcome: Outcome
    ended: bool


@dataclass(frozen=True)
class EndedTrial:
    """An intent and its outcome, as the ledger gives them back for a replay."""

    intent: Intent
    outcome: Outcome = field(repr=False)


@dataclass(frozen=True)
class TrialSpec:
    """Everything that a process needs to run one trial; it travels to the worker.

    Attributes:
        root: folder that holds the suite's folder.
        checkpoint_path: where the trial's own state is kept while it runs; None keeps none.
        checkpoint_every: epochs between two states kept.
        threads: CPU threads that the trial may use.
        data_hash: hash of the task's data, for the ledger.
        adapter_path: where a final trial keeps its trainable tensors; None keeps none.
        gpu_share: share of a GPU's memory that the trial may take.
        time_limit: longest that it may train, in seconds.
    """

    intent: Intent
    study: str
    suite: str
    root: str
    backbone: str
    checkpoint: str | None
    pretrained: bool
    image_size: int | None
    normalisation: Normalisation
    method: str
    recipe: Recipe
    checkpoint_path: str | None = None
    checkpoint_every: int = 10
    threads: int = 1
    data_hash: str | None = None
    adapter_path: str | None = None
    gpu_share: float = 1.0
    time_limit: float | None = None


def trial_spec(
    study: Study,
    intent: Intent,
    *,
    root: Path,
    data_hash: str | None = None,
    checkpoint_path: Path | None = None,
    adapter_path: Path | None = None,
) -> TrialSpec:
    """What a worker needs to run one trial of a study; paths become absolute, since it runs elsewhere."""
    return TrialSpec(
        intent=intent,
        study=study.name,
        suite=study.suite,
        root=str(root.absolute()),
        backbone=study.backbone,
        checkpoint=str(Path(study.checkpoint).absolute()) if study.checkpoint else None,
        pretrained=study.pretrained,
        image_size=study.image_size,
        normalisation=study.normalisation,
        method=study.variants[intent.variant].method,
        recipe=study.recipe,
        checkpoint_path=str(checkpoint_path.absolute()) if checkpoint_path else None,
        checkpoint_every=study.checkpoint_every,
        threads=study.resources.cpus_per_trial,
        data_hash=data_hash,
        adapter_path=str(adapter_path.absolute()) if adapter_path else None,
        gpu_share=min(1.0, study.resources.gpus_per_trial or 1.0),
        time_limit=study.faults.time_limit,
    )
