"""The vocabulary, and what passes between planner, trial, engine and ledger: plain frozen records.

A field with a sentence is a column of the ledger, of that name, type and meaning (:mod:`wst.ledger.schema`).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

Stage = Literal["search", "confirm", "final"]
State = Literal["completed", "pruned", "failed"]
Steps = Literal["eager", "captured", "compiled"]
"""How training steps run: operation by operation, as CUDA graphs, or fused by a compiler first."""
Tuning = Literal["tuned", "shared", "untuned"]
"""How a variant comes by its settings.  ``tuned``: a search for each task.  ``shared``: one search for all
tasks.  ``untuned``: no search of its own; the settings are fixed, those found for another variant, or from a
table."""
Normalisation = Literal["checkpoint", "half", "imagenet"]
"""Mean and standard deviation of the input: those the weights were trained with, 0.5, or ImageNet's."""
Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...]
"""Of a hyperparameter; several where a method takes one for each block, say."""
Hyperparameters = dict[str, Value]


def same(one: object, other: object) -> bool:
    """Whether two values of a hyperparameter are equal: 1 and 1.0 are, 1 and true are not."""
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        return len(one) == len(other) and all(map(same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and (one is other or one == other)


def stable_seed(*parts: object) -> int:
    """A 32-bit seed that depends on the parts alone, on every machine and in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


@dataclass(frozen=True)
class Backbone:
    """A frozen backbone and its pre-trained weights.

    Attributes:
        name: ``micro``, or the name of a timm model.
        checkpoint: file with the weights; ``micro`` brings its own.
        pretrained: take the weights that timm knows under the name, from its cache or the network.
        image_size: side of the square input in pixels; the backbone's own when None.
        normalisation: of the input.
    """

    name: str
    checkpoint: str | None = None
    pretrained: bool = False
    image_size: int | None = None
    normalisation: Normalisation = "checkpoint"


@dataclass(frozen=True)
class Settings:
    """One configuration, by who takes it: the optimiser, the backbone, the method.

    Attributes:
        lr: peak learning rate.
        weight_decay: AdamW's, on the parameters that the recipe does not spare.
        drop_path: stochastic-depth rate of the backbone's last block.
        method: the method's own hyperparameters.
    """

    lr: float
    weight_decay: float
    drop_path: float
    method: Hyperparameters = field(default_factory=dict)

    @classmethod
    def of(cls, hyperparameters: Hyperparameters) -> Settings:
        """Those of a trial: all in one table, as a study, an intent and the ledger have them."""
        trial = {name: float(hyperparameters[name]) for name in OF_THE_TRIAL}  # type: ignore[arg-type]
        return cls(**trial, method=of_the_method(hyperparameters))


OF_THE_TRIAL = ("lr", "weight_decay", "drop_path")
"""Hyperparameters that every trial has, whatever its method."""


def of_the_method(hyperparameters: Hyperparameters) -> Hyperparameters:
    """The method's own among a trial's hyperparameters."""
    return {name: value for name, value in hyperparameters.items() if name not in OF_THE_TRIAL}


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

    Validation columns are None where a stage has no validation split (``final`` trains on it), and after
    epochs that were not validated.
    """

    epoch: Annotated[int, "epoch, from 1"]
    lr: Annotated[float, "learning rate of the epoch's last step"]
    train_loss: Annotated[float, "mean training loss"]
    val_loss: Annotated[float | None, "validation cross-entropy"]
    val_top1: Annotated[float | None, "validation accuracy in [0, 1]"]
    seconds: Annotated[float, "wall seconds, scoring included"]

    @property
    def finite(self) -> bool:
        """Whether all that was measured are finite numbers."""
        measured = (self.train_loss, self.val_loss, self.val_top1)
        return all(math.isfinite(value) for value in measured if value is not None)


@dataclass(frozen=True)
class Score:
    """Top-1 accuracy in [0, 1] on so many images, each scored once.

    None where what the model gave are no finite numbers: the images have been read all the same.
    """

    top1: float | None
    images: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What running a trial took so far, and with what it ran."""

    trainable_parameters: Annotated[int | None, "trainable parameters without the head"] = None
    head_parameters: Annotated[int | None, "parameters of the head"] = None
    total_parameters: Annotated[int | None, "all parameters, frozen ones and the head included"] = None
    train_seconds: Annotated[float, "wall seconds in training"] = 0.0
    eval_seconds: Annotated[float, "wall seconds in scoring"] = 0.0
    wall_seconds: Annotated[float, "wall seconds of the trial, set-up included"] = 0.0
    images_per_second: Annotated[float | None, "training images a second"] = None
    peak_memory: Annotated[
        int | None,
        "bytes: on the accelerator where there is one, else of the process; with replayed steps all that the "
        "process has reserved there",
    ] = None
    device: Annotated[str | None, "device that trained"] = None
    precision: Annotated[str | None, "numbers that it computed in: fp32, bf16 or fp16"] = None
    steps: Annotated[Steps | None, "how its training steps ran: eager, captured or compiled"] = None
    node: Annotated[str | None, "host name"] = None
    slot: Annotated[str | None, "process that trained, <host>:<pid>"] = None
    pass_id: Annotated[
        str | None, "the pass that it trained in, after its first trial; null for a trial that trained alone"
    ] = None
    pass_size: Annotated[int | None, "trials with which that pass began; seconds are shares of it"] = None
    checkpoint_hash: Annotated[
        str | None, "SHA-256 of the backbone's weights file, or timm:<model>.<tag>"
    ] = None
    normalisation: Annotated[str | None, "mean/std that images are normalised with"] = None
    data_hash: Annotated[str | None, "hash over the task's images and labels, all splits"] = None
    tuning_hash: Annotated[str | None, "hash over those of train and val alone, which the search sees"] = None
    test_hash: Annotated[
        str | None, "hash over those of the test split alone, by which reads are counted"
    ] = None
    preprocessing: Annotated[str | None, "what was done to each image"] = None
    started: Annotated[datetime | None, "start of the last attempt"] = None
    ended: Annotated[datetime | None, "end"] = None


@dataclass(frozen=True)
class Outcome(Cost):
    """How a trial ended, and what it cost; accuracies are fractions in [0, 1]."""

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
    val_overlap: Annotated[
        float | None, "share of the images of val that are also in train, by their pixels; in [0, 1]"
    ] = None
    test_overlap: Annotated[
        float | None,
        "share of the test images that are also in train or val, by their pixels; stage final only",
    ] = None
    data_warnings: Annotated[
        str | None,
        "what the check of the data warned of, for the splits that the trial rests on; null where of nothing",
    ] = None

    @property
    def ranked(self) -> bool:
        """Whether it can be compared with others: completed, with finite numbers on val after the last epoch.

        What is not a number can win nothing, whatever wrote it down as completed.
        """
        last = self.epochs[-1] if self.epochs else None
        return (
            self.state == "completed"
            and last is not None
            and last.val_top1 is not None
            and last.val_loss is not None
            and last.finite
        )


@dataclass(frozen=True)
class End:
    """How a trial ended by itself: trained to its last epoch, or with an error.

    Attributes:
        error_type, error_text: of a trial that failed; None where it was completed.
        test: its score on the test split, in stage ``final``; also of a trial that failed afterwards.
    """

    error_type: str | None = None
    error_text: str | None = None
    test: Score | None = None


@dataclass(frozen=True)
class Report:
    """What a job knows of one of its trials.

    Attributes:
        trial_id: the trial.
        epochs: those since its last report, or more.
        cost: what it took so far; None where the trial cannot say.
        end: how it ended; None while it goes on.
        reads: images of the test split that it scores in its next step, and in no step before; 0 otherwise.
    """

    trial_id: str
    epochs: tuple[Epoch, ...]
    cost: Cost | None
    end: End | None = None
    reads: int = 0


@dataclass(frozen=True)
class Read:
    """A read of a test split for one trial: written before it happens, whatever comes of it."""

    read_id: Annotated[str, "unique; the user's log of reads has it, too"]
    trial_id: Annotated[str, "the trial whose model is scored"]
    task: Annotated[str, "task"]
    variant: Annotated[str, "variant of a method, as the study file names it"]
    split: Annotated[str, "test"]
    test_hash: Annotated[str | None, "hash over the split's images and labels; null where it was not kept"]
    images: Annotated[int, "images in the split"]
    time: Annotated[datetime | None, "when it was written, just before the read"]
    purpose: Annotated[str, "what for, in words"]


@dataclass(frozen=True)
class EndedTrial:
    """An intent and its outcome, as the ledger gives them back for a replay."""

    intent: Intent
    outcome: Outcome = field(repr=False)
