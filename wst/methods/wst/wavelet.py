"""Orthonormal two-dimensional wavelet transforms of feature maps, one level at a time, and their inverses.

Channels are band-major, ``[LL | LH | HL | HH]``: LL is low-pass along rows and columns, LH changes between
rows, HL between columns, HH on the diagonal.  Borders are periodic, so that every transform here halves the
sides exactly, keeps the energy, and has its transpose for an inverse.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

DB2 = (
    (1 - sqrt(3)) / (4 * sqrt(2)),
    (3 - sqrt(3)) / (4 * sqrt(2)),
    (3 + sqrt(3)) / (4 * sqrt(2)),
    (1 + sqrt(3)) / (4 * sqrt(2)),
)
"""Low-pass taps of the wavelet with two vanishing moments, in the order of PyWavelets' ``dec_lo``.

Daubechies: "Orthonormal bases of compactly supported wavelets", Comm. Pure Appl. Math. 41 (1988).
"""


def haar_dwt(maps: Tensor) -> Tensor:
    """One level of the Haar transform, all of whose taps are +-1/2: (B, C, 2H, 2W) -> (B, 4C, H, W)."""
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


def dwt(maps: Tensor, lowpass: tuple[float, ...]) -> Tensor:
    """One level of any orthonormal wavelet with periodic borders: (B, C, 2H, 2W) -> (B, 4C, H, W).

    Signs and alignment are those of PyWavelets in mode ``periodization``.

    Args:
        maps: feature maps with even sides.
        lowpass: the wavelet's low-pass analysis taps, an even number, such as :data:`DB2`.
    """
    low, high = _analyse(maps, -2, lowpass)
    ll, hl = _analyse(low, -1, lowpass)
    lh, hh = _analyse(high, -1, lowpass)
    return torch.cat([ll, lh, hl, hh], dim=1)


def idwt(bands: Tensor, lowpass: tuple[float, ...]) -> Tensor:
    """The inverse of :func:`dwt` with the same taps: (B, 4C, H, W) -> (B, C, 2H, 2W)."""
    ll, lh, hl, hh = bands.chunk(4, dim=1)
    low = _synthesise(ll, hl, -1, lowpass)
    high = _synthesise(lh, hh, -1, lowpass)
    return _synthesise(low, high, -2, lowpass)


def _highpass(lowpass: tuple[float, ...]) -> tuple[float, ...]:
    """The quadrature mirror of the low-pass taps: reversed, with alternating signs."""
    return tuple(tap if i % 2 else -tap for i, tap in enumerate(reversed(lowpass)))


def _analyse(maps: Tensor, dim: int, lowpass: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Low and high half-band along one axis: out[k] = sum over j of tap[j] * maps[2k + taps/2 - j]."""
    half = len(lowpass) // 2
    even = [slice(None)] * maps.ndim
    even[dim] = slice(0, None, 2)
    moved = [maps.roll(j - half, dim)[tuple(even)] for j in range(len(lowpass))]
    low = torch.stack([tap * part for tap, part in zip(lowpass, moved, strict=True)]).sum(0)
    high = torch.stack([tap * part for tap, part in zip(_highpass(lowpass), moved, strict=True)]).sum(0)
    return low, high


def _synthesise(low: Tensor, high: Tensor, dim: int, lowpass: tuple[float, ...]) -> Tensor:
    """The transpose of :func:`_analyse`: a coefficient spreads over the samples that it was made from."""
    half = len(lowpass) // 2
    zeros = torch.zeros_like(low).movedim(dim, -1)
    parts = []
    for j, (low_tap, high_tap) in enumerate(zip(lowpass, _highpass(lowpass), strict=True)):
        coefficients = low_tap * low + high_tap * high
        # to the even positions, with zeros between
        spread = torch.stack([coefficients.movedim(dim, -1), zeros], dim=-1).flatten(-2).movedim(-1, dim)
        parts.append(spread.roll(half - j, dim))
    return torch.stack(parts).sum(0)
