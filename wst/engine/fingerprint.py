"""Whether a machine has what a study needs: the same images and the same weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from wst.data.splits import data_hash
from wst.data.suites import find_suite
from wst.engine.driver import Environment
from wst.errors import InputError
from wst.models import backbones
from wst.records import EndedTrial
from wst.study import Study


def difference(study: Study, environment: Environment) -> str | None:
    """The first thing that this machine lacks or has otherwise, in words; None when all is there."""
    try:
        found = backbones.weights_id(study.backbone, study.checkpoint, study.pretrained)
        if found != environment.checkpoint_hash:
            return f"backbone weights: expected {environment.checkpoint_hash}; found {found}"
        suite = find_suite(study.suite)
        for task in study.tasks:
            content = data_hash(environment.root, suite, suite.task(task))
            if content != environment.data_hashes[task]:
                expected = environment.data_hashes[task]
                return f"data of task {task!r}: expected hash {expected[:12]}; found {content[:12]}"
    except InputError as error:
        return str(error)
    return None


def check_unchanged(
    ended: Iterable[EndedTrial], data_hashes: Mapping[str, str], checkpoint_hash: str
) -> None:
    """Refuse to go on with a study whose images or backbone weights have changed since it began.

    Raises:
        InputError: naming what changed, with both hashes.
    """
    for trial in ended:
        outcome, task = trial.outcome, trial.intent.task
        for what, found, recorded in (
            (f"data of task {task!r}", data_hashes[task], outcome.data_hash),
            ("backbone weights", checkpoint_hash, outcome.checkpoint_hash),
        ):
            if recorded is not None and recorded != found:
                raise InputError(
                    f"{what}: expected hash {recorded[:12]} as in the ledger; found {found[:12]}"
                )
