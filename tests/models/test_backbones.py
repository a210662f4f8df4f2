"""Backbones: what is frozen, how the head starts, normalisation, fetched weights, the distilled head."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.data.constants import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn

from wst.errors import InputError
from wst.methods.wst.adapt import adapt
from wst.models.backbones import (
    checkpoint_file,
    checkpoint_hash,
    create,
    input_spec,
    micro_vit,
)
from wst.models.create import create_model
from wst.models.families import FAMILIES, MICRO, Family
from wst.models.freezing import single_head
from wst.records import Backbone, Normalisation
from wst.shipped import ASSETS

SMALL = "test_vit"  # timm's own, 0.37 M parameters


def test_the_head_alone_is_trainable_and_starts_small() -> None:
    torch.manual_seed(0)
    model = create(Backbone(MICRO), num_classes=500)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {"head.weight", "head.bias"}
    assert model.head.weight.shape == (500, 96)
    assert model.head.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert model.head.bias.count_nonzero() == 0


def test_micro_takes_its_own_weights_and_a_given_file() -> None:
    own = load_file(ASSETS / "micro.safetensors")
    model = create(Backbone(MICRO), num_classes=3)
    for name, value in model.state_dict().items():
        assert name.startswith("head.") or torch.equal(value, own[name])


def test_a_checkpoint_replaces_the_random_start(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = timm.create_model(SMALL, num_classes=9)
    path = tmp_path / "w.safetensors"
    save_file(source.state_dict(), path)
    model = create(Backbone(SMALL, str(path)), num_classes=4)
    assert torch.equal(model.blocks[0].mlp.fc1.weight, source.blocks[0].mlp.fc1.weight)
    assert model.head.weight.shape[0] == 4
    assert checkpoint_file(Backbone(SMALL, str(path))) == path
    assert checkpoint_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(InputError, match="checkpoint: expected a file; found none at nowhere"):
        create(Backbone(SMALL, "nowhere"), num_classes=4)


def test_image_size_and_drop_path_reach_the_model() -> None:
    backbone = Backbone(SMALL, image_size=96)
    model = create(backbone, num_classes=4, drop_path=0.3)
    assert input_spec(model, backbone).size == 96
    assert model.blocks[-1].drop_path1.drop_prob == pytest.approx(0.3)
    assert create(Backbone(MICRO, image_size=48), num_classes=4).patch_embed.img_size == (48, 48)


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        (MICRO, 30, "micro's patch of 8 pixels, such as 24 or 32; found 30"),
        (MICRO, 7, "such as 8; found 7"),
        (MICRO, 0, "such as 8; found 0"),
        (MICRO, 10**9, "such as 4096; found 1000000000"),
        (SMALL, 100, "of 16 pixels, such as 96 or 112; found 100"),
        ("swin_tiny_patch4_window7_224", 30, "of 4 pixels, such as 28 or 32; found 30"),
        ("vit_small_patch14_dinov2", 224 + 8, "of 14 pixels, such as 224 or 238; found 232"),
        ("vit_tiny_r_s16_p8_224", 80, "of 32 pixels, such as 64 or 96; found 80"),
    ],
)
@pytest.mark.parametrize("pretrained", [False, True])
def test_an_image_size_of_no_whole_patches_is_refused(
    name: str, size: int, words: str, pretrained: bool
) -> None:
    with pytest.raises(InputError) as refused:
        create(Backbone(name, pretrained=pretrained, image_size=size), num_classes=2)
    assert str(refused.value).startswith(f"image_size: expected a multiple of {name}'s patch of ")
    assert str(refused.value).endswith(words)


@pytest.mark.parametrize("method", ["linear", "wst"])
def test_the_image_size_is_checked_for_every_method(method: str) -> None:
    with pytest.raises(InputError, match="image_size: expected a multiple of micro's patch"):
        create_model(MICRO, method=method, num_classes=2, image_size=30)


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("vit_huge", None, "backbone: expected 'micro' or a timm model name (such as "),
        ("vit_huge", None, "; found 'vit_huge'"),
        ("vit_bas_patch16_224", None, "found 'vit_bas_patch16_224' (did you mean 'vit_base_patch16_224'?)"),
        ("mcro", None, "found 'mcro' (did you mean 'micro'?)"),
        ("", None, "found ''"),
        ("hf-hub:timm/resnet18.a1_in1k", None, "found 'hf-hub:timm/resnet18.a1_in1k'"),
        (
            "vit_base_patch16_224.nonsense",
            None,
            "for weights of vit_base_patch16_224 (augreg2_in21k_ft_",
        ),
        ("vit_base_patch16_224.nonsense", None, "found 'nonsense'"),
        ("vit_base_patch16_224.orig_in21", None, "found 'orig_in21' (did you mean 'orig_in21k'?)"),
        ("resnet18.", None, "for weights of resnet18 (a1_in1k, "),
        ("resnet18", 8, "image_size: expected 32 to 4096 pixels for resnet18; found 8"),
        ("resnet18", 10**9, "image_size: expected 32 to 4096 pixels for resnet18; found 1000000000"),
        ("efficientformer_l1", None, "whose head is one linear map; found 'efficientformer_l1'"),
    ],
)
@pytest.mark.parametrize("pretrained", [False, True])
def test_what_is_no_backbone_is_refused_in_one_line(
    name: str, size: int | None, words: str, pretrained: bool
) -> None:
    with pytest.raises(InputError) as refused, torch.device("meta"):
        create(Backbone(name, pretrained=pretrained and size is not None, image_size=size), num_classes=2)
    assert words in str(refused.value)


def test_paths_that_could_be_dropped_are_asked_for_only_where_there_are_some() -> None:
    with torch.device("meta"):
        assert create(Backbone("vgg11"), num_classes=2) is not None
        with pytest.raises(InputError) as refused:
            create(Backbone("vgg11"), num_classes=2, drop_path=0.1)
    assert str(refused.value) == (
        "drop_path: expected 0 for vgg11, which has no paths that could be dropped; found 0.1"
    )


@pytest.mark.parametrize(
    ("name", "normalisation", "mean", "std"),
    [
        (MICRO, "checkpoint", (0.5,) * 3, (0.5,) * 3),
        (MICRO, "imagenet", IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
        ("vit_base_patch16_224.orig_in21k", "checkpoint", (0.5,) * 3, (0.5,) * 3),
        ("vit_base_patch16_224.orig_in21k", "imagenet", IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
        ("swin_tiny_patch4_window7_224", "checkpoint", IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
        ("swin_tiny_patch4_window7_224", "half", (0.5,) * 3, (0.5,) * 3),
        ("deit_small_patch16_224", "checkpoint", IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD),
        ("deit_small_patch16_224", "half", (0.5,) * 3, (0.5,) * 3),
    ],
)
def test_normalisation(
    name: str, normalisation: Normalisation, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    with torch.device("meta"):
        model = timm.create_model(name) if name != MICRO else micro_vit()
    spec = input_spec(model, Backbone(name, normalisation=normalisation))
    assert (spec.mean, spec.std) == (mean, std)
    assert spec.describe_normalisation() == f"mean {'/'.join(map(str, mean))} std {'/'.join(map(str, std))}"


def hub(monkeypatch: pytest.MonkeyPatch, content: dict[str, Tensor] | Exception) -> None:
    """Stand in for the network: what timm's loader gets when it asks the hub for weights."""

    def answer(*_: object, **__: object) -> dict[str, Tensor]:
        if isinstance(content, Exception):
            raise content
        return content

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", answer)


def test_pretrained_weights_come_through_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(1)
    source = timm.create_model(SMALL)
    hub(monkeypatch, source.state_dict())
    model = create(Backbone(SMALL, pretrained=True), num_classes=4)
    for name, value in model.state_dict().items():
        assert name.startswith("head.") or torch.equal(value, source.state_dict()[name]), name
    assert model.head.weight.shape[0] == 4
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}


def test_pretrained_weights_that_do_not_come_or_fit_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    hub(monkeypatch, ConnectionError("no route\nto host"))
    with pytest.raises(
        InputError, match=r"pretrained: expected weights for test_vit .*\(ConnectionError: no route\)"
    ):
        create(Backbone(SMALL, pretrained=True), num_classes=4)
    weights = timm.create_model(SMALL).state_dict()
    del weights["norm.weight"]
    hub(monkeypatch, weights)
    with pytest.raises(InputError, match="pretrained: expected weights for test_vit"):
        create(Backbone(SMALL, pretrained=True), num_classes=4)
    with pytest.raises(InputError, match=r"pretrained: .*No pretrained weights exist"):
        create(Backbone("test_vit4", pretrained=True), num_classes=4)
    with pytest.raises(InputError, match=r"pretrained: expected no checkpoint beside it; found w\.pth"):
        create(Backbone(SMALL, "w.pth", pretrained=True), num_classes=4)


def distilled(classes: int = 5) -> VisionTransformerDistilled:
    torch.manual_seed(0)
    return VisionTransformerDistilled(
        img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=classes
    )


def test_a_distilled_model_keeps_both_tokens_and_one_head() -> None:
    two = distilled().eval()
    two.head_dist.load_state_dict(two.head.state_dict())
    one = distilled().eval()
    single_head(one)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(one(images), two(images))
    assert one.get_classifier() is one.head
    assert not [name for name, _ in one.named_parameters() if "head_dist" in name]
    one.requires_grad_(False).get_classifier().requires_grad_(True)
    assert adapt(one)(images).shape == (2, 5)


def test_distilled_models_are_created_with_one_head() -> None:
    model = create(Backbone("deit_tiny_distilled_patch16_224"), num_classes=4)
    assert isinstance(model.get_classifier(), nn.Linear)
    assert {n for n, p in model.named_parameters() if p.requires_grad} == {"head.weight", "head.bias"}
    assert model.num_prefix_tokens == 2


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.module)
def test_examples_are_models_of_their_family(family: Family) -> None:
    assert set(family.names()) >= {name.partition(".")[0] for name in family.examples}
    for name in family.examples:
        assert timm.get_pretrained_cfg(name) is not None
        with torch.device("meta"):
            model = timm.create_model(name)
        assert any(kind.__name__ == family.kind for kind in type(model).__mro__)


def test_an_old_name_is_told_once_in_our_words(caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("error")
        for _ in range(2):
            create(Backbone("vit_tiny_patch16_224_in21k"), num_classes=2)
    assert [one.getMessage() for one in caplog.records] == [
        "wst: backbone: vit_tiny_patch16_224_in21k is called vit_tiny_patch16_224.augreg_in21k now"
    ]
