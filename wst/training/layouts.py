"""Ways to keep a machine busy with trials, each tried for a moment: slots, passes, kinds of steps."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from itertools import repeat
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError

import torch

from wst.records import Steps
from wst.training.spec import TrialSpec
from wst.training.stack import CannotStackError
from wst.training.timing import Sample, seconds_of


@dataclass(frozen=True)
class Layout:
    """Trials beside each other.

    Attributes:
        slots: number of jobs at a time: on the CPU, or on one GPU.
        threads: of the CPU for each.
        together: trials in the one pass of a job.
        steps: how their training steps run.
        images: that they train on in a second, all of them; None where they cannot.
        memory: bytes of all of them, as in the ledger; None where they cannot.
        problem: why they cannot, in words.
    """

    slots: int
    threads: int
    together: int = 1
    steps: Steps = "eager"
    images: float | None = None
    memory: int | None = None
    problem: str | None = None


def tried(layout: Layout, spec: TrialSpec, shortest: float) -> Layout:
    """The layout with what was measured, each job in a process of its own.

    Args:
        layout: what to try.
        spec: the trial that all of them train.
        shortest: seconds that the measurement takes at least.

    Raises:
        InputError: as :class:`~wst.training.trial.Trial`.
    """
    cuda = spec.device != "cpu" and torch.cuda.is_available()
    share = 1 / layout.slots if cuda else 1.0
    spec = replace(spec, threads=layout.threads, gpu_share=share, steps=layout.steps)
    processes = multiprocessing.get_context("spawn")
    together = processes.Barrier(layout.slots)
    with ProcessPoolExecutor(layout.slots, processes, _join, (together,)) as pool:
        try:
            found = list(
                pool.map(_measured, [spec] * layout.slots, [layout] * layout.slots, repeat(shortest))
            )
        except CannotStackError as error:
            return replace(layout, problem=str(error))
        except (BrokenBarrierError, BrokenProcessPool, MemoryError, torch.OutOfMemoryError):
            return replace(layout, problem="too little memory")
        finally:
            together.abort()
    return replace(layout, images=sum(rate for rate, _ in found), memory=sum(memory for _, memory in found))


_together: Barrier


def _join(together: Barrier) -> None:
    """Begin a process of those that run beside each other."""
    global _together
    _together = together


def _measured(spec: TrialSpec, layout: Layout, shortest: float) -> tuple[float, int]:
    """Images a second that a job trains on while the others do, and its memory."""
    try:
        sample = Sample(spec, layout.together)
    except BaseException:
        _together.abort()
        raise
    _together.wait()
    rate = sample.images / seconds_of(sample.step, shortest)
    _together.wait()  # nobody is alone before all have measured
    return rate, sample.trial.cost().peak_memory or 0
