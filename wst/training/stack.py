"""The steps of several trials as one call of the model: their own tensors stacked over what they share.

    tensors, inputs and masks of K trials -> stacked -> torch.func.vmap of one model -> K losses -> gradients

One implementation serves every method.  A trial's loss depends on its own tensors alone, so that the
gradients of the losses' sum are those of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import EllipsisType
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from wst.training.draws import Draw
from wst.training.drop_path import MaskedDropPath
from wst.training.precision import LOWER

if TYPE_CHECKING:
    from wst.training.trial import Trial

_NOISE = 0.05
"""Standard deviation of what is added to trainable tensors before a stack is tried: many start at zero, and
would hide what they are multiplied with."""
_TOLERANCE, _LOWER_TOLERANCE = 1e-3, 5e-2
"""Largest difference of logits, as a share of the largest, in float32 and in lower precision."""


class CannotStackError(ValueError):
    """Trials that cannot share a pass; the message says why."""


@dataclass(frozen=True, eq=False)
class _Member:
    """A trial in a stack: its trainable tensors by name, and how many classes it has."""

    trial: Trial
    trainable: Mapping[str, Tensor]
    classes: int


class Stack:
    """Steps of K trials in one pass.

    What is frozen and equal in their models is shared from now on, and takes the memory of one.

    Args:
        trials: at least two, of one method and on one device, whose tensors differ in their values alone; the
            heads may differ in their number of classes.

    Raises:
        CannotStackError: the trials' models differ in more, draw numbers themselves, or give other logits
            together than alone.
    """

    def __init__(self, trials: Sequence[Trial]):
        self._members = [
            _Member(trial, trial.update.trainable, trial.spec.data.task.classes) for trial in trials
        ]
        # A model without stochastic depth has no place for masks.
        widest = max(trials, key=lambda trial: len(trial.step.depth.names))
        self._step, self._model = widest.step, widest.model
        self._device = widest.device
        self._shapes = self._common_shapes()
        self._constants = self._shared()
        self._try()

    def __call__(
        self, draws: Sequence[Draw], loss_scales: Sequence[Tensor]
    ) -> list[tuple[Tensor, dict[str, Tensor]]]:
        """The loss and the gradients of each trial, as :class:`wst.training.step.Step` gives them.

        Args:
            draws: one for each trial, of equally many images.
            loss_scales: factors on the gradients of each.
        """
        batches = [m.trial.step.batch(draw) for m, draw in zip(self._members, draws, strict=True)]
        inputs = torch.stack([images for images, _ in batches])
        masks = torch.stack([self._masks(draw) for draw in draws])
        leaves = {
            name: tensor.requires_grad_()
            for name, tensor in self._rows([m.trainable for m in self._members]).items()
        }
        with torch.enable_grad():
            logits = self._logits(leaves, inputs, masks)
            losses = [self._step.loss(own, labels) for own, (_, labels) in zip(logits, batches, strict=True)]
            found = torch.autograd.grad(losses, list(leaves.values()), list(loss_scales), allow_unused=True)
        gradients = {name: rows for name, rows in zip(leaves, found, strict=True) if rows is not None}
        own = [
            {name: rows[i][_part(m.trainable[name], rows[i])] for name, rows in gradients.items()}
            for i, m in enumerate(self._members)
        ]
        return [(loss.detach(), of_one) for loss, of_one in zip(losses, own, strict=True)]

    def _logits(self, tensors: Mapping[str, Tensor], inputs: Tensor, masks: Tensor) -> list[Tensor]:
        """Logits of each trial (B, its classes)."""
        with _attention(self._device):
            found = vmap(self._step.logits)({**self._constants, **tensors}, inputs, masks)
        return [found[i, :, : m.classes] for i, m in enumerate(self._members)]

    def _masks(self, draw: Draw) -> Tensor:
        """A draw's masks; of ones for a trial that drops nothing."""
        names = self._step.depth.names
        return (
            draw.masks if len(draw.masks) else torch.ones(len(names), len(draw.indices), device=self._device)
        )

    def _rows(self, tensors: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """Trainable tensors stacked (K, ...); a head with fewer classes is filled up with zeros."""
        return {
            name: torch.stack([_filled(own[name].detach(), shape) for own in tensors])
            for name, shape in self._shapes.items()
        }

    def _common_shapes(self) -> dict[str, torch.Size]:
        """Shapes of the trainable tensors, with the head of the most classes."""
        first, *others = self._members
        if any(m.trainable.keys() != first.trainable.keys() for m in others):
            raise CannotStackError("expected trainable tensors of the same names")
        depths = {m.trial.step.depth.names for m in self._members} - {()}
        if len(depths) > 1:
            raise CannotStackError("expected stochastic depth in the same blocks")
        head = {id(p) for p in first.trial.model.get_classifier().parameters()}  # type: ignore[operator]
        shapes = {}
        for name, tensor in first.trainable.items():
            found = {m.trainable[name].shape for m in self._members}
            if len(found) > 1 and (id(tensor) not in head or len({shape[1:] for shape in found}) > 1):
                raise CannotStackError(f"expected tensors of one shape; found {name} in {len(found)} shapes")
            shapes[name] = max(found)
        return shapes

    def _shared(self) -> dict[str, Tensor]:
        """Let the models share what is frozen and equal; the rest, stacked (K, ...)."""
        models = [m.trial.model for m in self._members]
        mine = dict(_frozen(self._model))
        differ = set()
        for model in models:
            for name, tensor in list(_frozen(model)):
                theirs = mine.get(name)
                if theirs is None:
                    raise CannotStackError(f"expected models of the same tensors; found {name} in one alone")
                if theirs is tensor:
                    continue
                if theirs.shape != tensor.shape:
                    raise CannotStackError(f"expected tensors of one shape; found {name} in two")
                if torch.equal(theirs, tensor):
                    _put(model, name, theirs)
                else:
                    differ.add(name)
        return {
            name: torch.stack([dict(_frozen(model))[name] for model in models]) for name in sorted(differ)
        }

    @torch.no_grad()
    def _try(self) -> None:
        """Compare with each trial alone, on two of its images.

        Raises:
            CannotStackError: they differ, or the model has something that cannot be stacked.
        """
        generator = torch.Generator().manual_seed(0)
        noisy = [
            {
                name: tensor + _NOISE * torch.randn(tensor.shape, generator=generator).to(tensor)
                for name, tensor in m.trainable.items()
            }
            for m in self._members
        ]
        alone, inputs, masks = [], [], []
        for m, tensors in zip(self._members, noisy, strict=True):
            m.trial.model.train()
            draw = m.trial.draws.of(torch.arange(2, device=self._device))
            images, _ = m.trial.step.batch(draw)
            inputs.append(images.clone())
            masks.append(self._masks(draw))
            alone.append(m.trial.step.logits(tensors, images, draw.masks).float())
        try:
            together = self._logits(self._rows(noisy), torch.stack(inputs), torch.stack(masks))
        except RuntimeError as error:  # of functorch, which knows no random numbers and not every operation
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise CannotStackError(f"expected a model that can be stacked; found: {error}") from None
        tolerance = _LOWER_TOLERANCE if self._members[0].trial.recipe.precision in LOWER else _TOLERANCE
        for own, other in zip(alone, together, strict=True):
            if not (own - other.float()).abs().max() <= tolerance * own.abs().max():
                raise CannotStackError("expected the logits of each trial alone; found others")


def _filled(tensor: Tensor, shape: torch.Size) -> Tensor:
    """A tensor of a head with zeros for the classes that it lacks."""
    if tensor.shape == shape:
        return tensor
    return F.pad(tensor, [0, 0] * (tensor.ndim - 1) + [0, shape[0] - len(tensor)])


def _part(tensor: Tensor, filled: Tensor) -> EllipsisType | slice:
    """Which part of a filled tensor is that of a tensor."""
    return ... if tensor.shape == filled.shape else slice(len(tensor))


def _frozen(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """What a model has and does not train, by name, but for the masks, which each step brings."""
    for name, parameter in model.named_parameters(remove_duplicate=False):
        if not parameter.requires_grad:
            yield name, parameter
    for name, buffer in model.named_buffers(remove_duplicate=False):
        if not isinstance(model.get_submodule(name.rpartition(".")[0]), MaskedDropPath):
            yield name, buffer


def _put(model: nn.Module, name: str, tensor: Tensor) -> None:
    """Let a model have a tensor of another in the place of its own."""
    prefix, _, own = name.rpartition(".")
    module = model.get_submodule(prefix)
    place = module._parameters if own in module._parameters else module._buffers
    place[own] = tensor  # type: ignore[assignment]


def _attention(device: torch.device) -> AbstractContextManager[object]:
    """On a CPU attention in single products: its fused form cannot be stacked."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
