"""What a backbone's untouched blocks make of a split, computed once and kept in the cache.

    decoded split -> normalised batches -> first half of the model -> an entry of the cache -> the device

The entry is named after all that decides its numbers: images, preprocessing, weights, which half, precision
and what computes it.  All trials of a task share it, and so do processes.
"""

from __future__ import annotations

import math
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from wst.data import entries
from wst.data.decoded import DecodedSplit
from wst.machine import usable_cpus
from wst.models.backbones import InputSpec
from wst.models.halves import Halves
from wst.training.batches import Normaliser, Resident
from wst.training.draws import seeded
from wst.training.precision import autocast

if TYPE_CHECKING:
    from wst.data.hashes import Hashes
    from wst.data.lists import ImageList, Split
    from wst.study import Recipe
    from wst.training.spec import TrialSpec

BATCH = 32
"""Images in a batch that goes through the first half."""
MOST_BYTES = 8 << 30
"""Of a split's features, which every process keeps in memory."""
_SHARE = 4
"""A split's features take at most one in so many of the bytes of a trial's memory and of the cache's room."""
_COMPUTES = ("wst", "timm", "torch")
"""Libraries whose versions decide the numbers."""
_SPLITS = 2
"""Splits whose features stay in memory for the next trial: train and val of one task."""
_RESIDENT: OrderedDict[tuple[str, str, str], Resident] = OrderedDict()
"""They, by entry, content and device; the last used at the end."""


class Features:
    """The features of a trial's splits.

    Args:
        halves: of its model.
        spec: the trial, with the weights that were loaded.
        recipe: its recipe, with the precision that it comes to.
        images: size and normalisation of the model's images.
        normalise: makes the model's input of images.
        device: where the model is.
    """

    def __init__(
        self,
        halves: Halves,
        spec: TrialSpec,
        recipe: Recipe,
        images: InputSpec,
        normalise: Normaliser,
        device: torch.device,
    ):
        self._halves, self._spec, self._recipe, self._images = halves, spec, recipe, images
        self._normalise, self._device = normalise, device
        self._lists: dict[Split, tuple[ImageList, Hashes]] = {}
        example = self.first(torch.zeros(1, 3, images.size, images.size, dtype=torch.uint8, device=device))
        # Kept in the order of memory that the model gives them, on which later sums depend in the last bit.
        self._order = sorted(range(1, example.ndim), key=example.stride, reverse=True)
        self._shape, self._type = example.permute(0, *self._order).shape[1:], example.dtype
        self._row = math.prod(self._shape) * example.element_size()

    def hold(self) -> bool:
        """Whether training on them is training on images, as far as two images of noise tell."""
        size = self._images.size
        noise = torch.randint(256, (2, 3, size, size), generator=torch.Generator().manual_seed(0))
        with seeded(0, self._device), autocast(self._recipe, self._device):
            return self._halves.hold(self._normalise(noise.to(torch.uint8).to(self._device)))

    def fit(self, splits: Sequence[Split]) -> bool:
        """Whether those of each of some splits are few enough to be kept."""
        images = max(len(self._listed(split)[0].images) for split in splits)
        if self._device.type == "cuda":
            memory = int(torch.cuda.mem_get_info(self._device)[1] * self._spec.gpu_share)
        else:
            beside = max(1, usable_cpus() // self._spec.threads)  # trials that may run on this machine
            memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // beside
        memory //= self._spec.together  # each of a pass may have a task of its own
        return self._row * images <= min(MOST_BYTES, memory // _SHARE, entries.room() // _SHARE)

    def resident(self, split: Split) -> Resident:
        """A split's features on the device, for the next trial of this process too.

        Raises:
            TestSplitClosedError, ChangedError, InputError: as :meth:`wst.data.splits.TaskData.open`.
        """
        spec, size = self._spec, self._images.size
        listed, found = self._listed(split)
        cuda = self._device.type == "cuda"
        device = torch.cuda.get_device_name(self._device) if cuda else torch.backends.cpu.get_cpu_capability()
        contents = entries.Contents(
            "features",
            (len(listed.images), self._row),
            {
                "preprocessing": spec.data.preprocessing(size).words,
                "images": found.images,
                "normalisation": self._images.describe_normalisation(),
                "weights": f"{spec.backbone.name} {spec.weights}",
                "features": f"{spec.method} {spec.method_hash or ''}, {self._halves.key}",
                "rows": f"{self._recipe.precision} {self._type} {tuple(self._shape)}",
                "computed by": ", ".join([*(f"{name} {version(name)}" for name in _COMPUTES), device]),
            },
            str(listed.file),
            partial(self._rows, split),
        )
        labels = np.array(listed.labels, np.int64)

        kept = str(contents.folder), found.content, str(self._device)
        if kept not in _RESIDENT:
            rows = DecodedSplit(entries.opened(contents), labels, partial(entries.made, contents)).images
            values = torch.from_numpy(rows).view(self._type).view(-1, *self._shape)
            _RESIDENT[kept] = Resident(values.to(self._device), torch.from_numpy(labels).to(self._device))
        _RESIDENT.move_to_end(kept)
        while len(_RESIDENT) > _SPLITS:
            _RESIDENT.popitem(last=False)
        return _RESIDENT[kept]

    def of(self, split: Resident) -> Resident:
        """The features of images that are at hand; nothing is kept."""
        found = self.first(split.inputs).permute(0, *self._order).contiguous()
        return Resident(found.clone(), split.labels)

    def restored(self, kept: Tensor) -> Tensor:
        """Rows of a resident split (B, ...) as the first half gave them."""
        places = [0, *self._order]
        return kept.permute([places.index(place) for place in range(kept.ndim)])

    def _rows(self, split: Split) -> Iterator[np.ndarray]:
        """The features of a split, each as its bytes."""
        spec = self._spec
        training = self._halves.model.training
        self._halves.eval()
        try:
            for images, _ in spec.data.open(split, self._images.size, spec.intent.stage).batches(BATCH):
                found = self.first(torch.from_numpy(images).to(self._device)).permute(0, *self._order)
                yield from found.cpu().contiguous().view(torch.uint8).view(len(images), -1).numpy()
        finally:
            self._halves.train(training)

    def _listed(self, split: Split) -> tuple[ImageList, Hashes]:
        """A split's list: asked for once, since to look at its files takes a while."""
        if split not in self._lists:
            self._lists[split] = self._spec.data.listed(split, self._spec.intent.stage)
        return self._lists[split]

    @torch.inference_mode()
    def first(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) uint8 -> features (B, ...), in the model's order of memory."""
        with autocast(self._recipe, self._device):
            return self._halves.first(self._normalise(images))
