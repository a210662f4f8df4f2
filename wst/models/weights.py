"""Weights files of backbones: read without running code in them, and loaded in full or not at all.

The forms are ``.safetensors``; ``.pth``, ``.pt`` and ``.pth.tar`` (tensors by name, also under ``model``,
``state_dict`` or ``net``, and with a prefix such as ``module.base_encoder.``); and ``.npz`` with the names of
Google's ViT releases, such as ``ViT-B_16.npz``.  What of a file is left aside is said in one line.
"""

from __future__ import annotations

import argparse
import errno
import logging
import os
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table
from timm.models import Levit, SwinTransformer, VisionTransformer
from torch import Tensor, nn

from wst.errors import InputError
from wst.files import is_file

_log = logging.getLogger(__name__)
_WRAPPERS = ("model", "state_dict", "net", "model_state_dict")
"""Under which a file may keep a model's tensors."""
_SECOND = re.compile(r"(^|[._])(momentum|ema|teacher)")
"""In the prefix of a second model beside the trained one, such as MoCo's momentum encoder."""
_TABLE = ".relative_position_bias_table"


FileStamp = tuple[int, int, int, int, int]
"""Which file it is, its size, and when its content and it itself changed last."""


def file_stamp(path: Path) -> FileStamp:
    """What changes when another file takes a place, or the one there is written to; it is not read."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a weights file by the file's own names, kept for the next reader in this process.

    Raises:
        InputError: there is no such file, it is broken, it holds anything but tensors, or its ending is
            unknown.
        MemoryError: there is no room for it in memory.
    """
    if not is_file(path):
        raise InputError(f"{path}: expected a weights file; found none")
    return _read(path, file_stamp(path))


def load_checkpoint(model: nn.Module, path: Path) -> None:
    """Load a backbone's weights, except its classifier's: the head for a new task starts afresh.

    Position embeddings and relative position tables are resampled to the model's image size; Microsoft's
    names of a Swin's layers and Google's of a ViT's become timm's, and half precision becomes single.  All of
    it fits, or nothing is loaded.

    Raises:
        InputError: the file cannot be read, keys are missing, surplus or of another shape, or a value is no
            finite number, and which.
    """
    own = _without_classifier(model.state_dict(), model)
    read = _unprefixed(read_weights(path), own, path)
    read = {key: value.float() if value.is_floating_point() else value for key, value in read.items()}
    weights = _without_classifier(_renamed(read, model), model)
    check_finite(weights, path)
    weights = {key: _resampled(key, value, own.get(key), model) for key, value in weights.items()}
    check_fit(weights, own, f"{path}: expected this backbone's weights")
    model.load_state_dict(weights, strict=False)  # the classifier alone is not in it


def check_finite(weights: Mapping[str, Tensor], source: Path | str) -> None:
    """Refuse weights that hold NaN or infinities.

    Raises:
        InputError: naming the source and the first such tensor.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            found = "NaN" if bool(tensor.isnan().any()) else "infinities"
            raise InputError(f"{source}: expected finite numbers; found {found} in {name}")


def check_fit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], expectation: str) -> None:
    """Compare names and shapes.

    Raises:
        InputError: ``expectation``, and the first keys that are missing, surplus or wrongly shaped.
    """
    problems = {
        "missing": expected.keys() - found.keys(),
        "surplus": found.keys() - expected.keys(),
        "wrongly shaped": {k for k in expected.keys() & found if found[k].shape != expected[k].shape},
    }
    found_keys = [f"{what} keys {_listed(keys)}" for what, keys in problems.items() if keys]
    if found_keys:
        raise InputError(f"{expectation}; found {', '.join(found_keys)}")


def _listed(keys: Iterable[str]) -> str:
    first, more = sorted(keys)[:4], len(list(keys)) - 4
    return " ".join(first) + (f" and {more} more" if more > 0 else "")


@lru_cache(maxsize=2)
def _read(path: Path, _stamp: FileStamp) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            tensors: dict[str, Tensor] = load_file(path)
            return tensors
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        if path.name.endswith((".pth", ".pt", ".pth.tar")):
            # The options of a training script, which many files hold: plain attributes, no code.
            with torch.serialization.safe_globals([argparse.Namespace]):
                content = torch.load(path, map_location="cpu", weights_only=True)
            return _tensors_in(content, path)
    except InputError:
        raise
    except Exception as error:  # each library refuses in its own way, some with advice to load unsafely
        if _lacks_memory(error):  # which says nothing of the file
            raise MemoryError(f"for the {path.stat().st_size:,} bytes of {path}") from None
        raise InputError(
            f"{path}: expected a sound file of nothing but tensors; "
            f"found a broken one, or one with objects that could hold code ({type(error).__name__})"
        ) from None
    raise InputError(
        f"{path}: expected .safetensors, .pth, .pt, .pth.tar or .npz; found {path.suffix or 'no ending'!r}"
    )


def _lacks_memory(error: Exception) -> bool:
    """Whether memory ran out: in Python's words, the system's, or those of PyTorch's allocator."""
    if isinstance(error, MemoryError):
        return True
    words = (os.strerror(errno.ENOMEM), "can't allocate memory", "failed to map", "unable to mmap")
    return any(word.casefold() in str(error).casefold() for word in words)


def _tensors_in(content: object, path: Path) -> dict[str, Tensor]:
    """The one model of a file; others beside it are said."""
    aside: list[str] = []
    while isinstance(content, dict) and not _is_model(content):
        key = next((key for key in _WRAPPERS if isinstance(content.get(key), dict)), None)
        if key is None:
            break
        aside += [str(other) for other, value in content.items() if other != key and _is_model(value)]
        content = content[key]
    if not _is_model(content):
        found = ", ".join(map(str, list(content)[:8])) if isinstance(content, dict) else "none"
        known = " or ".join(map(repr, _WRAPPERS))
        raise InputError(f"{path}: expected tensors by name (under {known}); found {found or 'none'}")
    if aside:
        _say(f"{path}: takes {key!r}; leaves aside {', '.join(map(repr, aside))}")
    assert isinstance(content, dict)
    return {str(name): value for name, value in content.items()}


def _is_model(content: object) -> bool:
    if not isinstance(content, dict) or not content:
        return False
    return all(isinstance(value, Tensor) for value in content.values())


@lru_cache(maxsize=64)
def _say(line: str) -> None:
    """Once a process: a model is made anew for each trial."""
    _log.warning("wst: %s", line)


def _unprefixed(weights: dict[str, Tensor], own: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The weights without what a wrapper put before every name, such as ``module.base_encoder.``.

    Raises:
        InputError: several models are in the file, of which none is known to be the trained one.
    """
    anchor = "patch_embed.proj.weight"
    if anchor not in own or anchor in weights:
        return weights
    prefixes = [name.removesuffix(anchor) for name in weights if name.endswith(f".{anchor}")]
    trained = [prefix for prefix in prefixes if not _SECOND.search(prefix)] or prefixes
    if not trained:
        return weights
    if len(trained) > 1:
        raise InputError(f"{path}: expected one model; found several, under {', '.join(sorted(trained))}")
    (prefix,) = trained
    found = {name.removeprefix(prefix): t for name, t in weights.items() if name.startswith(prefix)}
    rest = len(weights) - len(found)
    if rest:
        _say(f"{path}: takes what is under {prefix!r}; leaves aside {rest} other tensors")
    return found


def _without_classifier(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Everything but what timm calls the classifier, and the layer before it in old ViT files."""
    config = getattr(model, "pretrained_cfg", None) or {}
    names = config.get("classifier") or "head"
    layers = [names] if isinstance(names, str) else list(names)
    if isinstance(model, SwinTransformer):
        layers = ["head"]  # with timm's name head.fc and Microsoft's, head
    elif isinstance(model, Levit):
        layers = ["head", "head_dist"]  # each a batch norm and a linear map in timm's files
    dropped = tuple(f"{layer}." for layer in (*layers, "pre_logits"))
    return {key: value for key, value in weights.items() if not key.startswith(dropped)}


def _renamed(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The weights by timm's names."""
    if "Transformer/encoder_norm/scale" in weights:
        return _from_google(weights)
    if isinstance(model, SwinTransformer):
        return _from_microsoft(weights)
    return dict(weights)


def _from_microsoft(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Microsoft's names of a Swin's layers to timm's, which pass unchanged.

    Microsoft merges patches at a stage's end, timm at the start of the next.  The index and mask buffers
    follow from the window and are not weights.
    """
    later = "layers.0.downsample.reduction.weight" in weights
    return {
        re.sub(r"(?<=^layers\.)\d+(?=\.downsample)", lambda m: str(int(m[0]) + later), key): value
        for key, value in weights.items()
        if not key.endswith(("relative_position_index", "attn_mask"))
    }


_GOOGLE_TOP = {
    "cls": "cls_token",
    "embedding/kernel": "patch_embed.proj.weight",
    "embedding/bias": "patch_embed.proj.bias",
    "Transformer/posembed_input/pos_embedding": "pos_embed",
    "Transformer/encoder_norm/scale": "norm.weight",
    "Transformer/encoder_norm/bias": "norm.bias",
    "head/kernel": "head.weight",
    "head/bias": "head.bias",
    "pre_logits/kernel": "pre_logits.weight",
    "pre_logits/bias": "pre_logits.bias",
}
_GOOGLE_LAYERS = {
    "LayerNorm_0": "norm1",
    "LayerNorm_2": "norm2",
    "MultiHeadDotProductAttention_1/out": "attn.proj",
    "MlpBlock_3/Dense_0": "mlp.fc1",
    "MlpBlock_3/Dense_1": "mlp.fc2",
}
_GOOGLE_ATTENTION = tuple(f"MultiHeadDotProductAttention_1/{part}" for part in ("query", "key", "value"))


def _from_google(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Google's names and layouts to timm's; an array that is not known keeps its name.

    Flax stores kernels (in, out) and convolutions (height, width, in, out), and gives the heads of
    attention an axis: (width, heads, head width) into attention, (heads, head width, width) out of it.
    """
    weights: dict[str, Tensor] = {}
    for name, array in arrays.items():
        block = re.fullmatch(r"Transformer/encoderblock_(\d+)/(.+)/(kernel|scale|bias)", name)
        number, layer, what = block.groups() if block else ("", "", "")
        leaf = "bias" if what == "bias" else "weight"
        if name in _GOOGLE_TOP:
            weights[_GOOGLE_TOP[name]] = array.permute(3, 2, 0, 1) if array.ndim == 4 else array
        elif layer in _GOOGLE_LAYERS:
            matrix = array.flatten(0, -2).T if what == "kernel" and array.ndim > 1 else array
            weights[f"blocks.{number}.{_GOOGLE_LAYERS[layer]}.{leaf}"] = matrix
        elif layer in _GOOGLE_ATTENTION:
            parts = [arrays.get(name.replace(layer, part)) for part in _GOOGLE_ATTENTION]
            shapes = {part.shape if part is not None else None for part in parts}
            if len(shapes) > 1 or array.ndim != (3 if what == "kernel" else 2):
                weights[name] = array
                continue
            flat = [
                part.flatten(1).T if what == "kernel" else part.flatten()
                for part in parts
                if part is not None
            ]
            weights[f"blocks.{number}.attn.qkv.{leaf}"] = torch.cat(flat)
        else:
            weights[name] = array
    return weights


def _resampled(key: str, value: Tensor, own: Tensor | None, model: nn.Module) -> Tensor:
    """Positions fitted to the model's image size; all else, and what no resampling could fit, unchanged."""
    if own is None or value.shape == own.shape:
        return value
    if value.ndim != own.ndim or value.shape[-1] != own.shape[-1]:
        return value
    if key == "pos_embed" and isinstance(model, VisionTransformer):
        prefix = 0 if model.no_embed_class else model.num_prefix_tokens
        if value.shape[0] == 1 and _is_square(value.shape[1] - prefix):
            grid = model.patch_embed.grid_size
            fitted: Tensor = resample_abs_pos_embed(value, new_size=grid, num_prefix_tokens=prefix)
            return fitted
    if key.endswith(_TABLE) and isinstance(model, SwinTransformer) and _is_square(value.shape[0]):
        window = model.get_submodule(key.removesuffix(_TABLE)).window_size
        table: Tensor = resize_rel_pos_bias_table(value, new_window_size=window, new_bias_shape=own.shape)
        return table
    return value


def _is_square(number: int) -> bool:
    return number > 0 and isqrt(number) ** 2 == number
