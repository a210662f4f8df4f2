"""Adapters in the authors' form: names, round trips, strictness."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from timm.models import SwinTransformer
from torch import Tensor, nn

from wst.errors import InputError
from wst.methods.wst.adapt import adapt
from wst.models.backbones import create
from wst.models.released import export_released_adapter, load_released_adapter
from wst.records import Backbone


def tuned_vit(seed: int = 0, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    return shaken(adapt(create(Backbone("micro"), num_classes=3), scale=0.5, **options))


def tuned_swin(seed: int = 0, **options: object) -> nn.Module:
    backbone = SwinTransformer(
        img_size=32, embed_dim=16, depths=(1, 2), num_heads=(1, 2), window_size=4, num_classes=3
    )
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.fill_(0.01)
    backbone.requires_grad_(False).get_classifier().requires_grad_(True)
    torch.manual_seed(seed)
    return shaken(adapt(backbone, scale=0.5, **options))


def shaken(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter))
    return model.eval()


MODELS = {"vit": tuned_vit, "swin": tuned_swin}


def linear(prefix: str) -> list[str]:
    return [f"{prefix}.weight", f"{prefix}.bias"]


def names_of_authors(kind: str) -> list[str]:
    blocks = {
        "vit": [f"blocks.{number}" for number in range(4)],
        "swin": ["layers.0.blocks.0", "layers.1.blocks.0", "layers.1.blocks.1"],
    }[kind]
    names = linear("small_patch_embed.proj") + (linear("small_patch_embed.norm") if kind == "swin" else [])
    for block in blocks:
        names += linear(f"{block}.waveblock.adapter_down") + linear(f"{block}.waveblock.adapter_up")
    return names + linear("head")


@pytest.mark.parametrize("kind", MODELS)
def test_names_are_the_authors(kind: str) -> None:
    assert list(export_released_adapter(MODELS[kind]())) == names_of_authors(kind)


@pytest.mark.parametrize(
    ("name", "r", "tuned"),
    [("vit_base_patch16_224", 2, 83_160), ("swin_base_patch4_window7_224", 4, 108_864)],
)
def test_shapes_are_the_authors(name: str, r: int, tuned: int) -> None:
    """A made-up file of the shapes that the scripts save at 10 classes loads, and has their count."""
    backbone = timm.create_model(name, num_classes=10)
    backbone.requires_grad_(False).get_classifier().requires_grad_(True)
    model = adapt(backbone, r=r)
    swin = name.startswith("swin")
    shapes = {
        "small_patch_embed.proj.weight": (32, 3, 2, 2) if swin else (192, 3, 8, 8),
        "small_patch_embed.proj.bias": (32,) if swin else (192,),
        "head.weight": (10, 1024 if swin else 768),
        "head.bias": (10,),
    }
    if swin:
        shapes |= {"small_patch_embed.norm.weight": (32,), "small_patch_embed.norm.bias": (32,)}
        stages = zip((2, 2, 18, 2), (128, 256, 512, 1024), strict=True)
        blocks = {
            f"layers.{s}.blocks.{b}": width for s, (depth, width) in enumerate(stages) for b in range(depth)
        }
    else:
        blocks = {f"blocks.{b}": 768 for b in range(12)}
    for block, width in blocks.items():
        shapes[f"{block}.waveblock.adapter_down.weight"] = (r, width)
        shapes[f"{block}.waveblock.adapter_down.bias"] = (r,)
        shapes[f"{block}.waveblock.adapter_up.weight"] = (width, r)
        shapes[f"{block}.waveblock.adapter_up.bias"] = (width,)
    tensors = {key: torch.randn(shape) for key, shape in shapes.items()}
    load_released_adapter(model, tensors)
    assert all(torch.equal(value, tensors[key]) for key, value in export_released_adapter(model).items())
    assert sum(t.numel() for key, t in tensors.items() if not key.startswith("head.")) == tuned


@pytest.mark.parametrize("kind", MODELS)
def test_round_trip_through_a_file_gives_the_same_model(kind: str, tmp_path: Path) -> None:
    source, model = MODELS[kind](1), MODELS[kind](2)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(model(images), source(images))
        path = tmp_path / "final_save_model.pt"
        torch.save(export_released_adapter(source), path)
        load_released_adapter(model, path)
        assert torch.equal(model(images), source(images))


def test_an_export_is_a_copy() -> None:
    model = tuned_vit()
    exported = export_released_adapter(model)
    with torch.no_grad():
        model.get_classifier().bias.add_(1)
    assert not torch.equal(exported["head.bias"], model.get_classifier().bias)


@pytest.mark.parametrize("kind", MODELS)
def test_every_missing_surplus_or_wrongly_shaped_key_is_named(kind: str) -> None:
    model = MODELS[kind](1)
    before = export_released_adapter(model)
    good = export_released_adapter(MODELS[kind](2))
    broken: list[tuple[str, dict[str, Tensor]]] = []
    for name, tensor in good.items():
        broken.append((f"missing keys {name}", {k: v for k, v in good.items() if k != name}))
        broken.append((f"wrongly shaped keys {name}", good | {name: tensor[:-1]}))
    broken.append(("surplus keys blocks.9.extra", good | {"blocks.9.extra": torch.zeros(1)}))
    for message, tensors in broken:
        with pytest.raises(InputError) as caught:
            load_released_adapter(model, tensors)
        assert str(caught.value).endswith(f"found {message}")
        assert all(torch.equal(value, before[key]) for key, value in export_released_adapter(model).items())


def test_another_number_of_classes_is_named(tmp_path: Path) -> None:
    torch.save(export_released_adapter(tuned_vit()), tmp_path / "a.pt")
    model = adapt(create(Backbone("micro"), num_classes=7))
    with pytest.raises(InputError, match=r"a\.pt: .*found wrongly shaped keys head\.bias head\.weight"):
        load_released_adapter(model, tmp_path / "a.pt")


@pytest.mark.parametrize(
    "options",
    [{"downsampling": "space_to_depth"}, {"blocks": "first-half"}, {"previous_state": False}],
    ids=str,
)
def test_another_design_is_refused(options: dict[str, object]) -> None:
    model = tuned_vit(**options)
    with pytest.raises(InputError, match="in the paper's design; found Design"):
        export_released_adapter(model)
    with pytest.raises(InputError, match="in the paper's design; found Design"):
        load_released_adapter(model, export_released_adapter(tuned_vit()))


def test_other_methods_and_other_content_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"tuned by wst .*; found VisionTransformer"):
        export_released_adapter(create(Backbone("micro"), num_classes=3))
    with pytest.raises(InputError, match="expected tensors by name; found something else"):
        load_released_adapter(tuned_vit(), {"head.bias": [0.0]})  # type: ignore[dict-item]
    with pytest.raises(InputError, match=r"none\.pt: expected a weights file; found none"):
        load_released_adapter(tuned_vit(), tmp_path / "none.pt")
