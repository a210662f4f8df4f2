"""The orthonormal two-dimensional Haar transform and its inverse on feature maps.

Channels are band-major, ``[LL | LH | HL | HH]``: LL is the local mean (times 2), LH changes between rows, HL
between columns, HH on the diagonal.  All taps are +-1/2, so the transform keeps the energy and its inverse is
its transpose.
"""

from __future__ import annotations

import torch
from torch import Tensor


def haar_dwt(maps: Tensor) -> Tensor:
    """One level of the Haar transform: (B, C, 2H, 2W) -> (B, 4C, H, W)."""
    even, odd = maps[..., 0::2, :], maps[..., 1::2, :]
    low, high = even + odd, even - odd
    bands = (
        low[..., 0::2] + low[..., 1::2],
        high[..., 0::2] + high[..., 1::2],
        low[..., 0::2] - low[..., 1::2],
        high[..., 0::2] - high[..., 1::2],
    )
    return torch.cat(bands, dim=1) / 2


def haar_idwt(bands: Tensor) -> Tensor:
    """The inverse of :func:`haar_dwt`: (B, 4C, H, W) -> (B, C, 2H, 2W)."""
    ll, lh, hl, hh = bands.chunk(4, dim=1)
    columns_even = torch.stack([ll + lh + hl + hh, ll - lh + hl - hh], dim=-2)
    columns_odd = torch.stack([ll + lh - hl - hh, ll - lh - hl + hh], dim=-2)
    batch, channels, height, width = ll.shape
    # (B, C, H, 2, W, 2): row parity behind its row, column parity behind its column.
    interleaved = torch.stack([columns_even, columns_odd], dim=-1)
    return interleaved.reshape(batch, channels, 2 * height, 2 * width) / 2
