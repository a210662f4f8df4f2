"""What holds of every method, whichever it is."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.methods import plain
from tests.methods.families import FAMILIES, frozen, images
from tests.methods.wst.literal_wst import literal_vit
from wst.errors import InputError
from wst.methods import registry
from wst.models.create import own_tensors


@dataclass(frozen=True)
class Case:
    """A method with settings, and what its definition says of it."""

    method: str
    settings: dict[str, Any] = field(default_factory=dict)
    reference: type[plain.Plain] | None = None
    starts_as_the_backbone: bool = True
    fits: tuple[str, ...] = tuple(FAMILIES)


_NOT_SWIN = tuple(name for name in FAMILIES if "swin" not in name)
_VPT = tuple(name for name in _NOT_SWIN if "beit" not in name)
_SMALL = {"r": 2}
CASES = {
    "linear": Case("linear", {}, plain.Plain),
    "full": Case("full", {}, plain.Trained),
    "bitfit": Case("bitfit", {}, plain.Trained),
    "layernorm": Case("layernorm", {}, plain.Trained),
    "vpt_shallow": Case("vpt_shallow", {"prompts": 3}, plain.VPTShallow, False, _VPT),
    "vpt_deep": Case("vpt_deep", {"prompts": 3}, plain.VPTDeep, False, (*_VPT, "swin")),
    "adapter": Case("adapter", _SMALL | {"scale": 0.7}, plain.Adapter, False),
    "adapter, houlsby": Case("adapter", _SMALL | {"position": "houlsby"}, plain.Houlsby, False),
    "adaptformer": Case("adaptformer", {"r": 8}, plain.AdaptFormer),
    "adapter_plus": Case("adapter_plus", _SMALL, plain.AdapterPlus, False),
    "lora": Case("lora", _SMALL | {"scale": 0.7}, plain.LoRAqv),
    "lora, qkv": Case("lora", _SMALL | {"targets": "qkv"}, plain.LoRAqkv),
    "peft, lora": Case("peft", _SMALL | {"alpha": 1.4}, plain.PeftLoRA),
    "peft, dora": Case("peft", _SMALL | {"kind": "dora", "alpha": 1.4}, plain.PeftDoRA),
    "peft, loha": Case("peft", _SMALL | {"kind": "loha", "alpha": 1.4}, plain.PeftLoHa),
    "peft, lokr": Case("peft", _SMALL | {"kind": "lokr", "alpha": 1.4}, plain.PeftLoKr),
    "peft, oft": Case("peft", {"kind": "oft", "block_size": 8, "use_cayley_neumann": False}, plain.PeftOFT),
    "peft, hra": Case("peft", _SMALL | {"kind": "hra"}, plain.PeftHRA),
    "peft, vera": Case("peft", {"kind": "vera", "r": 4}, plain.PeftVeRA),
    "peft, ia3": Case("peft", {"kind": "ia3", "target_modules": ("qkv", "fc2")}, plain.PeftIA3),
    "ssf": Case("ssf", {}, plain.SSF, False),
    "convpass": Case("convpass", _SMALL | {"scale": 0.7}, plain.Convpass),
    "convpass, identity": Case("convpass", _SMALL | {"conv_init": "identity"}, plain.Convpass),
    "fact_tt": Case("fact_tt", _SMALL | {"scale": 0.7}, plain.FacT, fits=_NOT_SWIN),
    "fact_tk": Case("fact_tk", {"r": 3}, plain.FacTTK, fits=_NOT_SWIN),
    "repadapter": Case("repadapter", {"r": 4, "scale": 0.7}, plain.RepAdapter),
    "dtl": Case("dtl", {}, plain.DTL),
    "dtl+": Case("dtl", {"kernel": 3}, plain.DTLPlus),
    "lst": Case("lst", {"r": 4}, plain.LST, False, _NOT_SWIN),
    "noah": Case(
        "noah",
        {"prompt_sizes": (0, 2, 3), "lora_sizes": (2, 1, 0), "adapter_sizes": (2, 0, 3)},
        plain.NOAH,
        False,
        _VPT,
    ),
    "wst": Case("wst", {}, None, False, (*_NOT_SWIN, "swin")),
}
PAIRS = [(case, family) for case, one in CASES.items() for family in one.fits]
THREE = [pair for pair in PAIRS if pair[1] in ("vit with registers and layer scale", "eva", "swin")]
"""One family of each kind of blocks, for what takes a while."""


def attached(case: str, family: str, rate: float = 0.0) -> nn.Module:
    """The same at every call."""
    return made(case, frozen(family, rate))


def made(case: str, backbone: nn.Module, **others: str) -> nn.Module:
    if CASES[case].method == "peft":
        pytest.importorskip("peft")
    torch.manual_seed(2)
    return registry.get(CASES[case].method)(backbone, **CASES[case].settings, **others)


def trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def moved(model: nn.Module) -> nn.Module:
    """All that is trained away from where it started, so that no zero hides a fault."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in trained(model).values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def step(model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    like = next(model.parameters())
    nn.functional.cross_entropy(model(images().to(like)), torch.arange(4)).backward()
    optimiser.step()


def test_every_method_is_here() -> None:
    assert {case.method for case in CASES.values()} == set(registry.names())


@pytest.mark.parametrize("case", [name for name, case in CASES.items() if case.reference])
@torch.no_grad()
def test_it_computes_its_formula(case: str) -> None:
    model = moved(attached(case, "vit")).eval()
    expected = CASES[case].reference(frozen("vit").eval(), model).logits(images())
    torch.testing.assert_close(model(images()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", [family for family in FAMILIES if "swin" not in family])
@torch.no_grad()
def test_wst_computes_the_published_form(family: str) -> None:
    """ViT and Swin in all their sizes: tests/methods/wst/test_wst.py."""
    model = moved(attached("wst", family)).eval()
    torch.testing.assert_close(model(images()), literal_vit(model, images()), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "family"), PAIRS)
@torch.no_grad()
def test_it_starts_where_it_should(case: str, family: str) -> None:
    """As the frozen backbone, read as the method reads, where it is defined to; near it or not at all where
    not."""
    model, backbone = attached(case, family).eval(), frozen(family).eval()
    if CASES[case].method == "dtl" and "swin" not in family:
        backbone = registry.get("linear")(backbone, readout="mean")
    same = torch.allclose(model(images()), backbone(images()), rtol=1e-5, atol=1e-6)
    assert same == CASES[case].starts_as_the_backbone


@pytest.mark.slow  # trains
@pytest.mark.parametrize(("case", "family"), THREE)
def test_all_that_is_its_own_trains_and_nothing_else(case: str, family: str) -> None:
    """Each tensor has a gradient within two steps, which dead initialisations of public code have not.

    In double precision, where a small change is one.
    """
    model = attached(case, family).double().train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    own = trained(model)
    optimiser = torch.optim.SGD(own.values(), lr=0.1)
    reached = set()
    for _ in range(2):
        step(model, optimiser)
        reached |= {name for name, p in own.items() if p.grad is not None and p.grad.abs().max() > 0}
    assert reached == own.keys()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != (name in own), name
        assert name in own or parameter.grad is None, name


@pytest.mark.slow  # trains
@pytest.mark.parametrize(("case", "family"), THREE)
def test_what_it_keeps_is_enough_to_go_on_with(case: str, family: str) -> None:
    """Its own tensors, saved after a step, give the same model and the same next step; each is kept once."""
    model = attached(case, family).train()
    optimiser = torch.optim.SGD(trained(model).values(), lr=0.1)
    step(model, optimiser)
    kept = {name: tensor.detach().clone() for name, tensor in own_tensors(model).items()}
    places = [tensor.data_ptr() for tensor in own_tensors(model).values()]
    assert len(set(places)) == len(places)
    again = attached(case, family).train()
    with torch.no_grad():
        for name, tensor in own_tensors(again).items():
            tensor.copy_(kept[name])
    outputs = []
    for one in (model, again):
        torch.manual_seed(4)
        step(one, torch.optim.SGD(trained(one).values(), lr=0.1))
        outputs.append(one.eval()(images()).detach())
    assert torch.equal(*outputs)


@pytest.mark.slow
@pytest.mark.parametrize(("case", "family"), THREE)
def test_it_runs_in_bf16_with_stochastic_depth_and_as_a_copy(case: str, family: str) -> None:
    model = attached(case, family, rate=0.5).train()
    with torch.autocast("cpu", torch.bfloat16):
        nn.functional.cross_entropy(model(images()), torch.arange(4)).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    model = moved(model).eval()
    assert torch.equal(copy.deepcopy(model)(images()), model(images()))
    torch.manual_seed(5)
    one = model.train()(images())
    assert not torch.equal(one, model(images()))  # whole branches are dropped


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_the_readout_is_an_option(case: str) -> None:
    """With the same weights, the class token and the two means give three results, and the paper's is one."""
    results: dict[str, Tensor] = {}
    for readout in ("paper", "token", "mean", "mean_of_normed"):
        results[readout] = moved(made(case, frozen("vit"), readout=readout)).eval()(images())
    paper = "mean" if CASES[case].method in ("dtl", "wst") else "token"
    assert torch.equal(results["paper"], results[paper])
    assert not torch.allclose(results["token"], results["mean"])
    assert not torch.allclose(results["mean"], results["mean_of_normed"])


@pytest.mark.parametrize(
    ("case", "family"),
    [(case, family) for case, one in CASES.items() for family in FAMILIES if family not in one.fits],
)
def test_what_does_not_fit_says_so_in_one_line(case: str, family: str) -> None:
    with pytest.raises(InputError, match=r"^backbone of \w+: expected .*; found ") as refused:
        attached(case, family)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("method", "settings", "line"),
    [
        ("repadapter", {"r": 3}, "r of repadapter: expected a multiple of 2; found 3"),
        (
            "noah",
            {"prompt_sizes": (1,), "lora_sizes": (1, 1, 1), "adapter_sizes": (0, 0, 0)},
            "prompt_sizes of noah: expected 3 sizes, one a block; found 1",
        ),
        ("lst", {"r": 5}, "r of lst: expected a width of 32 to be divisible by r times 2 heads; found 5"),
        (
            "convpass",
            {"dropout": 1.0},
            "dropout of convpass: expected a number of at least 0 below 1",
        ),
    ],
)
def test_settings_that_do_not_fit(method: str, settings: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line):
        registry.get(method)(frozen("vit"), **settings)
