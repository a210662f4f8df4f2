"""The methods of Hugging Face's peft, on the linear maps of a transformer's blocks.

Mangrulkar et al.: "PEFT: State-of-the-art Parameter-Efficient Fine-Tuning methods", 2022.  peft is needed
only where the method is used (``pip install 'wst[peft]'``).
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any, Literal

import torch
from torch import nn

from wst.errors import InputError
from wst.methods import AtLeast, Below, method
from wst.methods._projections import fused_qkv, linear_maps, split_qkv
from wst.methods._readout import Readout, set_readout
from wst.methods._trunk import FAMILIES, TimmModel, blocks
from wst.suggest import hint
from wst.yaml_text import shown

Kind = Literal[
    "lora",
    "dora",
    "beft",
    "boft",
    "c3a",
    "deft",
    "delora",
    "fourierft",
    "glora",
    "gralora",
    "hira",
    "hra",
    "ia3",
    "lily",
    "loha",
    "lokr",
    "miss",
    "oft",
    "peanut",
    "pvera",
    "randlora",
    "road",
    "supertuning",
    "tinylora",
    "unilora",
    "vblora",
    "vera",
    "waveft",
]
"""Not among them: what needs a language model (prompts), the training loop (AdaLoRA) or layers other than
linear maps, and what its own tensors and the backbone do not determine (PSOFT, SHiRA)."""

_OTHER_NAMES = {
    "init": ("init_weights", "init_lora_weights"),
    "random_seed": ("projection_prng_key", "projection_seed", "proj_seed", "random_loc_seed"),
}
"""What peft calls hyperparameters of here, where that differs by more than the kind's name in front."""
_INITS = {
    "lora": {"gaussian", "olora", "orthogonal", "pissa"},
    "dora": {"gaussian", "olora", "orthogonal", "pissa"},
    "c3a": {"gaussian", "kaiming_uniform", "xavier_uniform"},
    "hira": {"gaussian"},
    "lokr": {"lycoris"},
    "miss": {"bat", "mini"},
}
_LOOKS_AT_NUMBERS = {"boft", "unilora"}
"""Kinds that do so while they are made, and so are made on the CPU where a model takes no memory."""


def library() -> Any:
    """peft, imported.

    Raises:
        InputError: it is not installed.
    """
    try:
        import peft
    except ModuleNotFoundError as error:
        raise InputError(
            f"method peft: expected its library (pip install 'wst[peft]'); "
            f"found no module named {error.name!r}"
        ) from None
    return peft


def _untouched(backbone: TimmModel, **settings: Any) -> int:
    """Blocks before the first of ``layers_to_transform``."""
    if settings.get("bias", "none") != "none":
        return 0
    return min(settings.get("layers_to_transform") or (0,))


def _merged(model: Any) -> nn.Module:
    try:
        merged: nn.Module = model.merge_and_unload()
    except NotImplementedError as error:
        raise InputError(f"method peft: expected a kind that merges; found: {error}") from None
    for block in blocks(merged):
        split_qkv(block.attn)
    return merged


@method(fits=FAMILIES, untouched=_untouched, merge=_merged)
def adapt(
    backbone: TimmModel,
    *,
    kind: Kind = "lora",
    target_modules: tuple[str, ...] = ("qkv",),
    layers_to_transform: tuple[Annotated[int, AtLeast(0)], ...] | None = None,
    r: Annotated[int, AtLeast(1)] | None = None,
    alpha: float | None = None,
    dropout: Annotated[float, AtLeast(0), Below(1)] | None = None,
    bias: Literal["none", "all", "only"] | None = None,
    init: Literal[
        "bat",
        "gaussian",
        "kaiming_uniform",
        "lycoris",
        "mini",
        "olora",
        "orthogonal",
        "pissa",
        "xavier_uniform",
    ]
    | None = None,
    random_seed: Annotated[int, AtLeast(0)] | None = None,
    module_dropout: Annotated[float, AtLeast(0), Below(1)] | None = None,
    rank_dropout: Annotated[float, AtLeast(0), Below(1)] | None = None,
    rank_dropout_scale: bool | None = None,
    use_rslora: bool | None = None,
    lora_bias: bool | None = None,
    block_size: Annotated[int, AtLeast(1)] | None = None,
    block_num: Annotated[int, AtLeast(1)] | None = None,
    n_butterfly_factor: Annotated[int, AtLeast(1)] | None = None,
    block_share: bool | None = None,
    coft: bool | None = None,
    eps: Annotated[float, AtLeast(0)] | None = None,
    use_cayley_neumann: bool | None = None,
    num_cayley_neumann_terms: Annotated[int, AtLeast(1)] | None = None,
    decompose_both: bool | None = None,
    decompose_factor: Annotated[int, AtLeast(-1)] | None = None,
    scaling: float | None = None,
    n_frequency: Annotated[int, AtLeast(1)] | None = None,
    wavelet_family: str | None = None,
    use_idwt: bool | None = None,
    proportional_parameters: bool | None = None,
    d_initial: float | None = None,
    sample_at_inference: bool | None = None,
    feedforward_modules: tuple[str, ...] | None = None,
    apply_gs: bool | None = None,
    delora_lambda: float | None = None,
    decomposition_method: Literal["relu", "qr"] | None = None,
    init_scale: float | None = None,
    para: bool | None = None,
    config_a_b: Literal["lora", "vector", "constant", "none"] | None = None,
    config_c: Literal["lora", "vector", "none"] | None = None,
    config_d_e: Literal["vector", "constant", "none"] | None = None,
    hybrid_r: Annotated[int, AtLeast(0)] | None = None,
    gralora_k: Annotated[int, AtLeast(1)] | None = None,
    mini_r: Annotated[int, AtLeast(1)] | None = None,
    stride_a: Annotated[int, AtLeast(1)] | None = None,
    num_b: Annotated[int, AtLeast(1)] | None = None,
    depth: Annotated[int, AtLeast(0)] | None = None,
    act_fn: str | None = None,
    sparse: bool | None = None,
    very_sparse: bool | None = None,
    variant: Literal["road_1", "road_2", "road_4"] | None = None,
    group_size: Annotated[int, AtLeast(2)] | None = None,
    sparsity: Annotated[float, AtLeast(0), Below(1)] | None = None,
    select_top: bool | None = None,
    u: Annotated[int, AtLeast(1)] | None = None,
    weight_tying: Annotated[float, AtLeast(0)] | None = None,
    init_v_bound: Annotated[float, AtLeast(0)] | None = None,
    theta_d_length: Annotated[int, AtLeast(1)] | None = None,
    init_theta_d_bound: Annotated[float, AtLeast(0)] | None = None,
    num_vectors: Annotated[int, AtLeast(1)] | None = None,
    vector_length: Annotated[int, AtLeast(1)] | None = None,
    topk: Annotated[int, AtLeast(1)] | None = None,
    init_vector_bank_bound: Annotated[float, AtLeast(0)] | None = None,
    init_logits_std: Annotated[float, AtLeast(0)] | None = None,
    readout: Readout = "paper",
) -> nn.Module:
    """A method of peft's (kind) on linear maps of the blocks: hyperparameters are its config's fields.

    Each is named as in peft, in small letters, without the kind's name in front (``lora_alpha`` and
    ``randlora_alpha`` are ``alpha``); what is left out is as peft has it, and what a kind has not is refused.
    ``dora`` is ``lora`` with ``use_dora``.  ``random_seed`` is that of what is drawn once and stays frozen.
    ``target_modules`` are ends of the maps' names in a block (``qkv``, ``attn.proj``, ``fc1``, ``fc2``),
    ``layers_to_transform`` the blocks' numbers; a patch embedding's ``proj`` is none of them.
    """
    given = dict(locals())
    for name in ("backbone", "kind", "target_modules", "layers_to_transform", "readout"):
        del given[name]
    given = {name: value for name, value in given.items() if value is not None}
    peft = library()
    fields = _fields(peft, kind, given)
    set_readout(backbone, readout)
    names = list(_targets(backbone, target_modules, layers_to_transform))
    if kind == "ia3":
        ends = feedforward_modules or ("fc2",)
        fields["feedforward_modules"] = [name for name in names if _ends(name, ends)]
    config = _config_class(peft, kind)(target_modules=names, **fields)
    head = backbone.get_classifier()
    looks = kind in _LOOKS_AT_NUMBERS and head.weight.is_meta
    with torch.device("cpu") if looks else nullcontext(), _as_given(given):
        model: nn.Module = peft.get_peft_model(backbone, config, autocast_adapter_dtype=False)
    head.requires_grad_(True)
    return model


@contextmanager
def _as_given(given: Mapping[str, Any]) -> Iterator[None]:
    """Refuse that peft takes other values than these, of which it only warns.

    Raises:
        InputError: what peft says.
    """
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        yield
    for warning in said:
        line = " ".join(str(warning.message).split())
        if line.startswith("Invalid `"):  # OFT
            raise InputError(f"method peft: expected values that fit the maps' widths; found: {line}")
        if "boft_n_butterfly_factor to 1" in line and given.get("n_butterfly_factor", 1) > 1:
            raise InputError(
                "n_butterfly_factor of peft: expected 1 on a machine that cannot build BOFT's CUDA extension "
                f"(nvcc and ninja); found {given['n_butterfly_factor']}"
            )
        if "CUDA extension" not in line and "boft_n_butterfly_factor" not in line:
            warnings.warn_explicit(line, warning.category, warning.filename, warning.lineno)


def _config_class(peft: Any, kind: str) -> Any:
    stem = "lora" if kind == "dora" else kind
    return peft.PEFT_TYPE_TO_CONFIG_MAPPING[peft.PeftType(stem.upper())]


def _fields(peft: Any, kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a kind's config, from the hyperparameters that are given.

    Raises:
        InputError: the kind has not one of them, or not this value.
    """
    stem = "lora" if kind == "dora" else kind
    theirs = {field.name.lower(): field.name for field in dataclasses.fields(_config_class(peft, kind))}
    found: dict[str, Any] = {"use_dora": True} if kind == "dora" else {}
    for name, value in given.items():
        candidates = (name, f"{stem}_{name}", f"lora_{name}", *_OTHER_NAMES.get(name, ()))
        field = next((theirs[one] for one in candidates if one in theirs), None)
        if field is None or (name == "init" and not _INITS.get(kind)):
            raise InputError(f"{name} of peft: expected none where kind is {kind}; found {shown(value)}")
        if name == "init" and value not in _INITS[kind]:
            known = sorted(_INITS[kind])
            raise InputError(
                f"init of peft: expected one of {', '.join(known)} where kind is {kind}; "
                f"found {value!r}{hint(value, known)}"
            )
        found[field] = f"{stem}_only" if name == "bias" and value == "only" else value
    # Each says how large the blocks are: by itself or through their number.
    if kind == "oft" and "r" in given:
        found.setdefault("oft_block_size", 0)
    if kind == "boft" and "block_num" in given:
        found.setdefault("boft_block_size", 0)
    return found


def _targets(backbone: TimmModel, ends: tuple[str, ...], layers: tuple[int, ...] | None) -> Iterator[str]:
    """Full names of the maps to adapt.  Queries, keys and values that a family keeps apart become one map.

    Raises:
        InputError: there is no such map, or no such block.
    """
    every = blocks(backbone)
    beyond = [layer for layer in layers or () if layer >= len(every)]
    if beyond:
        raise InputError(
            f"layers_to_transform of peft: expected blocks below {len(every)}; found {beyond[0]}"
        )
    wanted = [every[layer] for layer in sorted(set(layers))] if layers else every
    if _ends("attn.qkv", ends):
        for block in wanted:
            fused_qkv(block.attn)
    maps = {id(module): name for block in wanted for name, module in linear_maps(block).items()}
    for end in ends:
        if not any(_ends(name, (end,)) for name in maps.values()):
            known = sorted(set(maps.values()))
            raise InputError(
                f"target_modules of peft: expected ends of {', '.join(known)}; "
                f"found {end!r}{hint(end, known)}"
            )
    for name, module in backbone.named_modules():
        if id(module) in maps and _ends(maps[id(module)], ends):
            yield name


def _ends(name: str, ends: tuple[str, ...]) -> bool:
    """Whether a module's name is one of these, or ends in one of them."""
    return any(name == end or name.endswith(f".{end}") for end in ends)
