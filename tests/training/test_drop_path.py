from __future__ import annotations

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.layers import DropPath
from timm.models import SwinTransformer
from torch import Tensor, nn

from tests.training.test_step import Stepped
from wst.methods import registry
from wst.models.create import create_model
from wst.training.drop_path import MaskedDropPath, StochasticDepth


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.floats(0.01, 0.99), st.booleans(), st.integers(0, 2**32 - 1))
def test_masks_have_timms_rate_and_expectation(rate: float, scaled: bool, seed: int) -> None:
    depth = StochasticDepth(nn.Sequential(DropPath(rate, scale_by_keep=scaled)))
    masks = depth.draw(100, 32, _generator(seed))
    assert masks.shape == (100, 1, 32)
    keep = 1 - rate
    kept = masks > 0
    values = torch.full_like(masks, 1 / keep if scaled else 1.0)
    torch.testing.assert_close(masks, torch.where(kept, values, 0.0))
    deviation = (keep * rate / masks.numel()) ** 0.5
    assert abs(kept.double().mean().item() - keep) < 6 * deviation


def test_each_module_has_its_own_rate_and_each_image_its_own_mask() -> None:
    depth = StochasticDepth(nn.Sequential(DropPath(0.1), DropPath(0.0), nn.Identity(), DropPath(0.6)))
    assert depth.names == ("0", "3")
    kept = (depth.draw(1000, 16, _generator(0)) > 0).double()
    torch.testing.assert_close(kept.mean((0, 2)).float(), torch.tensor([0.9, 0.4]), atol=0.02, rtol=0)
    # independent between modules, images and steps
    flat = kept.movedim(1, 0)
    for a, b in (
        (flat[0].flatten(), flat[1].flatten()),
        (flat[0][:, 0], flat[0][:, 1]),
        (flat[0][:-1, 0], flat[0][1:, 0]),
    ):
        assert abs(torch.corrcoef(torch.stack([a, b]))[0, 1]) < 0.15


def test_rate_one_drops_all_and_divides_by_nothing() -> None:
    depth = StochasticDepth(nn.Sequential(DropPath(1.0)))
    assert torch.equal(depth.draw(2, 3, _generator(0)), torch.zeros(2, 1, 3))


def test_a_module_in_two_places_takes_two_masks() -> None:
    shared = DropPath(0.5)
    model = nn.ModuleDict({"a": shared, "b": shared})
    assert StochasticDepth(model).names == ("a", "b") and model["a"] is not model["b"]


@pytest.mark.parametrize("method", ["wst", "lora"])
@pytest.mark.parametrize("backbone", ["micro", "swin"])
def test_what_is_dropped_need_not_be_computed(backbone: str, method: str) -> None:
    """Losses and gradients are those of branches that are computed and multiplied with zero."""
    torch.manual_seed(0)
    if backbone == "swin":
        swin = SwinTransformer(
            img_size=32,
            patch_size=2,
            embed_dim=16,
            depths=(2, 2),
            num_heads=(2, 2),
            window_size=4,
            num_classes=3,
        )
        for block in (block for stage in swin.layers for block in stage.blocks):
            block.drop_path1, block.drop_path2 = DropPath(0.5), DropPath(0.5)
        model = registry.get(method)(swin)
    else:
        model = create_model(backbone, method=method, num_classes=3, drop_path=0.5)
    stepped = Stepped(model)
    with torch.no_grad():
        for tensor in stepped.trainable.values():
            tensor += 0.05 * torch.randn_like(tensor)
    assert not stepped.draw.masks.all()
    seen: list[int] = []
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    loss, gradients = stepped()
    assert min(seen) < 8
    stepped.depth.keep_shapes()
    seen.clear()
    expected, others = stepped()
    assert set(seen) == {8}
    torch.testing.assert_close(loss, expected)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, others[name], rtol=1e-4, atol=1e-6)


def test_model_without_stochastic_depth_has_empty_masks() -> None:
    depth = StochasticDepth(create_model("micro", num_classes=3))
    masks = depth.draw(5, 8, _generator(0))
    assert masks.shape == (5, 0, 8) and depth.buffers(masks[0]) == {}


def test_rates_grow_over_the_blocks_of_both_backbones() -> None:
    vit = create_model("micro", num_classes=3, drop_path=0.3)
    swin = timm.create_model("swin_tiny_patch4_window7_224", drop_path_rate=0.3)
    for model, blocks in ((vit, 4), (swin, 12)):
        expected = torch.linspace(0, 0.3, blocks)[1:].repeat_interleave(2)
        depth = StochasticDepth(model)
        assert len(depth.names) == 2 * (blocks - 1)  # the first block drops nothing
        dropped = (depth.draw(400, 32, _generator(1)) == 0).double().mean((0, 2)).float()
        torch.testing.assert_close(dropped, expected, atol=0.02, rtol=0)
        assert not any(isinstance(m, DropPath) for m in model.modules())


def _multiplied(module: MaskedDropPath, branch: Tensor, mask: Tensor) -> Tensor:
    result: Tensor = torch.func.functional_call(module, {"mask": mask}, branch)
    return result


def test_a_mask_multiplies_whole_branches_in_training_only() -> None:
    module, mask = MaskedDropPath(), torch.tensor([0.0, 2.0])
    for shape in ((2, 5), (2, 5, 3), (2, 5, 3, 4)):
        branch = torch.randn(shape)
        expected = torch.stack([torch.zeros(shape[1:]), 2 * branch[1]])
        assert torch.equal(_multiplied(module.train(), branch, mask), expected)
        assert torch.equal(_multiplied(module.eval(), branch, mask), branch)
        assert torch.equal(module.train()(branch), branch)  # its own mask drops nothing
    assert _multiplied(module, branch.bfloat16(), mask).dtype == torch.bfloat16
    assert module.state_dict() == {}
