"""The same numbers by operations that CUDA has faster kernels for.

A mode of torch's functions for steps that are captured: looking at every call takes time, which a replay does
not have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_ALIGNED = 8
"""Numbers of 16 bits that tensor cores read at once: where rows have another length, kernels are slower."""


class Forms(TorchFunctionMode):
    """Convolutions over patches as products of matrices; where autocast is on, thin linear maps as wide as
    tensor cores like them."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.conv2d and not kwargs and _of_patches(*args):
            return _patches(*args[:3])
        if func is F.linear and not kwargs:
            return _linear(*args)
        return func(*args, **(kwargs or {}))


def _patches(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Images (B, C, H, W) -> maps (B, D, H / patch, W / patch)."""
    count, channels, height, width = images.shape
    high, wide = weight.shape[-2:]
    rows, columns = height // high, width // wide
    patches = images.reshape(count, channels, rows, high, columns, wide).permute(0, 2, 4, 1, 3, 5)
    flat = patches.reshape(count, rows * columns, channels * high * wide)
    return _linear(flat, weight.flatten(1), bias).transpose(1, 2).reshape(count, -1, rows, columns)


def _of_patches(
    images: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> bool:
    """Whether a convolution is one over patches that cover the images and do not overlap."""
    size = tuple(weight.shape[-2:])
    whole = images.ndim == 4 and all(
        side % patch == 0 for side, patch in zip(images.shape[-2:], size, strict=True)
    )
    plain = padding in (0, (0, 0)) and dilation in (1, (1, 1)) and groups == 1
    return whole and plain and stride == size


def _linear(inputs: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``, under autocast with zeros for columns and rows that are missing to whole vectors."""
    if weight.ndim != 2 or not torch.is_autocast_enabled(inputs.device.type):
        return F.linear(inputs, weight, bias)
    out, into = weight.shape
    more_out, more_into = -out % _ALIGNED, -into % _ALIGNED
    if not more_out and not more_into:
        return F.linear(inputs, weight, bias)
    if more_into:
        inputs = F.pad(inputs, (0, more_into))
    padded = F.pad(weight, (0, more_into, 0, more_out))
    bias = F.pad(bias, (0, more_out)) if bias is not None and more_out else bias
    return F.linear(inputs, padded, bias)[..., :out]
