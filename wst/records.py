"""The vocabulary, and what passes between planner, trial, engine and ledger: plain frozen records.

A field with a sentence is a column of the ledger, of that name, type and meaning (:mod:`wst.ledger.schema`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

Stage = Literal["search", "confirm", "final"]
State = Literal["completed", "pruned", "failed"]
Normalisation = Literal["checkpoint", "half", "imagenet"]
"""Mean and standard deviation of the input: those the weights were trained with, 0.5, or ImageNet's."""
Scalar = bool | int | float | str
Hyperparameters = dict[str, Scalar]


def stable_seed(*parts: object) -> int:
    """A 32-bit seed that depends on the parts alone, on every machine and in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


@dataclass(frozen=True)
class Intent:
    """A trial that was decided on: made durable before it is launched."""

    trial_id: Annotated[str, "<task>.<variant>.<stage>.<number>"]
    task: Annotated[str, "task"]
    variant: Annotated[str, "variant of a method, as the study file names it"]
    stage: Annotated[Stage, "search or confirm (train -> val), or final (trainval -> test)"]
    number: Annotated[int, "number of the trial in its cell and stage, from 0"]
    ask_order: Annotated[int, "place among all asks of the study, from 0; a replay goes by it"]
    seed: Annotated[int, "seed of initialisation, shuffling and stochastic depth"]
    hyperparameters: Hyperparameters
    parent: Annotated[
        str | None,
        "trial whose settings this one uses: in the stages after the search, and where a search comes upon "
        "settings again",
    ] = None
    reason: Annotated[str, "why these settings"] = ""
    time: Annotated[datetime | None, "when it was decided on"] = None


@dataclass(frozen=True)
class Epoch:
    """Metrics of one epoch.

    Validation columns are None where a stage has no validation split (``final`` trains on it).
    """

    epoch: Annotated[int, "epoch, from 1"]
    lr: Annotated[float, "learning rate of the epoch's last step"]
    train_loss: Annotated[float, "mean training loss"]
    val_loss: Annotated[float | None, "validation cross-entropy"]
    val_top1: Annotated[float | None, "validation accuracy in [0, 1]"]
    seconds: Annotated[float, "wall seconds, scoring included"]


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, and what it cost.

    Accuracies are fractions in [0, 1]; ``*_seconds`` are wall-clock.
    """

    state: Annotated[State, "completed, pruned or failed"]
    epochs: tuple[Epoch, ...] = ()
    error_type: Annotated[str | None, "class of the exception of a failed trial"] = None
    error_text: Annotated[str | None, "message and traceback of a failed trial"] = None
    attempts: Annotated[
        int,
        "launches until this outcome, 1 without a fault; 0 where nothing was run: settings that came again "
        "(results are those of their first trial), or settings above the ceiling",
    ] = 1
    test_top1: Annotated[float | None, "test accuracy; stage final only"] = None
    test_images: Annotated[
        int | None, "test images scored, each once; null where the test split stayed closed"
    ] = None
    trainable_parameters: Annotated[int | None, "trainable parameters without the head"] = None
    head_parameters: Annotated[int | None, "parameters of the head"] = None
    total_parameters: Annotated[int | None, "all parameters, frozen ones and the head included"] = None
    train_seconds: Annotated[float, "wall seconds in training"] = 0.0
    eval_seconds: Annotated[float, "wall seconds in scoring"] = 0.0
    wall_seconds: Annotated[float, "wall seconds of the trial, set-up included"] = 0.0
    images_per_second: Annotated[float | None, "training images a second"] = None
    peak_memory: Annotated[
        int | None, "bytes: on the accelerator where there is one, else of the process"
    ] = None
    device: Annotated[str | None, "device that trained"] = None
    node: Annotated[str | None, "host name"] = None
    slot: Annotated[str | None, "process that trained, <host>:<pid>"] = None
    checkpoint_hash: Annotated[
        str | None, "SHA-256 of the backbone's weights file, or timm:<model>.<tag>"
    ] = None
    normalisation: Annotated[str | None, "mean/std that images are normalised with"] = None
    data_hash: Annotated[str | None, "hash over the task's images and labels, all splits"] = None
    preprocessing: Annotated[str | None, "what was done to each image"] = None
    started: Annotated[datetime | None, "start of the last attempt"] = None
    ended: Annotated[datetime | None, "end"] = None


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
