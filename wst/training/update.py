"""AdamW around the pure step: what changes the trainable tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from wst.training.draws import Draw
from wst.training.optimisation import optimiser
from wst.training.precision import gradient_scaler
from wst.training.step import Step

if TYPE_CHECKING:
    from wst.study import Recipe


class Update:
    """Optimiser steps on a model's trainable tensors, with all the state that they need from one to the next.

    Args:
        model: what is trained.
        step: gives its loss and gradients.
        recipe: weight decay's exceptions and precision.
        lr: peak learning rate.
        weight_decay: AdamW's.
        device: where the model is.

    Attributes:
        trainable: trainable tensors by name.
    """

    def __init__(
        self,
        model: nn.Module,
        step: Step,
        recipe: Recipe,
        lr: float,
        weight_decay: float,
        device: torch.device,
    ):
        self.trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._step = step
        self._optimiser = optimiser(model, recipe, lr, weight_decay)
        self._scaler = gradient_scaler(recipe, device)
        self._one = torch.ones((), device=device)

    def __call__(self, draw: Draw, lr: float) -> Tensor:
        """One step; returns the loss before it, a scalar."""
        loss, gradients = self._step(self.trainable, draw, self.loss_scale())
        self.apply(gradients, lr)
        return loss

    def loss_scale(self) -> Tensor:
        """Factor that the next gradients are to have, a scalar."""
        return self._scaler.scale(self._one)

    def apply(self, gradients: Mapping[str, Tensor], lr: float) -> None:
        """Step along gradients of the trainable tensors by name, which have :meth:`loss_scale` in them."""
        for name, parameter in self.trainable.items():
            gradient = gradients.get(name)
            # fused AdamW walks through memory, and does not ask in which order a gradient lies there
            parameter.grad = None if gradient is None else gradient.contiguous()
        for group in self._optimiser.param_groups:
            group["lr"] = lr
        self._scaler.step(self._optimiser)  # which divides the gradients by the scale
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Trainable tensors, moments, and the scale of lower precision."""
        return {
            "trainable": {name: parameter.detach() for name, parameter in self.trainable.items()},
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from where :meth:`state_dict` was taken.

        Raises:
            ValueError: it was taken of other tensors.
        """
        kept = state["trainable"]
        if {name: t.shape for name, t in kept.items()} != {n: p.shape for n, p in self.trainable.items()}:
            raise ValueError("expected this model's trainable tensors; found others")
        for name, parameter in self.trainable.items():
            parameter.copy_(kept[name])
        self._optimiser.load_state_dict(state["optimiser"])
        for tensor, moments in self._optimiser.state.items():
            if any(moment.ndim and moment.shape != tensor.shape for moment in moments.values()):
                raise ValueError("expected moments in the shapes of their tensors; found others")
        self._scaler.load_state_dict(state["scaler"])
