"""Adapters: what a trial trained, kept as safetensors with a card beside it, and used again.

``NAME.safetensors`` holds the trainable tensors, method and head; ``NAME.json`` is the card that says on
which backbone, task and data they stand and what they reached.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as saved_tensors
from torch import Tensor, nn

from wst.data.decode import decode
from wst.errors import InputError
from wst.files import replacing
from wst.models import backbones
from wst.models.create import adapted, not_finite, own_tensors
from wst.models.weights import check_fit
from wst.records import Backbone, Hyperparameters
from wst.yaml_files import Strict, first_error


class Card(Strict):
    """What an adapter is: everything that is needed to use it, and where it comes from.

    Attributes:
        checkpoint_hash: SHA-256 of the backbone's weights file, or timm's name of the weights.
        method: reference to the method, see :mod:`wst.methods.registry`.
        method_hash: of its file, where it is a user's own.
        hyperparameters: the method's own.
        image_size: side of the input in pixels.
        mean, std: normalisation of each channel in [0, 1].
        test_top1: accuracy in [0, 1] on ``test_images`` images; None where the test split was not read.
        trial_id: the ledger's row.
        tensors_hash: SHA-256 of the tensors' file; None in a card of an older version.
    """

    format: int = 1
    backbone: str
    checkpoint_hash: str
    method: str
    method_hash: str | None = None
    hyperparameters: Hyperparameters
    suite: str
    task: str
    classes: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    data_hash: str | None
    seed: int
    val_top1: float | None
    test_top1: float | None
    test_images: int | None
    study: str
    trial_id: str
    tensors_hash: str | None = None


def save_adapter(model: nn.Module, card: Card, path: Path) -> None:
    """Write an adapter and its card; each file appears whole or not at all.

    Raises:
        ArithmeticError: a tensor holds what is no finite number; nothing is written then.
    """
    broken = not_finite(model)
    if broken is not None:
        raise ArithmeticError(f"{path.name}: expected finite numbers; found others in {broken}")
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in own_tensors(model).items()}
    content = saved_tensors(tensors)
    card = card.model_copy(update={"tensors_hash": hashlib.sha256(content).hexdigest()})
    with replacing(path.with_suffix(".json")) as aside:
        aside.write_text(card.model_dump_json(indent=1))
    with replacing(path) as aside:
        aside.write_bytes(content)


class Predictor(nn.Module):
    """An adapted model ready to predict; normalisation is inside.

    Attributes:
        card: what the adapter is.
        model: maps normalised images to logits.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, card: Card):
        super().__init__()
        self.model, self.card = model, card
        self.register_buffer("mean", torch.tensor(card.mean).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(card.std).view(3, 1, 1) * 255, persistent=False)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, size, size) with values in [0, 255], of any dtype -> logits (B, classes)."""
        logits: Tensor = self.model((images - self.mean) / self.std)
        return logits

    @torch.inference_mode()
    def predict(self, paths: list[Path], batch_size: int = 64) -> Tensor:
        """Class probabilities (N, classes) of image files.

        Raises:
            InputError: a file that is no readable image.
        """
        size, found = self.card.image_size, []
        for start in range(0, len(paths), batch_size):
            part = [decode(_read(path), size, path) for path in paths[start : start + batch_size]]
            batch = torch.from_numpy(np.stack(part)).to(self.mean.device)
            found.append(self(batch).float().softmax(dim=1).cpu())
        return torch.cat(found)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected an image file; found none ({error.strerror})") from None


def read_card(path: Path) -> Card:
    """The card of an adapter.

    Raises:
        InputError: it is missing or not a card of this format.
    """
    where = path.with_suffix(".json")
    if not path.is_file() or not where.is_file():
        absent = where if path.is_file() else path
        raise InputError(f"adapter: expected the files {path.name} and {where.name}; found no {absent}")
    try:
        card = Card.model_validate(json.loads(where.read_text()))
    except ValidationError as error:
        raise first_error(error, f"{where} (an adapter's card)") from None
    except ValueError as error:  # bytes that are no text, or text that is no JSON
        raise InputError(f"{where}: expected an adapter's card; found something else ({error})") from None
    if card.format != 1:
        raise InputError(f"{where}: expected format 1; found {card.format}")
    return card


def load_adapter(
    path: str | Path,
    *,
    checkpoint: str | None = None,
    method: str | None = None,
    any_backbone: bool = False,
) -> Predictor:
    """An adapter as a model ready to predict.

    Args:
        path: the ``.safetensors`` file; its card lies beside it.
        checkpoint: the backbone's weights file; ``micro`` brings its own.
        method: where the method's file lies now, if it is a user's own and has moved.
        any_backbone: accept backbone weights other than those that the adapter was trained on.

    Raises:
        InputError: a file is missing or broken, tensors do not fit, are not those that the card describes or
            hold what is no number, or the backbone's weights differ.

    Example::

        predictor = load_adapter("runs/digits/adapters/digits.wst.final.0000.safetensors")
        predictor.predict([Path("four.png")]).argmax(1)
    """
    path = Path(path)
    card = read_card(path)
    pretrained = checkpoint is None and card.checkpoint_hash.startswith("timm:")
    backbone = Backbone(card.backbone, checkpoint, pretrained, card.image_size)
    found = backbones.weights_id(backbone)
    if found is None:
        raise InputError(
            f"checkpoint: expected the weights file of backbone {card.backbone!r}; found none given"
        )
    if found != card.checkpoint_hash and not any_backbone:
        raise InputError(
            f"{checkpoint or card.backbone}: expected the weights that {path.name} was trained on "
            f"({card.checkpoint_hash[:12]}); found {found[:12]}"
        )
    model = adapted(
        backbone,
        method or card.method,
        card.hyperparameters,
        num_classes=card.classes,
        method_hash=card.method_hash,
    ).model
    try:
        content = path.read_bytes()
        tensors = load_tensors(content)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: expected safetensors; found a broken file ({error})") from None
    own = own_tensors(model)
    check_fit(tensors, own, f"{path}: expected this adapter's tensors")
    digest = hashlib.sha256(content).hexdigest()
    if card.tensors_hash not in (None, digest):
        raise InputError(
            f"{path}: expected the file that its card describes, of hash {card.tensors_hash[:12]}; "
            f"found {digest[:12]}"
        )
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(tensors[name])
    broken = not_finite(model)
    if broken is not None:
        raise InputError(f"{path}: expected finite numbers; found others in {broken}")
    return Predictor(model, card)
