"""The transforms agree with PyWavelets, keep the energy, and undo one another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import pywt
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from wst.methods.wst.wavelet import DB2, dwt, haar_dwt, haar_idwt, idwt

HAAR = (2**-0.5, 2**-0.5)
TRANSFORMS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], str]] = {
    "haar": (haar_dwt, haar_idwt, "haar"),
    "db2": (lambda maps: dwt(maps, DB2), lambda bands: idwt(bands, DB2), "db2"),
    "haar by taps": (lambda maps: dwt(maps, HAAR), lambda bands: idwt(bands, HAAR), "haar"),
}

even_maps = st.builds(
    lambda seed, batch, channels, height, width: torch.randn(
        batch,
        channels,
        2 * height,
        2 * width,
        dtype=torch.float64,
        generator=torch.Generator().manual_seed(seed),
    ),
    st.integers(0, 10_000),
    *[st.integers(1, 3)] * 2,
    *[st.integers(1, 9)] * 2,
)


@pytest.mark.parametrize("name", TRANSFORMS)
@settings(max_examples=40, deadline=None)
@given(maps=even_maps)
def test_bands_are_those_of_pywavelets(name: str, maps: Tensor) -> None:
    forward, _, wavelet = TRANSFORMS[name]
    ll, (lh, hl, hh) = pywt.dwt2(maps.numpy(), wavelet, mode="periodization", axes=(-2, -1))
    np.testing.assert_allclose(forward(maps).numpy(), np.concatenate([ll, lh, hl, hh], axis=1), atol=1e-13)


@pytest.mark.parametrize("name", TRANSFORMS)
@settings(max_examples=40, deadline=None)
@given(maps=even_maps)
def test_inverse_undoes_and_energy_stays(name: str, maps: Tensor) -> None:
    forward, inverse, _ = TRANSFORMS[name]
    bands = forward(maps)
    assert bands.shape == (maps.shape[0], 4 * maps.shape[1], maps.shape[2] // 2, maps.shape[3] // 2)
    torch.testing.assert_close(inverse(bands), maps, atol=1e-13, rtol=0)
    torch.testing.assert_close(forward(inverse(bands)), bands, atol=1e-13, rtol=0)
    torch.testing.assert_close(bands.square().sum(), maps.square().sum())


def test_db2_taps_are_the_published_ones() -> None:
    np.testing.assert_allclose(DB2, pywt.Wavelet("db2").dec_lo, atol=1e-15)


def test_bands_name_the_direction_of_change() -> None:
    """On a map that differs only between rows, LH alone answers beside LL; between columns, HL."""
    rows = torch.tensor([[1.0, 1.0], [-1.0, -1.0]]).expand(1, 1, 2, 2)
    assert haar_dwt(rows).flatten().tolist() == [0, 2, 0, 0]
    assert haar_dwt(rows.mT).flatten().tolist() == [0, 0, 2, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_precision_of_the_input_is_kept(dtype: torch.dtype) -> None:
    maps = torch.randn(1, 2, 4, 4).to(dtype)
    for forward, inverse, _ in TRANSFORMS.values():
        assert forward(maps).dtype == inverse(forward(maps)).dtype == dtype
