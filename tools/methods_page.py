"""The page docs/methods.md, generated from the methods' signatures and from models without weights.

``python -m tools.methods_page > docs/methods.md`` renews it.  ``python -m tools.methods_page docs/method.md``
renews the tables between two comments there, of families and of what fits which.
"""

from __future__ import annotations

import copy
import re
import sys
import warnings
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from wst.errors import InputError
from wst.methods import registry
from wst.models.backbones import create
from wst.models.create import parameter_counts
from wst.models.families import FAMILIES
from wst.records import Backbone

_HEAD = """# Methods

What each method takes, from its signature; `wst ls methods --json` has the same. Every trial has `lr`, `weight_decay` and
`drop_path` besides. Hyperparameters marked *free* change no tensor's shape; one without a default may be left out unless it
is *required*. `readout` says what the head reads: the class
`token`, the `mean` of the patch tokens before the norm, or the `mean_of_normed` ones; `paper` is what the method's paper
does. Search spaces have the methods' names: [search_spaces/](../search_spaces).
How to write a method: [method.md](method.md#a-method-of-your-own).

This page is generated: `python -m tools.methods_page > docs/methods.md`.
"""  # noqa: E501
_COUNTS = """## Parameters

Trainable parameters without the head, counted in a model; settings that are not beside the name are the defaults.
*Printed* is what the literature prints for ViT-B/16, in millions.
"""  # noqa: E501
_FITS = """## Backbones

Trainable parameters of each method with its default settings (of `noah` 5 everywhere) on an example of each kind, or a letter for why not.
Those of `peft` are as its `kind` says.
More examples: `wst ls backbones`.
"""  # noqa: E501

VIT, SWIN = "vit_base_patch16_224.orig_in21k", "swin_base_patch4_window7_224.ms_in22k"
KINDS = {
    "ViT": VIT,
    "DINOv2": "vit_base_patch14_reg4_dinov2.lvd142m",
    "SigLIP": "vit_base_patch16_siglip_224.webli",
    "DINOv3": "vit_base_patch16_dinov3.lvd1689m",
    "EVA-02": "eva02_base_patch14_224.mim_in22k",
    "BEiT": "beit_base_patch16_224.in22k_ft_in22k",
    "Swin": SWIN,
    "Swin V2": "swinv2_base_window12_192.ms_in22k",
}
"""Columns of the table of backbones, each with the model that is counted."""
NOAH = dict.fromkeys(("prompt_sizes", "lora_sizes", "adapter_sizes"), (5,) * 12)
"""Settings of a method that has no defaults."""
COUNTED: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("linear", {}, "0, .04", "with the mean head of VTAB-1K's tasks (38,045)"),
    ("full", {}, "85.8", ""),
    (
        "bitfit",
        {},
        ".10",
        "names that end in *bias*; code that asks for the word also trains a Swin's tables",
    ),
    ("layernorm", {}, ".04", ""),
    (
        "vpt_shallow",
        {"prompts": 10},
        ".06, .08",
        "means over prompts tuned per task, with and without the head",
    ),
    ("vpt_deep", {"prompts": 10}, ".56", "561,691: the mean over prompts tuned per task, 60.9"),
    ("adapter", {"r": 8}, ".16", ""),
    ("adapter", {"r": 8, "position": "houlsby"}, ".39", "with trained norms (38,400) and the mean head"),
    ("adaptformer", {"r": 8}, ".16", ""),
    ("adapter_plus", {"r": 8}, ".20", "with the mean head"),
    ("lora", {"r": 8}, ".29", "queries and values; the row of VTAB's tables is the next one"),
    ("lora", {"r": 8, "targets": "qkv"}, ".29", ""),
    ("ssf", {}, ".20 to .24", ".24 with the mean head"),
    ("convpass", {"r": 8}, ".33", ""),
    ("convpass", {"r": 8, "position": "attention"}, ".16", ""),
    ("fact_tt", {"r": 16}, ".04", "39,734: the mean over ranks tuned per task"),
    ("fact_tk", {"r": 32}, ".069", "68,985: the mean over ranks tuned per task"),
    ("repadapter", {"r": 8}, ".22", "weights alone (221,184), without biases"),
    ("repadapter", {"r": 8, "position": "attention"}, ".11", "weights alone (110,592), without biases"),
    ("dtl", {"r": 2}, ".04", ""),
    ("dtl", {"r": 2, "kernel": 3}, ".05", "50,728: the mean over kernels tuned per task"),
    ("dtl", {"r": 4}, "", "the width on Swin-B"),
    ("lst", {"r": 8}, "2.38", ""),
    (
        "noah",
        NOAH,
        ".36, .43",
        "the 19 released nets have 287,278 to 431,686; .43 counts prompts that are dropped",
    ),
    ("wst", {"r": 2}, ".08", ""),
    ("wst", {"r": 4}, "", "the width on Swin-B"),
)
"""Method, settings, what is printed for ViT-B/16 in millions, and why it differs from the count."""


def page() -> str:
    """The page as Markdown."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # weights that are copied nowhere
        tables = [_counts(), _fits()]
    return "\n".join([_HEAD, *tables, *(_section(registry.described(name)) for name in registry.names())])


@lru_cache
def _frozen(backbone: str) -> nn.Module:
    """The backbone, without memory for its weights."""
    with torch.device("meta"):
        return create(Backbone(backbone), num_classes=1)


def counted(backbone: str, method: str, settings: dict[str, Any]) -> str | InputError:
    """Trainable parameters, or why not."""
    try:
        frozen = copy.deepcopy(_frozen(backbone))
        with torch.device("meta"):
            model = registry.get(method)(frozen, **settings)
    except InputError as error:
        return error
    return f"{parameter_counts(model)['trainable']:,}"


def _counts() -> str:
    lines = [_COUNTS, "| method | ViT-B/16 | Swin-B | printed | |", "| --- | ---: | ---: | ---: | --- |"]
    for method, settings, printed, why in COUNTED:
        given = (
            f"{key} {value[0] if isinstance(value, tuple) else value}" for key, value in settings.items()
        )
        name = " ".join([f"`{method}`", *given])
        found = [counted(backbone, method, settings) for backbone in (VIT, SWIN)]
        cells = [one if isinstance(one, str) else "-" for one in found]
        lines.append(f"| {name} | {' | '.join(cells)} | {printed} | {why} |")
    return "\n".join([*lines, ""])


def with_families(text: str) -> str:
    """A document with the tables of families and of what fits which between its two comments."""
    lines = ["| timm's class | its module | such as |", "| --- | --- | --- |"]
    for one in FAMILIES:
        examples = ", ".join(f"`{name}`" for name in one.examples)
        lines.append(f"| `{one.kind}` | `{one.module}` | {examples} |")
    alike: dict[tuple[str, ...], list[str]] = {}
    for method, found in _fitting().items():
        marks = tuple("-" if isinstance(one, InputError) else "yes" for one in found)
        alike.setdefault(marks, []).append(f"`{method}`")
    lines += ["", f"| methods | {' | '.join(KINDS)} |", "| --- |" + " --- |" * len(KINDS)]
    lines += [f"| {', '.join(methods)} | {' | '.join(marks)} |" for marks, methods in alike.items()]
    tables = "\n".join(["", "", *lines, "", ""])
    return re.sub(r"(?<=<!-- families -->).*(?=<!-- /families -->)", lambda _: tables, text, flags=re.DOTALL)


@lru_cache
def _fitting() -> dict[str, list[str | InputError]]:
    """Of each method, its parameters on each kind or why not; peft may not be installed here."""
    return {
        method: [counted(name, method, NOAH if method == "noah" else {}) for name in KINDS.values()]
        for method in registry.names()
        if method != "peft"
    }


def _fits() -> str:
    reasons: list[str] = []
    lines = [_FITS, f"| | {' | '.join(KINDS)} |", "| --- |" + " ---: |" * len(KINDS)]
    for method, fitting in _fitting().items():
        cells = []
        for found in fitting:
            if isinstance(found, InputError):
                reason = str(found).partition("; found ")[2].rpartition(": ")[2]
                if reason not in reasons:
                    reasons.append(reason)
                found = chr(ord("a") + reasons.index(reason))
            cells.append(found)
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
    lines += ["", *(f"- {chr(ord('a') + number)}: {reason}" for number, reason in enumerate(reasons))]
    lines += ["", "Counted on " + ", ".join(f"`{name}`" for name in KINDS.values()) + ".", ""]
    return "\n".join(lines)


def _section(method: dict[str, Any]) -> str:
    fits = " and ".join(f"`{name}`" for name in method["fits"]) or "any model"
    lines = [f"## {method['name']}", "", f"{method['about']} Fits {fits}.", ""]
    if method["hyperparameters"]:
        lines += ["| hyperparameter | value | default | free |", "| --- | --- | --- | --- |"]
    for name, one in method["hyperparameters"].items():
        without = "required" if one["required"] else ""
        default = without if one["default"] is None else f"`{one['default']}`"
        free = "free" if one["changes no shape"] else ""
        lines.append(f"| `{name}` | {one['expected']} | {default} | {free} |")
    return "\n".join([*lines, ""] if method["hyperparameters"] else lines)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        document = Path(sys.argv[1])
        document.write_text(with_families(document.read_text()))
    else:
        print(page(), end="")
