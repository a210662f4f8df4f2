"""Stochastic depth whose masks are handed in: what a model drops is decided outside of it.

Huang, Sun, Liu, Sedra, Weinberger: "Deep Networks with Stochastic Depth", ECCV 2016, arXiv:1603.09382.
"""

from __future__ import annotations

import torch
from timm.layers import DropPath
from torch import Tensor, nn


class MaskedDropPath(nn.Module):
    """In training, multiplies each image's branch by its entry of ``mask``, a buffer (B,).

    A step substitutes the buffer (:func:`torch.func.functional_call`); the module's own, a single 1, drops
    nothing.
    """

    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(1), persistent=False)

    def forward(self, branch: Tensor) -> Tensor:
        """(B, ...) -> (B, ...)."""
        if not self.training:
            return branch
        # in the branch's type, so that lower precision stays lower, as in timm
        return branch * self.mask.to(branch.dtype).view(-1, *[1] * (branch.ndim - 1))


class StochasticDepth:
    """The stochastic depth of a model: its timm ``DropPath`` modules, made to take their masks from outside.

    They are replaced in place; those of rate 0, which draw nothing, stay.

    Args:
        model: the model.

    Attributes:
        names: of the modules that take a mask, in the order of their masks.
    """

    def __init__(self, model: nn.Module):
        # with duplicates: a module that stands in two places draws in each
        modules = list(model.named_modules(remove_duplicate=False))
        found = {name: m for name, m in modules if isinstance(m, DropPath) and m.drop_prob > 0}
        for name in found:
            model.set_submodule(name, MaskedDropPath())
        self.names = tuple(found)
        self._keep = torch.tensor([1 - module.drop_prob for module in found.values()])
        scaled = [module.scale_by_keep and module.drop_prob < 1 for module in found.values()]
        self._factor = torch.where(torch.tensor(scaled, dtype=torch.bool), 1 / self._keep, 1.0)

    def draw(self, steps: int, batch_size: int, generator: torch.Generator) -> Tensor:
        """Masks of as many steps, (steps, modules, B): Bernoulli(keep) / keep, so that their mean is 1.

        Args:
            steps: number of steps.
            batch_size: B, the number of images in a step.
            generator: the one to draw from, on the CPU: masks are the same whatever the model runs on.
        """
        keep = self._keep[:, None].expand(steps, -1, batch_size)
        return torch.bernoulli(keep, generator=generator) * self._factor[:, None]

    def buffers(self, masks: Tensor) -> dict[str, Tensor]:
        """A step's masks (modules, B) by the name of the buffer that each is to stand for."""
        return {f"{name}.mask": mask for name, mask in zip(self.names, masks.unbind(), strict=True)}
