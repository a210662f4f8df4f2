"""The method peft: its kinds, their hyperparameters, and what it refuses."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import typing
from typing import Any

import pytest
import torch
from torch import nn

from tests.methods.families import frozen, images
from tests.training.test_step import Stepped
from wst.errors import InputError
from wst.methods import registry
from wst.methods.peft import Kind, _config_class, _fields
from wst.models.create import count_without_weights, create_model, own_tensors, parameter_counts
from wst.records import Backbone
from wst.training.draws import seeded

peft = pytest.importorskip("peft")

SETTINGS: dict[str, dict[str, Any]] = {
    "boft": {"block_size": 4},
    "c3a": {"block_size": 16},
    "fourierft": {"n_frequency": 50},
    "gralora": {"r": 4},
    "ia3": {"target_modules": ("qkv", "fc2")},
    "miss": {"r": 2},
    "oft": {"block_size": 8},
    "road": {"group_size": 16},
    "vblora": {"num_vectors": 8, "vector_length": 8},
    "waveft": {"n_frequency": 50},
}
KINDS = typing.get_args(Kind)
NOT_AS_THE_BACKBONE = {"c3a", "fourierft", "unilora", "vblora"}
"""Kinds that peft starts near the backbone."""
NOT_TAKEN = """
adapter_layers alora_invocation_tokens alpha_pattern arrow_config auto_mapping base_model_name_or_path
block_size_pattern corda_config ensure_weight_tying eva_config exclude_modules fan_in_fan_out inference_mode
kasa_config lambda_pattern layer_replication layers_pattern loftq_config lora_ga_config megatron_config
megatron_core modules_to_save monteclora_config n_frequency_pattern peft_type peft_version qalora_group_size
rank_pattern revision runtime_config target_parameters task_type trainable_token_indices use_bdlora
use_effective_conv2d use_qalora velora_config
"""
"""Fields of other layers and models, of tables by the maps' names, of data and of quantised weights."""
NOT_TUNED = "generator_seed save_indices save_only_topk_weights save_precomputed_indices save_projection"
"""Fields of how peft saves, and of a generator beside PyTorch's own."""
ELSEWHERE = {"feedforward_modules", "use_dora", "layers_to_transform"}
"""Fields that hyperparameters set in ways of their own."""


def attached(kind: str, seed: int = 2, family: str = "vit", **others: Any) -> nn.Module:
    torch.manual_seed(seed)
    settings = SETTINGS.get(kind, {}) | others
    return registry.get("peft")(frozen(family), kind=kind, **settings)


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def step(model: nn.Module) -> None:
    nn.functional.cross_entropy(model(images().double()), torch.arange(4)).backward()
    torch.optim.SGD(trained(model).values(), lr=0.1).step()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_starts_trains_and_is_made_again_of_its_own_tensors(kind: str) -> None:
    """Whatever the generator's state was when the second model was made.  In double precision, where a small
    change is one."""
    model = attached(kind).eval()
    with torch.no_grad():
        same = torch.allclose(model(images()), frozen("vit").eval()(images()), rtol=1e-5, atol=1e-6)
    assert same == (kind not in NOT_AS_THE_BACKBONE)
    model = model.double()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    own = trained(model)
    for _ in range(2):
        step(model.train())
    assert {name for name, p in model.named_parameters() if not torch.equal(p, before[name])} == set(own)
    again = attached(kind, seed=7).double()
    with torch.no_grad():
        for name, tensor in own_tensors(again).items():
            tensor.copy_(own_tensors(model)[name])
    assert torch.equal(again.eval()(images().double()), model.eval()(images().double()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_a_function_of_the_own_tensors(kind: str) -> None:
    """As training computes it, with tensors in the parameters' place; which are there again afterwards."""
    stepped = Stepped(attached(kind))
    before = trained(stepped.model)
    loss, gradients = stepped()
    after = trained(stepped.model)
    assert before.keys() == after.keys() and all(after[name] is p for name, p in before.items())
    with seeded(stepped.draw.seed, torch.device("cpu")):
        logits = stepped.model(stepped.images())
        expected = nn.functional.cross_entropy(logits, stepped.labels(), label_smoothing=0.1)
    expected.backward()
    torch.testing.assert_close(loss, expected.detach())
    for name, parameter in before.items():
        if parameter.grad is not None:
            torch.testing.assert_close(gradients[name], parameter.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_counted_without_weights(kind: str) -> None:
    settings = {"kind": kind, **SETTINGS.get(kind, {})}
    model = create_model("micro", method="peft", num_classes=1, **settings)
    assert count_without_weights(Backbone("micro"), "peft", settings) == parameter_counts(model)


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_each_kind_merges_into_the_model_or_says_that_it_does_not(kind: str) -> None:
    merge = registry.get("peft").merge
    assert merge is not None
    model = attached(kind).eval()
    for parameter in trained(model).values():
        parameter.add_(0.01 * torch.randn_like(parameter))
    expected = model(images())
    if kind == "lily":
        with pytest.raises(InputError, match="expected a kind that merges; found"):
            merge(model)
        return
    merged = merge(model)
    assert type(merged) is type(frozen("vit"))
    torch.testing.assert_close(merged(images()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_kind_is_reached_or_known(kind: str) -> None:
    """A field that peft gains shows up here."""
    reached = set()
    for name, parameter in registry.get("peft").parameters.items():
        for value in parameter.choices or (1,):
            if name not in ("kind", "readout"):
                with contextlib.suppress(InputError):
                    reached |= set(_fields(peft, kind, {name: value}))
    left = {
        field.name
        for field in dataclasses.fields(_config_class(peft, kind))
        # Those ask whether to start as the paper does.
        if not (field.name.startswith("init_") and isinstance(field.default, bool))
    }
    left -= {*reached, *ELSEWHERE, *NOT_TAKEN.split(), *NOT_TUNED.split()}
    assert left == set()


def test_hyperparameters_become_fields_of_the_config() -> None:
    def config(kind: str, **others: Any) -> Any:
        return attached(kind, **others).peft_config["default"]  # type: ignore[index]

    lora = config("lora", r=4, alpha=6, dropout=0.1, use_rslora=True, bias="only", init="gaussian")
    found = (lora.r, lora.lora_alpha, lora.lora_dropout, lora.use_rslora, lora.bias, lora.init_lora_weights)
    assert found == (4, 6.0, 0.1, True, "lora_only", "gaussian")
    assert config("dora").use_dora and not config("lora").use_dora
    assert config("vera", r=4, random_seed=5, d_initial=0.2).projection_prng_key == 5
    assert config("fourierft", random_seed=5, scaling=10.0).random_loc_seed == 5
    torch.manual_seed(0)
    four_blocks = registry.get("peft")(frozen("vit"), kind="oft", r=4)
    assert {p.shape for name, p in trained(four_blocks).items() if "oft_R" in name} == {(4, 8 * 7 // 2)}
    assert config("hra", r=2, apply_gs=True).apply_GS
    assert config("randlora", r=4).randlora_alpha == peft.RandLoraConfig().randlora_alpha


@pytest.mark.parametrize("init", ["gaussian", "olora", "orthogonal", "pissa"])
def test_lora_may_start_elsewhere(init: str) -> None:
    model = attached("lora", r=2, init=init).eval()
    torch.testing.assert_close(model(images()), frozen("vit").eval()(images()), rtol=1e-4, atol=1e-5)


def test_targets_are_maps_of_the_blocks_alone() -> None:
    """Not the patch embedding's ``proj``, nor the head."""

    def targets(*ends: str, **others: Any) -> set[str]:
        model = attached("lora", r=2, target_modules=ends, **others)
        return {name.partition(".lora_A")[0] for name in trained(model) if "lora_A" in name}

    start = "base_model.model.blocks"
    assert targets("proj") == {f"{start}.{i}.attn.proj" for i in range(3)}
    assert targets("mlp.fc1", "qkv", layers_to_transform=(2,)) == {
        f"{start}.2.attn.qkv",
        f"{start}.2.mlp.fc1",
    }
    model = attached("lora", family="eva with separate maps and a gated MLP", target_modules=("q_proj",))
    assert sum("lora_A" in name for name in trained(model)) == 3
    untouched = registry.get("peft").untouched
    assert untouched(frozen("vit"), layers_to_transform=(2, 1)) == 1 and untouched(frozen("vit")) == 0
    assert untouched(frozen("vit"), layers_to_transform=(2, 1), bias="all") == 0


def test_biases_train_where_asked() -> None:
    of_the_map = "base_model.model.blocks.0.attn.qkv.base_layer.bias"
    assert of_the_map not in trained(attached("lora"))
    only = trained(attached("lora", bias="only"))
    assert of_the_map in only and "base_model.model.norm.bias" not in only
    assert "base_model.model.norm.bias" in trained(attached("lora", bias="all"))


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"kind": "ia3", "r": 2}, "r of peft: expected none where kind is ia3; found 2"),
        ({"kind": "vera", "alpha": 2}, "alpha of peft: expected none where kind is vera; found 2.0"),
        ({"kind": "oft", "init": "pissa"}, "init of peft: expected none where kind is oft; found 'pissa'"),
        (
            {"kind": "miss", "init": "pissa"},
            "init of peft: expected one of bat, mini where kind is miss; found 'pissa'",
        ),
        ({"kind": "adalora"}, "kind of peft: expected one of lora, .*; found 'adalora'"),
        ({"r": 0}, "r of peft: expected a whole number of at least 1; found 0"),
        ({"r": None}, "r of peft: expected a whole number of at least 1; found null"),
        (
            {"target_modules": ["query"]},
            "target_modules of peft: expected ends of attn.proj, attn.qkv, mlp.fc1, mlp.fc2; found 'query'",
        ),
        (
            {"layers_to_transform": [3]},
            "layers_to_transform of peft: expected blocks below 3; found 3",
        ),
        (
            {"kind": "oft", "block_size": 7},
            r"method peft: expected values that fit the maps' widths; found: Invalid `oft_block_size` \(7\)",
        ),
        ({"kind": "c3a", "block_size": 7}, "method peft: expected a model with .*; found ValueError: .*7"),
        ({"kind": "oft", "r": 4, "block_size": 8}, "method peft: expected a model with .*; found ValueError"),
    ],
)
def test_what_does_not_fit_says_so_in_one_line(settings: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=f"^{line}") as refused:
        registry.get("peft")(frozen("vit"), **settings)
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="the extension may be built here")
def test_butterflies_that_boft_cannot_make_are_refused() -> None:
    with pytest.raises(InputError, match="n_butterfly_factor of peft: expected 1 on a machine"):
        attached("boft", n_butterfly_factor=2)


def test_without_peft_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(InputError, match=r"method peft: expected its library \(pip install 'wst\[peft\]'\)"):
        create_model("micro", method="peft", num_classes=2)
    assert registry.described("peft")["name"] == "peft"


def test_our_lora_on_qkv_is_pefts() -> None:
    """With the tensors copied across: outputs and gradients."""
    r, scale = 3, 0.75  # a number that both hold exactly
    theirs = attached("lora", r=r, alpha=scale * r).double()
    ours = registry.get("lora")(frozen("vit"), r=r, scale=scale, targets="qkv").double()
    pairs = []
    generator = torch.Generator().manual_seed(3)
    for mine, block in zip(ours.blocks, theirs.get_base_model().blocks, strict=True):
        mine, own = mine.attn.qkv, block.attn.qkv
        for tensor, other in ((mine.a, own.lora_A["default"].weight), (mine.b, own.lora_B["default"].weight)):
            with torch.no_grad():
                tensor[0] = torch.randn(other.shape, generator=generator, dtype=torch.float64)
                other.copy_(tensor[0])
            pairs.append((tensor, other))
    batch = images().double()
    torch.testing.assert_close(ours(batch), theirs(batch), rtol=1e-12, atol=1e-12)
    for model in (ours, theirs):
        nn.functional.cross_entropy(model(batch), torch.arange(4)).backward()
    for tensor, other in pairs:
        assert tensor.grad is not None and other.grad is not None and other.grad.abs().max() > 0
        torch.testing.assert_close(tensor.grad[0], other.grad, rtol=1e-10, atol=1e-12)
