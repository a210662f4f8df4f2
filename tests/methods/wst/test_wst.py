"""WST on ViT and Swin: the published form as reference, counts, the design space, refusals."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest
import timm
import torch
from timm.models import SwinTransformer, VisionTransformer
from timm.models.deit import VisionTransformerDistilled
from torch import Tensor, nn

from tests.methods.wst.literal_wst import TRANSFORMS, literal_swin, literal_vit
from wst.errors import InputError
from wst.methods.wst.adapt import adapt
from wst.methods.wst.branch import BLOCK_CHOICES, DOWNSAMPLINGS, LEVELS, WaveletTuned
from wst.models.backbones import create
from wst.models.create import parameter_counts
from wst.models.freezing import single_head
from wst.records import Backbone

CLASSES = 5
PREFIXES = {
    "no prefix": {"class_token": False, "global_pool": "avg"},
    "class": {},
    "class and registers": {"reg_tokens": 3, "no_embed_class": True},
    "pre-norm and layer scale": {"pre_norm": True, "init_values": 0.1},
    "class and distillation": None,
}


def frozen(model: nn.Module) -> nn.Module:
    model.requires_grad_(False)
    model.get_classifier().requires_grad_(True)
    return model


def small_vit(size: tuple[int, int] = (32, 32), prefix: str = "class", width: int = 32) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"img_size": size, "patch_size": 8, "embed_dim": width, "depth": 3, "num_heads": 2}
    options = PREFIXES[prefix]
    if options is None:
        model = VisionTransformerDistilled(**sizes, num_classes=CLASSES)
        single_head(model)
    else:
        model = VisionTransformer(**sizes, num_classes=CLASSES, **options)
    return frozen(model)


def small_swin(size: tuple[int, int] = (32, 32), width: int = 16) -> nn.Module:
    torch.manual_seed(0)
    return frozen(
        SwinTransformer(
            img_size=size,
            embed_dim=width,
            depths=(2, 3, 1),
            num_heads=(2, 2, 4),
            window_size=4,
            num_classes=CLASSES,
            drop_path_rate=0.0,
        )
    )


def outputs_and_gradients(
    model: WaveletTuned, forward: Callable[[Tensor], Tensor], images: Tensor
) -> dict[str, Tensor]:
    model.zero_grad()
    logits = forward(images)
    logits.square().sum().backward()
    tuned = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    return {"logits": logits.detach(), **tuned}


def assert_forms_agree(
    model: WaveletTuned, literal: Callable[..., Tensor], images: Tensor, tolerance: float
) -> None:
    ours = outputs_and_gradients(model, model, images)
    published = outputs_and_gradients(model, lambda x: literal(model, x), images)
    assert len(ours) > 5
    for name, expected in published.items():
        largest = expected.abs().max()
        assert largest > 0, name
        assert (ours[name] - expected).abs().max() <= tolerance * largest, name


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(32, 32), (48, 32), (64, 64)])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_vit_equals_the_published_form(prefix: str, size: tuple[int, int], training: bool) -> None:
    model = adapt(small_vit(size, prefix), scale=0.7, r=3).train(training)
    assert_forms_agree(model, literal_vit, torch.randn(2, 3, *size), 1e-5)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("size", [(32, 32), (48, 80), (56, 56), (64, 64)])
def test_swin_equals_the_published_form(size: tuple[int, int], training: bool) -> None:
    """At 56 pixels the second merge has an odd grid (7 x 7) and pads it."""
    model = adapt(small_swin(size), scale=0.7, r=3).train(training)
    assert_forms_agree(model, literal_swin, torch.randn(2, 3, *size), 1e-5)


@pytest.mark.parametrize("small_patch", LEVELS)
@pytest.mark.parametrize("downsampling", TRANSFORMS)
def test_every_orthonormal_design_equals_its_published_form(downsampling: str, small_patch: str) -> None:
    for backbone, literal in ((small_vit((32, 48)), literal_vit), (small_swin((32, 48), 64), literal_swin)):
        model = adapt(backbone, scale=0.7, r=3, downsampling=downsampling, small_patch=small_patch).double()
        assert_forms_agree(model, literal, torch.randn(2, 3, 32, 48, dtype=torch.float64), 1e-9)


def test_stochastic_depth_takes_the_backbones_branches_and_never_the_wavelet_blocks() -> None:
    backbone = small_swin()
    for stage in backbone.layers:
        for block in stage.blocks:
            block.drop_path1 = block.drop_path2 = timm.layers.DropPath(1.0, scale_by_keep=False)
    model = adapt(backbone, scale=0.5, r=2).train()
    seen: dict[str, Tensor] = {}
    last = backbone.layers[-1].blocks[-1]
    last.register_forward_hook(lambda _, inputs, __: seen.update(tokens=inputs[0]))
    model.wavelet_blocks["5"].register_forward_hook(lambda _, __, out: seen.update(added=out))
    backbone.norm.register_forward_hook(lambda _, inputs, __: seen.update(out=inputs[0]))
    model(torch.randn(2, 3, 32, 32))
    torch.testing.assert_close(seen["out"], seen["tokens"] + 0.5 * seen["added"])


BACKBONES = {
    # name: (r, width of each block, small patch area, whether the small embedding has a norm)
    "vit_tiny_patch16_224": (2, [192] * 12, 64, False),
    "vit_small_patch16_224": (2, [384] * 12, 64, False),
    "vit_base_patch16_224": (2, [768] * 12, 64, False),
    "vit_large_patch16_224": (2, [1024] * 24, 64, False),
    "swin_tiny_patch4_window7_224": (4, [96] * 2 + [192] * 2 + [384] * 6 + [768] * 2, 4, True),
    "swin_small_patch4_window7_224": (4, [96] * 2 + [192] * 2 + [384] * 18 + [768] * 2, 4, True),
    "swin_base_patch4_window7_224": (4, [128] * 2 + [256] * 2 + [512] * 18 + [1024] * 2, 4, True),
}


def formula(widths: list[int], r: int, area: int, normalised: bool, channels: int) -> int:
    """Wavelet blocks of two linear maps with biases, a convolution with bias, a norm's weight and bias."""
    blocks = sum(2 * width * r + r + width for width in widths)
    return blocks + channels * (3 * area + 1) + 2 * channels * normalised


@pytest.mark.parametrize("name", BACKBONES)
def test_parameter_counts(name: str) -> None:
    r, widths, area, normalised = BACKBONES[name]
    with torch.device("meta"):
        model = adapt(frozen(timm.create_model(name, num_classes=100)), r=r)
    counts = parameter_counts(model)
    assert counts["trainable"] == formula(widths, r, area, normalised, widths[0] // 4)
    assert counts["head"] == 100 * widths[-1] + 100


def test_parameter_counts_of_the_paper() -> None:
    for name, expected in (("vit_base_patch16_224", 83_160), ("swin_base_patch4_window7_224", 108_864)):
        r, widths, area, normalised = BACKBONES[name]
        assert formula(widths, r, area, normalised, widths[0] // 4) == expected


CHOSEN = {
    "all": [0, 1, 2, 3, 4, 5],
    "first-half": [0, 1, 2],
    "last-half": [3, 4, 5],
    "every-second": [0, 2, 4],
}
CHOSEN_OF_THREE = {"all": [0, 1, 2], "first-half": [0, 1], "last-half": [1, 2], "every-second": [0, 2]}
CHANNELS = {
    # part of the width that the small patch embedding has, at half and at quarter patches
    "haar": (4, 16),
    "db2": (4, 16),
    "space_to_depth": (4, 16),
    "average": (1, 1),
    "stride": (1, 1),
}
DESIGNS = [
    *product(DOWNSAMPLINGS, LEVELS, BLOCK_CHOICES, [True], [True, False]),
    *product(["haar"], ["half"], BLOCK_CHOICES, [False], [True, False]),
]


@pytest.mark.slow  # trains
@pytest.mark.parametrize("kind", ["vit", "swin"])
@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: "-".join(map(str, design)))
def test_every_design_trains_all_it_has(kind: str, design: tuple[str, str, str, bool, bool]) -> None:
    downsampling, small_patch, blocks, small_branch, previous_state = design
    backbone = small_vit() if kind == "vit" else small_swin(width=64)
    model = adapt(
        backbone,
        r=2,
        downsampling=downsampling,
        small_patch=small_patch,
        blocks=blocks,
        small_branch=small_branch,
        previous_state=previous_state,
    )
    chosen = (CHOSEN_OF_THREE if kind == "vit" else CHOSEN)[blocks]
    assert list(model.wavelet_blocks) == [str(index) for index in chosen]
    widths = [32] * 3 if kind == "vit" else [64] * 2 + [128] * 3 + [256]
    level = list(LEVELS).index(small_patch)
    channels = widths[0] // CHANNELS[downsampling][level] if small_branch else 0
    area = (8 if kind == "vit" else 4) ** 2 // 4 ** (level + 1)
    expected = formula([widths[i] for i in chosen], 2, area, kind == "swin", channels)
    assert parameter_counts(model)["trainable"] == expected

    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    tuned = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimiser = torch.optim.SGD(tuned.values(), lr=1e-3)
    reached: set[str] = set()
    images, labels = torch.randn(4, 3, 32, 32), torch.arange(4)
    for _ in range(2):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        reached |= {name for name, p in tuned.items() if p.grad is not None and p.grad.abs().max() > 0}
        optimiser.step()
    assert reached == tuned.keys()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != (name in tuned), name


def recorded(
    model: WaveletTuned, images: Tensor
) -> tuple[dict[int, Tensor], dict[int, Tensor], list[Tensor]]:
    """Inputs and outputs of the wavelet blocks by their index, and the inputs of all transformer blocks."""
    read: dict[int, Tensor] = {}
    gave: dict[int, Tensor] = {}
    tokens: list[Tensor] = []

    def note(index: int) -> Callable[..., None]:
        def hook(_: nn.Module, inputs: tuple[Tensor], out: Tensor) -> None:
            read[index], gave[index] = inputs[0], out

        return hook

    for index, block in model.wavelet_blocks.items():
        block.register_forward_hook(note(int(index)))
    stages = [model.backbone] if isinstance(model.backbone, VisionTransformer) else model.backbone.layers
    for stage in stages:
        for block in stage.blocks:
            block.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0].clone()))
    with torch.no_grad():
        model(images)
    return read, gave, tokens


@pytest.mark.parametrize("small_branch", [True, False])
@pytest.mark.parametrize("previous_state", [True, False])
@pytest.mark.parametrize("blocks", BLOCK_CHOICES)
def test_what_a_wavelet_block_reads_in_each_design(
    blocks: str, previous_state: bool, small_branch: bool
) -> None:
    model = adapt(small_vit(), blocks=blocks, previous_state=previous_state, small_branch=small_branch)
    images = torch.randn(2, 3, 32, 32)
    read, gave, tokens = recorded(model, images)
    state = model.small_patch_embed(images).flatten(1, 2) if small_branch else torch.zeros(())
    for index, u in read.items():
        torch.testing.assert_close(u, state + tokens[index][:, 1:])
        if previous_state:
            state = gave[index]


@pytest.mark.parametrize("previous_state", [True, False])
def test_a_swin_stage_begins_with_the_merged_tokens_as_its_state(previous_state: bool) -> None:
    model = adapt(small_swin(), previous_state=previous_state)
    read, gave, tokens = recorded(model, torch.randn(2, 3, 32, 32))
    for first in (2, 5):
        torch.testing.assert_close(read[first], 2 * tokens[first])
    torch.testing.assert_close(read[3], (gave[2] if previous_state else tokens[2]) + tokens[3])


def test_scale_is_a_tensor_that_is_neither_trained_nor_kept() -> None:
    """So that models which differ in it alone are one computation."""
    model = adapt(small_vit(), scale=0.7)
    assert model.scale.shape == () and not model.scale.requires_grad
    assert "scale" not in model.state_dict() and "scale" not in dict(model.named_parameters())
    images, other = torch.randn(2, 3, 32, 32), adapt(small_vit(), scale=2.0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            other.get_parameter(name).copy_(parameter)
        substituted = torch.func.functional_call(model, {"scale": torch.tensor(2.0)}, images)
        assert torch.equal(substituted, other(images)) and not torch.equal(substituted, model(images))


def test_the_default_is_the_papers_design() -> None:
    explicit = adapt(
        small_vit(),
        scale=1.0,
        r=2,
        downsampling="haar",
        small_patch="half",
        blocks="all",
        small_branch=True,
        previous_state=True,
    )
    assert adapt(small_vit()).design == explicit.design


def test_random_start_is_that_of_the_paper_in_a_fixed_order() -> None:
    """The small convolution as torch starts it, then block by block truncated normal weights, biases 0."""
    backbone = create(Backbone("micro"), num_classes=CLASSES)
    torch.manual_seed(7)
    model = adapt(backbone, r=2)
    torch.manual_seed(7)
    convolution = nn.Conv2d(3, 24, kernel_size=4, stride=4)
    expected = {"small_patch_embed.weight": convolution.weight, "small_patch_embed.bias": convolution.bias}
    for index in range(4):
        layers = {"down": nn.Linear(96, 2), "up": nn.Linear(2, 96)}
        for name, layer in layers.items():
            nn.init.trunc_normal_(layer.weight, std=0.02)
            expected[f"wavelet_blocks.{index}.{name}.weight"] = layer.weight
            expected[f"wavelet_blocks.{index}.{name}.bias"] = torch.zeros_like(layer.bias)
    own = {name: p for name, p in model.named_parameters() if not name.startswith("backbone.")}
    assert list(own) == list(expected)
    for name, parameter in own.items():
        assert torch.equal(parameter, expected[name]), name


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: timm.create_model("swinv2_tiny_window8_256"),
            r"SwinTransformer; found SwinTransformerV2",
        ),
        (
            lambda: timm.create_model("resnet10t"),
            "VisionTransformer or Eva or Beit or SwinTransformer; found ResNet",
        ),
        (lambda: timm.create_model("vit_tiny_r_s16_p8_224"), "one convolution; found HybridEmbed"),
        (
            lambda: VisionTransformer(img_size=33, patch_size=11, embed_dim=32, depth=1, num_heads=1),
            "patch size divisible by 2; found 11 x 11",
        ),
        (
            lambda: VisionTransformer(img_size=32, patch_size=8, embed_dim=30, depth=1, num_heads=1),
            "width divisible by 4; found 30",
        ),
        (
            lambda: VisionTransformer(img_size=31, patch_size=8, embed_dim=32, depth=1, num_heads=1),
            "whole patches of 8 pixels; found 31 x 31",
        ),
        (
            lambda: VisionTransformerDistilled(img_size=32, patch_size=8, embed_dim=32, num_heads=1),
            "one head; found a model with two",
        ),
    ],
)
def test_backbones_that_do_not_fit_are_refused(build: Callable[[], nn.Module], message: str) -> None:
    with torch.device("meta"):
        backbone = build()
    with pytest.raises(InputError, match=message) as caught:
        adapt(backbone)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"r": 0}, "r of wst: expected a whole number of at least 1; found 0"),
        ({"downsampling": "db3"}, "downsampling of wst: expected one of haar, .*; found 'db3'"),
        ({"small_patch": "third"}, "small_patch of wst: expected one of half, quarter; found 'third'"),
        ({"blocks": "none"}, "blocks of wst: expected one of all, .*; found 'none'"),
        ({"small_branch": 1}, "small_branch of wst: expected true or false; found 1"),
        ({"previous_state": "no"}, "previous_state of wst: expected true or false; found 'no'"),
    ],
)
def test_options_without_meaning_are_refused(option: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        adapt(small_vit(), **option)


def test_quarter_patches_need_divisible_patches() -> None:
    with torch.device("meta"):
        backbone = VisionTransformer(img_size=28, patch_size=14, embed_dim=32, depth=1, num_heads=1)
    with pytest.raises(InputError, match="patch size divisible by 4; found 14 x 14"):
        adapt(backbone, small_patch="quarter")


@pytest.mark.parametrize("downsampling", DOWNSAMPLINGS)
@pytest.mark.parametrize("build", [small_vit, small_swin])
def test_lower_precision_trains_too(build: Callable[[], nn.Module], downsampling: str) -> None:
    model = adapt(build(), downsampling=downsampling)
    images = torch.randn(2, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(images)
    logits.float().square().sum().backward()
    gradients = [p.grad for p in model.parameters() if p.requires_grad]
    assert all(g is not None and g.isfinite().all() and g.abs().max() > 0 for g in gradients)
    with torch.no_grad():
        torch.testing.assert_close(logits.float(), model(images), atol=0.05, rtol=0.05)
