"""Images of list files through torchvision's transforms and a DataLoader, decoded anew in every epoch."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets.folder import default_loader

from wst.data.lists import ImageList
from wst.machine import usable_cpus

WORKERS = min(4, usable_cpus())
"""Four in the authors' scripts; more than there are cores only get in each other's way."""


class Listed(Dataset):
    """Images of a list file at ``size`` pixels a side, as NOAH's and WST's loaders have them."""

    def __init__(self, listed: ImageList, size: int):
        self.listed = listed
        self.transform = transforms.Compose(
            [
                transforms.Resize((size, size), transforms.InterpolationMode.BICUBIC),
                transforms.CenterCrop(size),
                transforms.ToTensor(),
                transforms.Normalize((0.5,) * 3, (0.5,) * 3),
            ]
        )

    def __len__(self) -> int:
        return len(self.listed.images)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(default_loader(str(self.listed.images[index]))), self.listed.labels[index]


def loader(listed: ImageList, size: int, batch_size: int, *, training: bool) -> DataLoader:
    """Batches of images and labels, shuffled and without a smaller last one where they are trained on."""
    return DataLoader(
        Listed(listed, size),
        batch_size,
        shuffle=training,
        drop_last=training,
        num_workers=WORKERS,
        multiprocessing_context="fork",  # what a script has, however the process here was started
        persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )
