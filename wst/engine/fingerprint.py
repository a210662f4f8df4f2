"""The bytes that a study's numbers hang on: its backbone's weights and its tasks' images."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wst.data.splits import DataHashes, TaskData
from wst.errors import InputError
from wst.models.backbones import weights_id
from wst.records import Backbone, EndedTrial


@dataclass(frozen=True)
class Fingerprint:
    """Hashes, which are equal on two machines, or at two times, where the bytes are.

    Attributes:
        weights: SHA-256 of the backbone's weights file, or timm's name of the weights; None where not known.
        data: hashes of each task's images and labels.
    """

    weights: str | None
    data: Mapping[str, DataHashes]

    def difference(self, found: Fingerprint) -> str | None:
        """The first thing that ``found`` has otherwise, in words; what only one of them knows is none."""
        pairs = [("backbone weights", self.weights, found.weights)]
        pairs += [
            (f"data of task {task!r}", expected.all, found.data[task].all)
            for task, expected in self.data.items()
            if task in found.data
        ]
        return next(filter(None, (_difference(*pair) for pair in pairs)), None)


def _difference(what: str, expected: str | None, found: str | None) -> str | None:
    if expected is None or found is None or expected == found:
        return None
    return f"{what}: expected hash {expected[:12]}; found {found[:12]}"


def fingerprint(backbone: Backbone, data: Mapping[str, TaskData]) -> Fingerprint:
    """What this machine has.

    Args:
        backbone: with its weights.
        data: each task's, by name.

    Raises:
        InputError: weights or images are missing or unreadable.
    """
    return Fingerprint(known_weights(backbone), {task: of.hashes() for task, of in data.items()})


def known_weights(backbone: Backbone) -> str:
    """:func:`wst.models.backbones.weights_id` of a backbone that does not stay at random.

    Raises:
        InputError: it does, or the file does not exist.
    """
    weights = weights_id(backbone)
    if weights is None:
        raise InputError(
            f"checkpoint: expected a weights file for {backbone.name!r}, or pretrained: true; found neither"
        )
    return weights


def check_unchanged(
    ended: Iterable[EndedTrial], now: Fingerprint, why: str = "the study began with the first"
) -> None:
    """Refuse to go on with a study whose images or backbone weights have changed since it began.

    A trial is compared by the images that it rests on: a picture of the test split that could not be read may
    be mended as long as no final trial has scored it.

    Args:
        ended: the trials.
        now: what this machine has.
        why: what is the matter with that, in words.

    Raises:
        InputError: naming what changed, with both hashes.
    """
    for trial in ended:
        outcome, task = trial.outcome, trial.intent.task
        problem = _difference("backbone weights", outcome.checkpoint_hash, now.weights)
        if problem is None and task in now.data:
            what, hashes = f"data of task {task!r}", now.data[task]
            if trial.intent.stage == "final" or outcome.tuning_hash is None:
                problem = _difference(what, outcome.data_hash, hashes.all)
            else:
                problem = _difference(what, outcome.tuning_hash, hashes.tuning)
        if problem is not None:
            raise InputError(f"{problem} ({why})")
