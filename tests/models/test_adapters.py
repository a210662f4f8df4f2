from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.conftest import small_study
from wst.data.mini import MINI
from wst.data.splits import TaskData
from wst.errors import InputError
from wst.models.adapters import load_adapter, read_card, save_adapter
from wst.records import Intent
from wst.study import Recipe
from wst.training.spec import trial_spec
from wst.training.trial import Trial

pytestmark = pytest.mark.slow  # trains


@pytest.fixture(scope="module")
def kept(mini_root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """An adapter of the digits task, and its test accuracy."""
    path = tmp_path_factory.mktemp("adapter") / "digits.safetensors"
    settings = {"lr": 5e-3, "weight_decay": 1e-4, "drop_path": 0.1, "scale": 1.0, "r": 2}
    intent = Intent("digits.wst-r2.final.0000", "digits", "wst-r2", "final", 0, 0, 1, settings)
    data = TaskData.of(mini_root, MINI, MINI.task("digits"))
    spec = trial_spec(small_study(), intent, data=data, data_hash="d" * 64, adapter_path=path)
    trial = Trial(replace(spec, recipe=Recipe(epochs=2, warmup_epochs=1)))
    list(trial.epochs())
    test = trial.test()
    trial.save_adapter(test)
    return path, test.top1


def test_card_says_what_the_adapter_is(kept: tuple[Path, float]) -> None:
    path, accuracy = kept
    card = read_card(path)
    assert (card.backbone, card.method, card.task, card.classes) == ("micro", "wst", "digits", 10)
    assert card.hyperparameters == {"scale": 1.0, "r": 2}
    assert (card.test_top1, card.test_images) == (accuracy, 797)
    assert card.trial_id == "digits.wst-r2.final.0000" and card.data_hash == "d" * 64
    assert sum(t.numel() for t in load_file(path).values()) == 3104 + 970


def test_same_accuracy_in_a_new_process(kept: tuple[Path, float], mini_root: Path) -> None:
    path, accuracy = kept
    code = (
        "import torch, wst\n"
        "from pathlib import Path\n"
        "from wst.data.splits import TaskData\n"
        "from wst.data.mini import MINI\n"
        f"data = TaskData.of(Path({str(mini_root)!r}), MINI, MINI.task('digits'))\n"
        f"split = data.open('test', 32, 'final')\n"
        f"predictor = wst.load_adapter({str(path)!r})\n"
        "with torch.inference_mode():\n"
        "    logits = predictor(torch.tensor(split.images))\n"
        "print((logits.argmax(1) == torch.tensor(split.labels)).double().mean().item())\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert float(run.stdout) == pytest.approx(accuracy, abs=1e-12)


def test_predicts_most_images_of_files(kept: tuple[Path, float], mini_root: Path) -> None:
    predictor = load_adapter(kept[0])
    split = TaskData.of(mini_root, MINI, MINI.task("digits")).open("test", 32, "final")
    files = sorted((mini_root / "mini" / "digits" / "images" / "test").iterdir())[:100]
    probabilities = predictor.predict_proba(files, batch_size=33)
    assert probabilities.shape == (100, 10)
    assert torch.allclose(probabilities.sum(1), torch.ones(100), atol=1e-5)
    correct = (probabilities.argmax(1) == torch.tensor(split.labels[:100])).double().mean()
    assert correct > 0.8


def _copy(kept: Path, folder: Path) -> Path:
    for source in (kept, kept.with_suffix(".json")):
        (folder / source.name).write_bytes(source.read_bytes())
    return folder / kept.name


def test_other_backbone_weights_are_refused_unless_told_otherwise(
    kept: tuple[Path, float], tmp_path: Path
) -> None:
    from wst.models.backbones import micro_vit

    other = tmp_path / "other.safetensors"
    save_file(micro_vit().state_dict(), other)
    with pytest.raises(InputError, match=r"expected the weights that digits\.safetensors was trained on"):
        load_adapter(kept[0], checkpoint=str(other))
    assert load_adapter(kept[0], checkpoint=str(other), any_backbone=True).card.classes == 10


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.pop("small_patch_embed.weight"), "missing keys small_patch"),
        (lambda t: t.update(extra=torch.zeros(1)), "surplus keys extra"),
        (
            lambda t: t.update({"backbone.head.bias": torch.zeros(3)}),
            "wrongly shaped keys backbone.head.bias",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    kept: tuple[Path, float], tmp_path: Path, change: object, words: str
) -> None:
    path = _copy(kept[0], tmp_path)
    tensors = load_file(path)
    change(tensors)  # type: ignore[operator]
    save_file(tensors, path)
    with pytest.raises(InputError, match=words):
        load_adapter(path)


def test_tensors_other_than_the_cards_are_refused(kept: tuple[Path, float], tmp_path: Path) -> None:
    path = _copy(kept[0], tmp_path)
    tensors = load_file(path)
    tensors["backbone.head.bias"][3] += 1
    save_file(tensors, path)
    with pytest.raises(InputError, match="expected the file that its card describes, of hash"):
        load_adapter(path)
    card = json.loads(path.with_suffix(".json").read_text())
    del card["tensors_hash"]  # as an older version left it
    path.with_suffix(".json").write_text(json.dumps(card))
    load_adapter(path)


def test_an_adapter_of_what_is_no_number_is_not_saved(tmp_path: Path, kept: tuple[Path, float]) -> None:
    predictor = load_adapter(kept[0])
    with torch.no_grad():
        predictor.model.get_classifier().bias[0] = torch.inf  # type: ignore[operator, union-attr, index]
    with pytest.raises(ArithmeticError, match=r"expected finite numbers; found others in backbone\.head"):
        save_adapter(predictor.model, predictor.card, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_broken_files_get_one_line(kept: tuple[Path, float], tmp_path: Path) -> None:
    path = _copy(kept[0], tmp_path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="expected safetensors; found a broken file"):
        load_adapter(path)
    path.with_suffix(".json").write_text(json.dumps({"format": 1}))
    with pytest.raises(InputError, match=r"digits.json \(an adapter's card\): backbone: expected a value"):
        load_adapter(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(InputError, match="expected an adapter's card"):
        load_adapter(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"found no .*digits.json"):
        load_adapter(path)


def test_unreadable_image_is_named(kept: tuple[Path, float], tmp_path: Path) -> None:
    broken = tmp_path / "x.png"
    broken.write_bytes(b"no image")
    predictor = load_adapter(kept[0])
    with pytest.raises(InputError, match=r"x.png: expected a readable image"):
        predictor.predict([broken])
    with pytest.raises(InputError, match=r"gone.png: expected an image file"):
        predictor.predict([tmp_path / "gone.png"])


def test_the_card_names_classes_and_how_pictures_are_read(kept: tuple[Path, float]) -> None:
    card = read_card(kept[0])
    assert card.class_names == tuple("0123456789")
    assert (card.upright, card.background) == (False, None)


def _changed(path: Path, changes: Mapping[str, Any]) -> None:
    file = path.with_suffix(".json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_card_without_the_newer_keys_loads(kept: tuple[Path, float], tmp_path: Path) -> None:
    path = _copy(kept[0], tmp_path)
    file = path.with_suffix(".json")
    content = json.loads(file.read_text())
    for name in ("class_names", "upright", "background"):
        del content[name]
    file.write_text(json.dumps(content))
    card = load_adapter(path).card
    assert (card.class_names, card.upright, card.background) == ((), False, None)


def test_pictures_are_read_as_the_card_says(kept: tuple[Path, float], tmp_path: Path) -> None:
    path, file = _copy(kept[0], tmp_path), tmp_path / "clear.png"
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(file)
    assert load_adapter(path).pixels(file).max() == 0
    _changed(path, {"background": "white", "upright": True})
    predictor = load_adapter(path)
    assert predictor.card.background == "#ffffff" and predictor.pixels(file).min() == 255


TEN = list("0123456789")
HOSTILE = {
    "no classes": ({"classes": 0, "class_names": []}, "classes: expected a number of at least 1; found 0"),
    "a billion classes": (
        {"classes": 10**9, "class_names": []},
        "classes: expected a number of at most 100,000",
    ),
    "too many classes": ({"classes": 90_000, "class_names": []}, "wrongly shaped keys"),
    "no text": ({"task": 3}, "task: expected a text; found 3"),
    "names of another number": ({"class_names": ["a"]}, "class_names: expected 10 names, or none; found 1"),
    "many names": ({"class_names": ["a"] * 200_000}, "class_names"),
    "names for control": (
        {"class_names": [*TEN[:9], "\x1b[2J"]},
        "class_names: expected names that can be shown",
    ),
    "half of a sign": ({"class_names": [*TEN[:9], "\udce9"]}, "class_names"),
    "a long name": ({"class_names": [*TEN[:9], "x" * 10_000]}, "class_names"),
    "names as a text": ({"class_names": "0123456789"}, "class_names: expected a list"),
    "no pixels": ({"image_size": 0}, "image_size: expected a number of at least 1"),
    "a billion pixels": ({"image_size": 10**9}, "image_size: expected a number of at most 4,096"),
    "parts of patches": ({"image_size": 30}, "image_size: expected a multiple of micro's patch of 8"),
    "pixels in words": ({"image_size": "many"}, "image_size: expected a whole number"),
    "a mean of NaN": ({"mean": [float("nan"), 0, 0]}, "mean.0: expected"),
    "an infinite mean": ({"mean": [float("inf"), 0, 0]}, "mean.0: expected"),
    "two means": ({"mean": [0.5, 0.5]}, "mean.2: expected"),
    "a deviation of 0": ({"std": [0, 1, 1]}, "std.0: expected a number of at least 1e-06"),
    "a negative deviation": ({"std": [1, -1, 1]}, "std.1: expected a number of at least 1e-06"),
    "a deviation of NaN": ({"std": [1, 1, float("nan")]}, "std.2: expected"),
    "control characters": ({"task": "\x1b]0;x\x07"}, "task: expected at most 4096 characters, none of them"),
    "a long text": ({"study": "x" * 100_000}, "study: expected at most 4096 characters"),
    "a backbone of bytes": ({"backbone": "vit\x00"}, "backbone: expected at most 4096 characters"),
    "a colour that is none": ({"background": "whyte"}, "background: expected a colour"),
    "a large rank": ({"hyperparameters": {"scale": 1.0, "r": 10**12}}, ""),
    "a larger rank": ({"hyperparameters": {"scale": 1.0, "r": 10**40}}, ""),
    "a rank of lists": ({"hyperparameters": {"scale": 1.0, "r": [[1]]}}, "hyperparameters"),
    "a key of its own": ({"surprise": 1}, "expected only the keys"),
    "another format": ({"format": 2}, "expected format 1; found 2"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_cards_are_one_line_before_anything_large_is_made(
    kept: tuple[Path, float], tmp_path: Path, kind: str
) -> None:
    path = _copy(kept[0], tmp_path)
    changes, words = HOSTILE[kind]
    _changed(path, changes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError) as refused:
        load_adapter(path)
    assert words in str(refused.value) and "\n" not in str(refused.value) and len(str(refused.value)) < 6000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # kB


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", "null", "3", '{"a": ' + "1" * 5_000 + "}", "\ufeff{"])
def test_cards_that_are_no_cards_are_one_line(kept: tuple[Path, float], tmp_path: Path, text: str) -> None:
    path = _copy(kept[0], tmp_path)
    path.with_suffix(".json").write_text(text)
    with pytest.raises(InputError) as refused:
        read_card(path)
    assert "\n" not in str(refused.value) and "digits.json" in str(refused.value)


def test_a_card_as_large_as_a_model_is_not_read(kept: tuple[Path, float], tmp_path: Path) -> None:
    path = _copy(kept[0], tmp_path)
    with path.with_suffix(".json").open("w") as file:
        file.truncate(2**33)
    with pytest.raises(
        InputError,
        match=r"digits.json: expected a text file of at most 67,108,864 bytes; found 8,589,934,592",
    ):
        read_card(path)


def test_tensors_that_are_not_finite_are_refused(kept: tuple[Path, float], tmp_path: Path) -> None:
    path = _copy(kept[0], tmp_path)
    tensors = load_file(path)
    tensors["backbone.head.bias"][3] = float("nan")
    save_file(tensors, path)
    with pytest.raises(InputError, match=r"expected finite numbers; found others in 'backbone\.head\.bias'"):
        load_adapter(path)


def test_finite_tensors_that_make_no_finite_numbers_are_refused(
    kept: tuple[Path, float], tmp_path: Path
) -> None:
    path = _copy(kept[0], tmp_path)
    save_file({name: torch.full_like(tensor, 3e38) for name, tensor in load_file(path).items()}, path)
    card = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**card, "tensors_hash": None}))
    Image.new("RGB", (32, 32), (9, 200, 30)).save(tmp_path / "x.png")
    expected = r"^adapter digits\.wst-r2\.final\.0000: expected finite numbers for every class; found NaN"
    with pytest.raises(InputError, match=expected):
        load_adapter(path).predict([tmp_path / "x.png"])
