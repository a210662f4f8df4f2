"""How long training takes, measured on a few steps."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from wst.training.spec import TrialSpec
from wst.training.trial import Trial

_STEPS = 3


def seconds_per_epoch(spec: TrialSpec) -> float:
    """Training seconds of one epoch, estimated from a few steps of a trial that is thrown away.

    Where the trial would train on kept features, these are taken to be there.

    Raises:
        InputError: as :class:`~wst.training.trial.Trial`.
    """
    trial = Trial(spec, sample=True)
    trial.model.train()
    drawn = next(trial.draws.epoch())
    draw = replace(drawn, indices=torch.arange(len(drawn.indices), device=trial.device))
    trial.update(draw, 0.0).item()
    begin = time.perf_counter()
    for _ in range(_STEPS):
        trial.update(draw, 0.0).item()  # .item() waits for the device
    return (time.perf_counter() - begin) / _STEPS * trial.draws.steps
