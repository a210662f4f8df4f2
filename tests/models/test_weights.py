"""Every form of weights file loads bit for bit; what is broken, holds code or misfits loads nothing."""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from timm.models import SwinTransformer, VisionTransformer
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import checkpoint_filter_fn
from torch import Tensor, nn

from wst.errors import InputError
from wst.models.freezing import single_head
from wst.models.weights import load_checkpoint, read_weights

Weights = dict[str, Tensor]


def vit(seed: int = 0, size: int = 32, **options: object) -> VisionTransformer:
    torch.manual_seed(seed)
    sizes = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4, "num_classes": 5}
    model = VisionTransformer(img_size=size, **(sizes | options))
    shake(model)
    return model


def swin(seed: int = 0, size: int = 64, **options: object) -> SwinTransformer:
    torch.manual_seed(seed)
    sizes = {"embed_dim": 16, "depths": (2, 1, 2), "num_heads": (1, 2, 4), "window_size": 4}
    model = SwinTransformer(img_size=size, **({"num_classes": 5} | sizes | options))
    shake(model)
    return model


def shake(model: nn.Module) -> None:
    """Norms and biases away from 1 and 0, so that leaving one out would show."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)


def google(model: VisionTransformer) -> dict[str, np.ndarray]:
    """The weights by the names and in the layouts of Google's ``ViT-B_16.npz``, old head and all."""
    own = {name: value.numpy() for name, value in model.state_dict().items()}
    heads, width = model.blocks[0].attn.num_heads, model.embed_dim
    arrays = {
        "cls": own["cls_token"],
        "embedding/kernel": own["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": own["patch_embed.proj.bias"],
        "Transformer/posembed_input/pos_embedding": own["pos_embed"],
        "Transformer/encoder_norm/scale": own["norm.weight"],
        "Transformer/encoder_norm/bias": own["norm.bias"],
        "pre_logits/kernel": np.ones((width, width), np.float32),
        "pre_logits/bias": np.ones(width, np.float32),
        "head/kernel": np.ones((width, 21843), np.float32),
        "head/bias": np.ones(21843, np.float32),
    }
    for number in range(len(model.blocks)):
        root, block = f"Transformer/encoderblock_{number}", f"blocks.{number}"
        attention = f"{root}/MultiHeadDotProductAttention_1"
        for theirs, ours in (("LayerNorm_0", "norm1"), ("LayerNorm_2", "norm2")):
            arrays[f"{root}/{theirs}/scale"] = own[f"{block}.{ours}.weight"]
            arrays[f"{root}/{theirs}/bias"] = own[f"{block}.{ours}.bias"]
        for part, name in enumerate(("query", "key", "value")):
            rows = slice(part * width, (part + 1) * width)
            kernel = own[f"{block}.attn.qkv.weight"][rows]
            arrays[f"{attention}/{name}/kernel"] = kernel.T.reshape(width, heads, -1)
            arrays[f"{attention}/{name}/bias"] = own[f"{block}.attn.qkv.bias"][rows].reshape(heads, -1)
        arrays[f"{attention}/out/kernel"] = own[f"{block}.attn.proj.weight"].T.reshape(heads, -1, width)
        arrays[f"{attention}/out/bias"] = own[f"{block}.attn.proj.bias"]
        for theirs, ours in (("Dense_0", "fc1"), ("Dense_1", "fc2")):
            arrays[f"{root}/MlpBlock_3/{theirs}/kernel"] = own[f"{block}.mlp.{ours}.weight"].T
            arrays[f"{root}/MlpBlock_3/{theirs}/bias"] = own[f"{block}.mlp.{ours}.bias"]
    return arrays


def microsoft(model: SwinTransformer) -> Weights:
    """The weights by Microsoft's names: merging at the end of a stage, buffers, a head without ``fc``."""
    weights: Weights = {}
    for name, value in model.state_dict().items():
        stage = re.match(r"layers\.(\d+)\.downsample", name)
        if stage:
            name = f"layers.{int(stage[1]) - 1}{name.removeprefix(f'layers.{stage[1]}')}"
        weights[name.replace("head.fc.", "head.")] = value
    for name, buffer in model.named_buffers():
        weights[name] = buffer
    return weights


def save_pth(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


FORMS: dict[str, Callable[[nn.Module, Path], Path]] = {
    "safetensors": lambda model, folder: (
        save_file(model.state_dict(), folder / "w.safetensors"),
        folder / "w.safetensors",
    )[1],
    "pth": lambda model, folder: save_pth(model.state_dict(), folder / "w.pth"),
    "pt under model": lambda model, folder: save_pth({"model": model.state_dict()}, folder / "w.pt"),
    "pth under state_dict": lambda model, folder: save_pth(
        {"state_dict": model.state_dict(), "epoch": 3}, folder / "w.pth"
    ),
    "pth of a legacy version": lambda model, folder: (
        torch.save(model.state_dict(), folder / "w.pth", _use_new_zipfile_serialization=False),
        folder / "w.pth",
    )[1],
}


def google_file(model: VisionTransformer, folder: Path) -> Path:
    np.savez(folder / "w.npz", **google(model))
    return folder / "w.npz"


def assert_loaded(model: nn.Module, expected: Weights, before: Weights) -> None:
    """Everything but the head is the file's, bit for bit; the head is as it was."""
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name] if name.startswith("head") else expected[name]), name


def copied(model: nn.Module) -> Weights:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("build", [vit, swin])
@pytest.mark.parametrize("form", FORMS)
def test_timms_names_round_trip(form: str, build: Callable[..., nn.Module], tmp_path: Path) -> None:
    source, model = build(1), build(2)
    before = copied(model)
    load_checkpoint(model, FORMS[form](source, tmp_path))
    assert_loaded(model, source.state_dict(), before)


def test_googles_file_round_trips_and_agrees_with_timms_reader(tmp_path: Path) -> None:
    source, model, timms = vit(1), vit(2), vit(3)
    before = copied(model)
    path = google_file(source, tmp_path)
    load_checkpoint(model, path)
    assert_loaded(model, source.state_dict(), before)
    with torch.no_grad():
        timms.load_pretrained(str(path))
    assert_loaded(timms, model.state_dict(), copied(timms))


@pytest.mark.parametrize("nested", [True, False])
def test_microsofts_file_round_trips_and_agrees_with_timms_filter(nested: bool, tmp_path: Path) -> None:
    source, model = swin(1), swin(2)
    before = copied(model)
    weights = microsoft(source)
    assert "layers.0.downsample.reduction.weight" in weights and "head.weight" in weights
    load_checkpoint(model, save_pth({"model": weights} if nested else weights, tmp_path / "swin.pth"))
    assert_loaded(model, source.state_dict(), before)
    assert_loaded(model, checkpoint_filter_fn(weights, model), before)


def test_a_distilled_deit_loads_without_its_heads(tmp_path: Path) -> None:
    options = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2}
    torch.manual_seed(0)
    source = VisionTransformerDistilled(**options, num_classes=1000)
    source.pretrained_cfg = {"classifier": ("head", "head_dist")}
    path = save_pth({"model": source.state_dict()}, tmp_path / "deit.pth")
    model = VisionTransformerDistilled(**options, num_classes=5)
    model.pretrained_cfg = source.pretrained_cfg
    single_head(model)
    before = copied(model)
    load_checkpoint(model, path)
    assert_loaded(model, source.state_dict(), before)
    with pytest.raises(InputError, match=r"surplus keys dist_token.*wrongly shaped keys pos_embed|surplus"):
        load_checkpoint(vit(depth=1), path)


@pytest.mark.parametrize("size", [48, 24])
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("google", {}),
        ("pth", {}),
        ("pth", {"reg_tokens": 2}),
        ("pth", {"reg_tokens": 2, "no_embed_class": True}),
        ("pth", {"class_token": False, "global_pool": "avg"}),
    ],
    ids=str,
)
def test_position_embeddings_are_resampled(
    form: str, options: dict[str, object], size: int, tmp_path: Path
) -> None:
    source, model = vit(1, **options), vit(2, size=size, **options)
    path = google_file(source, tmp_path) if form == "google" else FORMS[form](source, tmp_path)
    load_checkpoint(model, path)
    resized = vit(1, **options)
    resized.set_input_size(img_size=(size, size))
    assert model.pos_embed.shape != source.pos_embed.shape
    assert torch.equal(model.pos_embed, resized.pos_embed)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        torch.testing.assert_close(model.forward_features(images), resized.forward_features(images))


def test_relative_position_tables_are_resampled(tmp_path: Path) -> None:
    """At 32 pixels the last grid is 2 x 2, smaller than the window."""
    source, model = swin(1), swin(2, size=32)
    load_checkpoint(model, FORMS["pth"](source, tmp_path))
    filtered = checkpoint_filter_fn(copied(source), model)
    name = "layers.2.blocks.0.attn.relative_position_bias_table"
    assert model.state_dict()[name].shape == (9, 4) != source.state_dict()[name].shape
    assert_loaded(model, filtered, model.state_dict())


def without(weights: Weights, *names: str) -> Weights:
    return {name: value for name, value in weights.items() if name not in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: without(w, "blocks.1.mlp.fc2.bias"), r"found missing keys blocks\.1\.mlp\.fc2\.bias$"),
        (lambda w: without(w, "norm.weight", "norm.bias"), r"missing keys norm\.bias norm\.weight$"),
        (lambda w: w | {"mask_token": torch.zeros(1)}, "found surplus keys mask_token$"),
        (lambda w: w | {"cls_token": torch.zeros(1, 1, 31)}, "found wrongly shaped keys cls_token$"),
        (lambda w: w | {"pos_embed": torch.zeros(1, 8, 32)}, "found wrongly shaped keys pos_embed$"),
        (lambda w: w | {"pos_embed": torch.zeros(17, 32)}, "found wrongly shaped keys pos_embed$"),
        (
            lambda w: without(w, "cls_token") | {"cls": torch.zeros(1, 1, 32)},
            "found missing keys cls_token, surplus keys cls$",
        ),
        (
            lambda w: {f"module-{name}": value for name, value in w.items()},
            "missing keys .* and 2. more, surplus",
        ),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_loaded(
    change: Callable[[Weights], Weights], message: str, tmp_path: Path
) -> None:
    model = vit(2)
    before = copied(model)
    path = save_pth(change(copied(vit(1))), tmp_path / "w.pth")
    with pytest.raises(InputError, match=message) as caught:
        load_checkpoint(model, path)
    assert str(caught.value).startswith(f"{path}: expected ") and "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


ATTENTION = "Transformer/encoderblock_1/MultiHeadDotProductAttention_1"


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        (
            f"{ATTENTION}/key/kernel",
            None,
            rf"missing keys blocks\.1\.attn\.qkv\.weight, surplus.*{ATTENTION}/query",
        ),
        (f"{ATTENTION}/key/bias", np.zeros((2, 16)), r"missing keys blocks\.1\.attn\.qkv\.bias, surplus"),
        (f"{ATTENTION}/out/kernel", np.zeros(3), r"wrongly shaped keys blocks\.1\.attn\.proj\.weight"),
        (f"{ATTENTION}/out/bias", np.zeros(()), r"wrongly shaped keys blocks\.1\.attn\.proj\.bias"),
        ("embedding/kernel", np.zeros((4, 4, 3, 32)), r"wrongly shaped keys patch_embed\.proj\.weight"),
        ("Transformer/encoderblock_7/LayerNorm_0/bias", np.zeros(32), r"surplus keys blocks\.7\.norm1"),
        ("conv_root/kernel", np.zeros((7, 7, 3, 64)), "surplus keys conv_root/kernel"),
    ],
)
def test_every_array_of_googles_file_is_used(
    name: str, array: np.ndarray | None, message: str, tmp_path: Path
) -> None:
    arrays = google(vit(1))
    arrays = {k: v for k, v in arrays.items() if k != name} | ({} if array is None else {name: array})
    np.savez(tmp_path / "w.npz", **arrays)
    with pytest.raises(InputError, match=message):
        load_checkpoint(vit(2), tmp_path / "w.npz")


@pytest.mark.parametrize(
    ("source", "model"),
    [
        (lambda: vit(), lambda: swin()),
        (lambda: swin(), lambda: vit()),
        (lambda: vit(depth=3), lambda: vit()),
        (lambda: vit(), lambda: vit(depth=3)),
        (lambda: vit(embed_dim=64), lambda: vit()),
        (lambda: vit(patch_size=16), lambda: vit()),
        (lambda: swin(depths=(2, 1, 4)), lambda: swin()),
        (lambda: swin(), lambda: swin(depths=(2, 1, 4))),
        (lambda: swin(num_heads=(2, 2, 4)), lambda: swin()),
        (lambda: swin(patch_size=2), lambda: swin()),
    ],
)
@pytest.mark.parametrize("theirs", [True, False])
def test_another_architecture_is_refused(
    source: Callable[[], nn.Module], model: Callable[[], nn.Module], theirs: bool, tmp_path: Path
) -> None:
    """In timm's names, or in Google's and Microsoft's."""
    written, target = source(), model()
    if theirs and isinstance(written, VisionTransformer):
        path = google_file(written, tmp_path)
    else:
        weights = microsoft(written) if theirs else written.state_dict()
        path = save_pth(weights, tmp_path / "w.pth")
    before = copied(target)
    with pytest.raises(InputError, match=r"found (missing|surplus|wrongly shaped) keys \S+") as caught:
        load_checkpoint(target, path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in target.state_dict().items())


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load_checkpoint(vit(), path)
    assert str(caught.value).startswith(f"{path}: expected ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("form", ["google", *FORMS])
def test_truncated_files_are_refused(form: str, share: float, tmp_path: Path) -> None:
    path = google_file(vit(), tmp_path) if form == "google" else FORMS[form](vit(), tmp_path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert_refused(path, "expected a sound file of nothing but tensors; found a broken one, or ")


@pytest.mark.parametrize("ending", ["npz", "safetensors", "pth"])
def test_text_is_refused(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"w.{ending}"
    path.write_text("<!DOCTYPE html><title>404</title>\n" * 20)
    assert_refused(path, "expected a sound file of nothing but tensors; found a broken one, or ")


class Marker:
    """Unpickled with trust, writes a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


def test_code_in_a_file_never_runs(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    in_npz, in_pth, bare, safetensors = (
        tmp_path / name for name in ("a.npz", "a.pth", "b.pt", "a.safetensors")
    )
    np.savez(in_npz, cls=np.array([Marker(marker)], dtype=object))
    torch.save({"model": vit().state_dict(), "args": Marker(marker)}, in_pth)
    for path in (bare, safetensors):
        path.write_bytes(pickle.dumps(Marker(marker)))
    for path in (in_npz, in_pth, bare, safetensors):
        assert_refused(path, "expected a sound file of nothing but tensors; found a broken one, or ")
    assert not marker.exists()
    pickle.loads(bare.read_bytes())
    assert marker.exists()  # the trap works


@pytest.mark.parametrize("content", [{}, [1, 2], {"model": {"a": 1}}, {"a": torch.zeros(1), "epoch": 3}])
def test_files_without_weights_are_refused(content: object, tmp_path: Path) -> None:
    assert_refused(
        save_pth(content, tmp_path / "w.pth"), "expected tensors by name .*; found (none|a|a, epoch)$"
    )


def test_unknown_endings_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"")
    assert_refused(path, r"expected \.safetensors, \.pth, \.pt, \.pth\.tar or \.npz; found '\.bin'")
    assert_refused(tmp_path / "none.pth", "expected a weights file; found none")


def test_a_file_that_changes_is_read_again(tmp_path: Path) -> None:
    path = save_pth({"a": torch.zeros(1)}, tmp_path / "w.pth")
    assert read_weights(path)["a"] == 0
    assert read_weights(path) is read_weights(path)
    save_pth({"a": torch.ones(1)}, path)
    assert read_weights(path)["a"] == 1


def _prefixed(weights: Weights) -> Weights:
    return {f"module.base_encoder.{name}": value for name, value in weights.items()}


def _moco(weights: Weights) -> dict[str, object]:
    momentum = {name.replace("base", "momentum"): v + 1 for name, v in _prefixed(weights).items()}
    return {"state_dict": {**_prefixed(weights), **momentum, "module.predictor.0.weight": torch.ones(2)}}


WRAPPED: dict[str, tuple[str, Callable[[Weights], object], str | None]] = {
    "net": ("w.pth", lambda w: {"net": w, "acc": 91.2, "epoch": 3}, None),
    "prefix": ("w.pth.tar", lambda w: {"state_dict": _prefixed(w)}, None),
    "parallel": ("w.pt", lambda w: {f"module.{name}": value for name, value in w.items()}, None),
    "moco": ("w.pth.tar", _moco, "takes what is under 'module.base_encoder.'; leaves aside"),
    "options": ("w.pth", lambda w: {"model": w, "args": argparse.Namespace(lr=1, betas=(0.9, 0.95))}, None),
    "ema": (
        "w.pth",
        lambda w: {"state_dict": w, "state_dict_ema": {name: v + 1 for name, v in w.items()}},
        "takes 'state_dict'; leaves aside 'state_dict_ema'",
    ),
}


@pytest.mark.parametrize("case", WRAPPED)
def test_other_names_and_wrappings_load_and_what_is_left_aside_is_said(
    case: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name, wrap, said = WRAPPED[case]
    saved, model = vit(1).state_dict(), vit(2)
    before = copied(model)
    path = tmp_path / name
    torch.save(wrap(saved), path)
    for _ in range(2):
        load_checkpoint(model, path)
    assert_loaded(model, saved, before)
    assert [said in line for line in caplog.messages] == ([True] if said else [])  # type: ignore[operator]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_another_precision_is_loaded_as_single(kind: torch.dtype, tmp_path: Path) -> None:
    saved, model = {name: value.to(kind) for name, value in vit(1, 48).state_dict().items()}, vit(2, 48)
    before = copied(model)
    torch.save(saved, tmp_path / "w.pth")
    load_checkpoint(model, tmp_path / "w.pth")
    assert_loaded(model, {name: value.float() for name, value in saved.items()}, before)
    load_checkpoint(vit(2, 24), tmp_path / "w.pth")  # and resampled


@pytest.mark.parametrize(("value", "words"), [(torch.nan, "NaN"), (torch.inf, "infinities")])
@pytest.mark.parametrize("form", FORMS)
def test_weights_that_are_no_numbers_are_refused(form: str, value: float, words: str, tmp_path: Path) -> None:
    saved, model = vit(1).state_dict(), vit(2)
    saved["norm.weight"][3] = value
    before = copied(model)
    broken = vit(1)
    broken.load_state_dict(saved)
    path = FORMS[form](broken, tmp_path)
    with pytest.raises(InputError) as caught:
        load_checkpoint(model, path)
    assert str(caught.value) == f"{path}: expected finite numbers; found {words} in norm.weight"
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())


def test_a_value_too_large_for_single_precision_is_refused(tmp_path: Path) -> None:
    saved = {name: value.double() for name, value in vit(1).state_dict().items()}
    saved["norm.weight"][0] = 1e300
    torch.save(saved, tmp_path / "w.pth")
    with pytest.raises(InputError, match="found infinities in norm"):
        load_checkpoint(vit(2), tmp_path / "w.pth")


def test_a_classifier_of_no_numbers_is_not_looked_at(tmp_path: Path) -> None:
    saved = vit(1).state_dict()
    saved["head.weight"][0] = torch.nan
    torch.save(saved, tmp_path / "w.pth")
    load_checkpoint(vit(2), tmp_path / "w.pth")


def test_several_models_in_one_file_are_refused(tmp_path: Path) -> None:
    state = vit(1).state_dict()
    both = {f"{part}.{name}": v for part in ("left", "right") for name, v in state.items()}
    torch.save(both, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"w.pth: expected one model; found several, under left\., right\."):
        load_checkpoint(vit(2), tmp_path / "w.pth")


def test_what_a_file_holds_instead_is_said(tmp_path: Path) -> None:
    torch.save({"teacher": vit(1).state_dict(), "epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"by name \(under .*'net'.*\); found teacher, epoch"):
        load_checkpoint(vit(2), tmp_path / "w.pth")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 1 GiB"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:128] DefaultCPUAllocator: can't allocate memory: ..."),
    ],
)
def test_a_lack_of_memory_says_nothing_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def lacking(path: Path) -> None:
        raise error

    save_file({"a": torch.zeros(2)}, tmp_path / "w.safetensors")
    monkeypatch.setattr("wst.models.weights.load_file", lacking)
    with pytest.raises(MemoryError, match=rf"for the \d+ bytes of {re.escape(str(tmp_path))}/w\.safetensors"):
        read_weights(tmp_path / "w.safetensors")
