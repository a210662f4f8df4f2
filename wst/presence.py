"""Whether a machine has what a study needs: the same images and the same weights."""

from __future__ import annotations

from wst.data.splits import data_hash
from wst.data.suites import find_suite
from wst.driver import Environment
from wst.errors import InputError
from wst.models import backbones
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
