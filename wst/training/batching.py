"""Rules for ``torch.func.vmap`` where its own do not get on with autocast, or with fused attention.

A mode of torch's functions, entered around the call of ``vmap``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_TAKEN_APART: frozenset[Callable[..., Tensor]] = frozenset(
    {
        *(F.linear, F.scaled_dot_product_attention, torch.addmm, torch.baddbmm),
        *(F.conv1d, F.conv2d, F.conv3d),
        *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
    }
)
"""What ``vmap`` takes apart before autocast sees it: types would be mixed there, or results in float32."""


class Rules(TorchFunctionMode):
    """Casts the arguments of what ``vmap`` takes apart, as autocast does, and folds attention.

    Attention over K stacked trials is attention over K times as many images.  ``vmap`` has no rule for the
    fused kernel of a CPU, and its rule for those of CUDA gives their backward pass tensors in an order of
    memory that these refuse, or read as another.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        named = dict(kwargs or {})
        if func in _TAKEN_APART:
            args = [_cast(value) for value in args]
            named = {name: _cast(value) for name, value in named.items()}
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **named)
        return func(*args, **named)


def _cast(value: Any) -> Any:
    """What autocast makes of an argument."""
    if not isinstance(value, Tensor) or not value.is_floating_point() or value.dtype == torch.float64:
        return value
    device = value.device.type
    return value.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else value


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **options: Any,
) -> Tensor:
    """``F.scaled_dot_product_attention`` of one of the stacked trials."""
    if dropout_p:  # which vmap refuses, as all that draws numbers
        return F.scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, **options)
    found: Tensor = _Folded.apply(query, key, value, attn_mask, is_causal, options)
    return found


class _Folded(torch.autograd.Function):
    """Attention whose rule for ``vmap`` takes trials and images as one; there is no other use of it."""

    @staticmethod
    def forward(*arguments: Any) -> Tensor:
        raise NotImplementedError("attention of stacked trials is called under vmap alone")

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Nothing: what the rule does is differentiated as it stands."""

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None,
        is_causal: bool,
        options: Mapping[str, Any],
    ) -> tuple[Tensor, int]:
        trials: int = info.batch_size
        stacked = [
            tensor.expand(trials, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
            for tensor, dim in zip((query, key, value), in_dims, strict=False)
        ]
        one = stacked[0].shape[1:-1]  # of one trial, but for the width
        if len(one) == 1:  # of tokens alone
            stacked = [tensor.unsqueeze(1) for tensor in stacked]
        images, ndim = stacked[0].shape[1], stacked[0].ndim - 1
        if attn_mask is not None and (in_dims[3] is not None or attn_mask.ndim == ndim):
            masks = attn_mask.expand(trials, *attn_mask.shape) if in_dims[3] is None else attn_mask
            masks = masks.movedim(in_dims[3] or 0, 0)
            masks = masks.reshape(trials, *[1] * (ndim - masks.ndim + 1), *masks.shape[1:])
            attn_mask = masks.expand(trials, images, *masks.shape[2:]).flatten(0, 1)
        query, key, value = (tensor.flatten(0, 1) for tensor in stacked)
        out = F.scaled_dot_product_attention(query, key, value, attn_mask, is_causal=is_causal, **options)
        return out.reshape(trials, *one, out.shape[-1]), 0
