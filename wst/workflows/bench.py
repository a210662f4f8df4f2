"""What this machine does with a study: how fast its variants are, and how many trials to run at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from wst.machine import usable_cpus
from wst.study import Study
from wst.training.layouts import Layout, tried
from wst.training.timing import Speed, measured, products_per_second
from wst.workflows.costs import expected_costs, timed_trial
from wst.workflows.preflight import Checked

_SHARES = (1, 2, 3, 4)
"""Slots on a GPU that are tried beside each other."""
_PASSES = (2, 4, 8)
"""Trials in a pass that are tried, with captured steps, on a GPU."""
_CPU_PASS = 4
"""Trials in a pass that are tried on a CPU, whose slots need no other way to be busy."""


@dataclass(frozen=True)
class Bench:
    """What was measured.

    Attributes:
        device: name of the device; ``cpu``.
        devices: how many of it there are: CPUs, or GPUs.
        peaks: floating-point operations a second of products of matrices, by precision; of the CPU, on one
            slot's threads.
        speeds: of the study's variants, on one slot that has the machine for itself.
        slowest: the variant with which layouts were tried.
        layouts: what was tried.
        slot_seconds: that the study is expected to take on one slot.
    """

    device: str
    devices: int
    peaks: dict[str, float]
    speeds: dict[str, Speed]
    slowest: str
    layouts: list[Layout]
    slot_seconds: float

    def share(self, variant: str) -> float:
        """Of the peak that training reaches."""
        speed = self.speeds[variant]
        return speed.training * speed.operations / self.peaks[speed.precision]

    @property
    def best(self) -> Layout:
        """The layout with the most images a second; of those within two per cent of it, the plainest."""
        most = max(layout.images or 0.0 for layout in self.layouts)
        return next(layout for layout in self.layouts if (layout.images or 0.0) >= 0.98 * most)

    @property
    def wall_seconds(self) -> float:
        """That the study is expected to take with the best layout, on all devices of this machine."""
        devices = 1 if self.device == "cpu" else self.devices
        gain = (self.best.images or 0.0) / self.speeds[self.slowest].training
        return self.slot_seconds / gain / devices


def bench(study: Study, checked: Checked, shortest: float) -> Bench:
    """Measure a study on this machine.

    Args:
        study: the study.
        checked: what the checks before it found.
        shortest: seconds that each measurement takes at least.

    Raises:
        InputError: a model that cannot be made.
    """
    specs = {name: timed_trial(study, name, checked) for name in study.variants}
    speeds = {name: measured(spec, shortest) for name, spec in specs.items()}
    cuda = next(iter(specs.values())).device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    slowest = min(speeds, key=lambda name: speeds[name].training)
    seconds = {name: 1 / speed.training for name, speed in speeds.items()}
    if cuda:
        torch.cuda.empty_cache()  # of the device, for the processes that follow
    precisions = {speed.precision for speed in speeds.values()}
    return Bench(
        device=torch.cuda.get_device_name() if cuda else "cpu",
        devices=torch.cuda.device_count() if cuda else usable_cpus(),
        peaks={name: products_per_second(name, device, shortest) for name in sorted(precisions)},
        speeds=speeds,
        slowest=slowest,
        layouts=[tried(layout, specs[slowest], shortest) for layout in _layouts(study, cuda)],
        slot_seconds=sum(cost.seconds for cost in expected_costs(study, checked, seconds)),
    )


def _layouts(study: Study, cuda: bool) -> Iterator[Layout]:
    if cuda:
        threads = min(study.resources.cpus_per_trial, usable_cpus())
        yield Layout(1, threads)
        yield from (Layout(slots, threads, 1, "captured") for slots in _SHARES)
        yield from (Layout(1, threads, together, "captured") for together in _PASSES)
        yield from (Layout(1, threads, together, "compiled") for together in (1, _PASSES[1]))
        return
    cpus = usable_cpus()
    halvings = [2**power for power in range(int(math.log2(cpus)) + 1)]
    yield from (Layout(slots, cpus // slots) for slots in sorted({*halvings, cpus}))
    yield Layout(cpus, 1, _CPU_PASS)
