"""The training step as a pure function: from tensors and draws to a loss and its gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from wst.training.batches import Resident
from wst.training.draws import Draw, seeded
from wst.training.drop_path import StochasticDepth
from wst.training.precision import autocast

if TYPE_CHECKING:
    from wst.study import Recipe


class Step:
    """Loss and gradients of a model's trainable tensors on a batch of a split.

    A call reads nothing but its arguments and what is closed over and never changes (frozen parameters,
    images, labels), and it changes nothing: neither the model, nor its parameters' ``.grad``, nor torch's
    generators.  The optimiser stands outside, and with it the learning rate.  Since the loss is a function
    of tensors, a step can be captured, compiled, or stacked over several trials.

    The model must be in training mode, and must not keep statistics of what it sees, as batch norm does.

    Args:
        model: what requires gradients in it is trainable.
        depth: its stochastic depth.
        split: what it is trained on.
        prepare: makes the input of ``called`` of the split's inputs.
        recipe: precision and label smoothing.
        called: the second half of the model, which has it as ``model``, where inputs are features.

    Attributes:
        depth: as given.
    """

    def __init__(
        self,
        model: nn.Module,
        depth: StochasticDepth,
        split: Resident,
        prepare: Callable[[Tensor], Tensor],
        recipe: Recipe,
        called: nn.Module | None = None,
    ):
        self._called, self.depth, self._split, self._prepare = called or model, depth, split, prepare
        self._owner = "" if called is None else "model."
        self._recipe, self._device = recipe, split.labels.device
        names: dict[int, list[str]] = {}
        for prefix, module in model.named_modules():  # each once, however many have it
            for name, parameter in module.named_parameters(prefix, recurse=False, remove_duplicate=False):
                names.setdefault(id(parameter), []).append(name)
        self._tied = [found for found in names.values() if len(found) > 1]

    def batch(self, draw: Draw) -> tuple[Tensor, Tensor]:
        """What a draw takes of the split: images (B, 3, H, W), normalised, or features (B, ...), valid until
        the next call; and labels (B,) int64."""
        inputs = self._prepare(self._split.inputs.index_select(0, draw.indices))
        return inputs, self._split.labels[draw.indices]

    def logits(self, tensors: Mapping[str, Tensor], inputs: Tensor, masks: Tensor) -> Tensor:
        """Logits (B, classes) of a model that draws nothing itself.

        ``torch.func.vmap`` over stacked arguments gives those of several trials in one pass, see
        :class:`wst.training.stack.Stack`.

        Args:
            tensors: parameters and buffers by name, in the place of the model's own; it must have the
                others.  Hyperparameters that change no shape are buffers.
            inputs: as :meth:`batch` gives them.
            masks: (modules, B) of the stochastic depth.
        """
        substituted = {**tensors, **self.depth.buffers(masks)}
        # functional_call would look for tied parameters in each call, which takes longer than the rest of it
        for first, *others in self._tied:
            if first in tensors:
                substituted |= dict.fromkeys(others, tensors[first])
        named = {self._owner + name: tensor for name, tensor in substituted.items()}
        with autocast(self._recipe, self._device):
            logits: Tensor = functional_call(self._called, named, inputs, tie_weights=False)
        return logits

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of logits (B, classes) on labels (B,): a scalar in float32."""
        return F.cross_entropy(logits.float(), labels, label_smoothing=self._recipe.label_smoothing)

    def __call__(
        self, trainable: Mapping[str, Tensor], draw: Draw, loss_scale: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss on the batch that was drawn, and its gradients.

        What a model draws itself (dropout, in a method that has it) comes from torch's global generators.
        These are seeded with the draw's seed for the call and put back afterwards, so that it, too, depends
        on the arguments alone.

        Args:
            trainable: trainable tensors by name.
            draw: images, masks and seed.
            loss_scale: factor on the gradients, not on the loss; a scalar.

        Returns:
            The loss, and the gradients by name, without those of tensors that the loss does not depend on.
        """
        inputs, labels = self.batch(draw)
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in trainable.items()}
        with seeded(draw.seed, self._device), torch.enable_grad():
            loss = self.loss(self.logits(leaves, inputs, draw.masks), labels)
            gradients = torch.autograd.grad(loss, list(leaves.values()), loss_scale, allow_unused=True)
        found = zip(leaves, gradients, strict=True)
        return loss.detach(), {name: gradient for name, gradient in found if gradient is not None}
