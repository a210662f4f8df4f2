"""Adapters: what a trial trained, kept as safetensors with a card beside it, and used again.

``NAME.safetensors`` holds the trainable tensors, method and head; ``NAME.json`` is the card that says on
which backbone, task and data they stand and what they reached.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from pydantic import Field, ValidationError, field_validator, model_validator
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as saved_tensors
from torch import Tensor, nn

from wst.data.class_names import unfit
from wst.data.decode import Preprocessing, Reading, UndecodableError, content_of, opaque_colour, unreadable
from wst.errors import InputError
from wst.files import is_file, read_text, readable, replacing
from wst.methods import registry
from wst.models import backbones
from wst.models.create import adapted, not_finite, own_tensors
from wst.models.weights import check_fit
from wst.records import Backbone, Hyperparameters
from wst.screen import printable
from wst.yaml_files import Strict, first_error, shown

MOST_CLASSES = 100_000
"""Of an adapter; the largest public label sets have about 22,000."""
Mean = Annotated[float, Field(ge=-100, le=100)]
Deviation = Annotated[float, Field(ge=1e-6, le=1e6)]
_LARGEST_CARD = 64 * 2**20
_LONGEST = 4096
_WIDEST = 16
"""Bytes of a number, of the widest kind that safetensors and PyTorch have."""
_LARGEST_HEADER = 100_000_000
"""Bytes: what safetensors reads of one."""


class Card(Strict):
    """What an adapter is: everything that is needed to use it, and where it comes from.

    Attributes:
        checkpoint_hash: SHA-256 of the backbone's weights file, or timm's name of the weights.
        method: reference to the method, see :mod:`wst.methods.registry`.
        method_hash: of its file, where it is a user's own.
        hyperparameters: the method's own.
        class_names: a name for every class, or empty where none is known.
        image_size: side of the input in pixels.
        upright, background: how image files are read, see :class:`wst.data.decode.Reading`.
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
    classes: int = Field(ge=1, le=MOST_CLASSES)
    class_names: tuple[str, ...] = Field((), max_length=MOST_CLASSES)
    image_size: int = Field(ge=1, le=backbones.LARGEST_IMAGE)
    upright: bool = False
    background: str | None = None
    mean: tuple[Mean, Mean, Mean]
    std: tuple[Deviation, Deviation, Deviation]
    data_hash: str | None
    seed: int
    val_top1: float | None
    test_top1: float | None
    test_images: int | None
    study: str
    trial_id: str
    tensors_hash: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """A name for every class: its number where none is known."""
        return self.class_names or tuple(map(str, range(self.classes)))

    @field_validator("background")
    @classmethod
    def _known_colour(cls, colour: str | None) -> str | None:
        return None if colour is None else opaque_colour(colour)

    @model_validator(mode="after")
    def _names_fit(self) -> Card:
        if self.class_names and len(self.class_names) != self.classes:
            raise ValueError(
                f"class_names: expected {self.classes} names, or none; found {len(self.class_names)}"
            )
        if any(map(unfit, self.class_names)):
            name = next(filter(unfit, self.class_names))
            raise ValueError(f"class_names: expected names that can be shown; found {shown(name)}")
        return self

    @model_validator(mode="after")
    def _short_texts(self) -> Card:
        for name, value in [*vars(self).items(), *self.hyperparameters.items()]:
            if isinstance(value, str) and (len(value) > _LONGEST or printable(value) != value):
                raise ValueError(
                    f"{name}: expected at most {_LONGEST} characters, none of them for control; "
                    f"found {shown(value)}"
                )
        return self


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


Picture = str | PathLike[str] | Image.Image
"""An image file, or a picture that is open."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of one picture.

    Attributes:
        name: the likeliest class.
        probability: of that class.
        probabilities: of every class by its name, the likeliest first.
    """

    name: str
    probability: float
    probabilities: dict[str, float] = field(repr=False)


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

    def pixels(self, picture: Picture) -> np.ndarray:
        """A picture as the model was trained on such pictures: (3, size, size) uint8.

        Raises:
            InputError: it is no readable image.
        """
        reading = Reading(self.card.upright, self.card.background)
        preprocessing = Preprocessing(self.card.image_size, reading)
        if isinstance(picture, Image.Image):
            try:
                return preprocessing.resized(reading.of_image(picture))
            except UndecodableError as error:
                raise unreadable("picture", error) from None
        if not isinstance(picture, str | PathLike):
            raise InputError(f"picture: expected a path or a PIL image; found {shown(picture)}")
        path = Path(picture)
        return preprocessing.decode(content_of(path), path)

    @torch.inference_mode()
    def classify(self, images: Sequence[np.ndarray]) -> Tensor:
        """Class probabilities (N, classes) of images (3, size, size) uint8, in one batch.

        Raises:
            InputError: the model gives no finite numbers, as tensors do that are finite but far too large.
        """
        batch = torch.from_numpy(np.stack(images)).to(self.mean.device)
        logits: Tensor = self(batch).float()
        if not bool(logits.isfinite().all()):
            raise InputError(
                f"adapter {self.card.trial_id}: expected finite numbers for every class; found NaN or "
                "infinities (its tensors are not as they were trained, or are not for these weights)"
            )
        return logits.softmax(dim=1).cpu()

    def predict(self, pictures: Picture | Iterable[Picture], batch_size: int = 64) -> list[Prediction]:
        """The classes of pictures by name, with their probabilities.

        Args:
            pictures: paths or PIL images, or a single one.
            batch_size: pictures that pass through the model at a time.

        Raises:
            InputError: one that is no readable image.
        """
        names, found = self.card.names, []
        for row in self.predict_proba(pictures, batch_size):
            ordered = sorted(zip(names, row.tolist(), strict=True), key=lambda pair: -pair[1])
            found.append(Prediction(*ordered[0], dict(ordered)))
        return found

    def predict_proba(self, pictures: Picture | Iterable[Picture], batch_size: int = 64) -> Tensor:
        """Class probabilities (N, classes) of pictures, in the order of ``card.names``.

        Args and errors are those of :meth:`predict`.
        """
        if isinstance(pictures, str | PathLike | Image.Image) or not isinstance(pictures, Iterable):
            pictures = [pictures]
        given = list(pictures)
        parts = (given[start : start + batch_size] for start in range(0, len(given), batch_size))
        found = [self.classify([self.pixels(picture) for picture in part]) for part in parts]
        return torch.cat(found) if found else torch.empty(0, self.card.classes)


def read_card(path: Path) -> Card:
    """The card of an adapter.

    Raises:
        InputError: it is missing or not a card of this format.
    """
    if not path.name:
        raise InputError(f"adapter: expected the path of a .safetensors file; found {str(path)!r}")
    where = path.with_suffix(".json")
    absent = next((file for file in (path, where) if not is_file(file)), None)
    if absent is not None:
        raise InputError(f"adapter: expected the files {path.name} and {where.name}; found no {absent}")
    data: object = None
    try:
        data = json.loads(read_text(where, _LARGEST_CARD))
        card = Card.model_validate(data)
    except ValidationError as error:
        raise first_error(error, f"{where} (an adapter's card)", data) from None
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # no JSON, or brackets without end
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
        method: reference to the method, see :mod:`wst.methods.registry`.  Needed where it is none of wst's
            own: such a method is code that runs, and what a card asks for is somebody else's word.  The file
            must still be the one that the adapter was trained with.
        any_backbone: accept backbone weights other than those that the adapter was trained on.

    Raises:
        InputError: a file is missing or broken, the method is none of wst's own and is not given, tensors do
            not fit, are not those that the card describes or hold what is no number, or the backbone's
            weights differ.

    Example::

        predictor = load_adapter("runs/digits/adapters/digits.wst.final.0000.safetensors")
        predictor.predict("four.png")  # [Prediction(name='4', probability=0.97)]
    """
    path = Path(path)
    card = read_card(path)
    if method is None and card.method not in registry.names():
        raise InputError(
            f"{path.with_suffix('.json')}: expected a method of wst's own ({', '.join(registry.names())}), "
            f"or method= (--method) to say whose code may run; found the card asking for {shown(card.method)}"
        )
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
    own = _described(path, card, replace(backbone, checkpoint=None, pretrained=False), method)
    content = _content(path, own)
    try:
        tensors = load_tensors(content)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{path}: expected safetensors; found a broken file ({error})") from None
    check_fit(tensors, own, f"{path}: expected this adapter's tensors")
    model = _made(card, backbone, method)
    with torch.no_grad():
        for name, parameter in own_tensors(model).items():
            parameter.copy_(tensors[name])
    broken = not_finite(model)
    if broken is not None:
        raise InputError(f"{path}: expected finite numbers; found others in {shown(broken)}")
    digest = hashlib.sha256(content).hexdigest()
    if card.tensors_hash not in (None, digest):
        raise InputError(
            f"{path}: expected the file that its card describes, of hash {card.tensors_hash[:12]}; "
            f"found {digest[:12]}"
        )
    return Predictor(model, card)


def _made(card: Card, backbone: Backbone, method: str | None) -> nn.Module:
    return adapted(
        backbone,
        method or card.method,
        card.hyperparameters,
        num_classes=card.classes,
        method_hash=card.method_hash,
    ).model


def _described(path: Path, card: Card, backbone: Backbone, method: str | None) -> dict[str, Tensor]:
    """The tensors that a card asks for, before they take any memory.

    Raises:
        InputError: the card's settings make no model.
    """
    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # weights that are copied nowhere
            return own_tensors(_made(card, backbone, method))
    except InputError:
        raise
    except Exception as error:  # whatever PyTorch, or a method, says of numbers that are too large
        what = str(error).partition("\n")[0]
        raise InputError(
            f"{path.with_suffix('.json')}: expected settings that make a model; "
            f"found {type(error).__name__}: {what}"
        ) from None


def _content(path: Path, own: Mapping[str, Tensor]) -> bytes:
    """The bytes of a tensors' file, if there are no more of them than these tensors could take.

    Raises:
        InputError: there are, or they cannot be read.
    """
    most = _LARGEST_HEADER + sum(_WIDEST * tensor.numel() for tensor in own.values())
    with readable(path):
        size = path.stat().st_size
        if size > most:
            raise InputError(f"{path}: expected this adapter's tensors; found {size:,} bytes")
        return path.read_bytes()
