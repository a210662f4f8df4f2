"""Pre-train the micro backbone: one pass over the recipe that `wst/assets/micro.md` documents.

    python tools/pretrain_micro.py --out wst/assets/micro.safetensors --minutes 30

Supervised, several heads on one pooled feature: Fashion-MNIST's classes, clip-art folders, and for drawn
scenes the shapes present, the hues present and the ground.  Heavy augmentation (fresh backgrounds, crops,
flips of clip art, loss of colour, loss of resolution) is what makes a network this small transfer.
The mini suite's tasks (digits, emoji groups, location, orientation, count) are never a target here.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from pretraining_images import GROUNDS, HUES, SHAPES, clip_art, fashion_mnist, scenes
from safetensors.torch import save_file
from torch import Tensor, nn

from wst.models.backbones import micro_vit

SIZE = 32


def uniform(count: int, low: float, high: float) -> Tensor:
    return torch.empty(count).uniform_(low, high)


def affine(images: Tensor, scale: tuple[float, float], shift: float, turn: float, flip: bool) -> Tensor:
    """Random zoom, shift, turn and flip of (N, C, H, W) float images, resampled to 32 x 32."""
    count = len(images)
    zoom, angle = 1 / uniform(count, *scale), uniform(count, -turn, turn)
    stretch = uniform(count, 0.85, 1.18)
    mirror = torch.randint(0, 2, (count,)) * 2 - 1 if flip else torch.ones(count)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = zoom * stretch * angle.cos() * mirror
    theta[:, 0, 1] = -zoom * stretch * angle.sin()
    theta[:, 1, 0] = zoom / stretch * angle.sin() * mirror
    theta[:, 1, 1] = zoom / stretch * angle.cos()
    theta[:, :, 2] = torch.empty(count, 2).uniform_(-shift, shift)
    grid = F.affine_grid(theta, [count, images.shape[1], SIZE, SIZE], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def backgrounds(count: int) -> Tensor:
    """Random smooth grounds (N, 3, 32, 32) in [0, 1]; half of them are plain."""
    coarse = torch.rand(count, 3, 2, 2)
    coarse[: count // 2] = torch.rand(count // 2, 3, 1, 1)
    return F.interpolate(coarse, (SIZE, SIZE), mode="bilinear", align_corners=False)


def over(rgba: Tensor, ground: Tensor) -> Tensor:
    alpha = rgba[:, 3:].clamp(0, 1)
    return rgba[:, :3] * alpha + ground * (1 - alpha)


def degrade(images: Tensor) -> Tensor:
    """Colour jitter for all; for some, grey levels only, inverted levels, or the detail of 8 to 16 pixels."""
    count = len(images)
    gain, lift = uniform(count, 0.7, 1.3), uniform(count, -0.15, 0.15)
    images = (images - 0.5) * gain.view(-1, 1, 1, 1) + 0.5 + lift.view(-1, 1, 1, 1)
    grey = torch.rand(count) < 0.2
    images[grey] = images[grey].mean(1, keepdim=True)
    inverted = torch.rand(count) < 0.1
    images[inverted] = 1 - images[inverted]
    coarse = torch.rand(count) < 0.2
    if coarse.any():
        small = F.adaptive_avg_pool2d(images[coarse], 8 + 2 * int(torch.randint(0, 4, ())))
        images[coarse] = F.interpolate(small, (SIZE, SIZE), mode="bicubic", align_corners=False)
    images = images + 0.02 * torch.randn_like(images)
    return (images.clamp(0, 1) - 0.5) / 0.5


class Heads(nn.Module):
    def __init__(self, width: int, clip_art_classes: int):
        super().__init__()
        self.fashion = nn.Linear(width, 10)
        self.clip_art = nn.Linear(width, clip_art_classes)
        self.shapes = nn.Linear(width, len(SHAPES))
        self.hues = nn.Linear(width, HUES)
        self.grounds = nn.Linear(width, len(GROUNDS))


def fashion_batch(images: Tensor) -> Tensor:
    tint = torch.rand(len(images), 3, 1, 1) * 0.8 + 0.2
    rgba = torch.cat([images[:, :3] * tint, images[:, 3:]], 1)
    return over(affine(rgba, (0.7, 1.15), 0.15, 0.15, flip=False), backgrounds(len(images)))


def as_float(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).float() / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30, help="training time; the schedule is cut to it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scenes", type=int, default=60_000)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    start = time.monotonic()

    fashion, art, drawn = fashion_mnist(), clip_art(), scenes(args.scenes, args.seed)
    took = time.monotonic() - start
    print(f"{len(fashion.labels)} + {len(art.labels)} + {args.scenes} pictures in {took:.0f} s")
    fashion_images, fashion_labels = torch.tensor(fashion.images), torch.tensor(fashion.labels)
    art_images, art_labels = torch.tensor(art.images), torch.tensor(art.labels)
    scene_images, scene_grounds = torch.tensor(drawn.images), torch.tensor(drawn.grounds)
    scene_shapes, scene_hues = torch.tensor(drawn.shapes), torch.tensor(drawn.hues)

    model = micro_vit()
    heads = Heads(model.embed_dim, len(art.classes))
    averaged = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.999)
    )
    matrices = [p for p in [*model.parameters(), *heads.parameters()] if p.ndim > 1]
    vectors = [p for p in [*model.parameters(), *heads.parameters()] if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
    )
    peak, batch, step = 2e-3, 96, 0
    begin = time.monotonic()
    budget = args.minutes * 60
    model.train()
    while (spent := (time.monotonic() - begin) / budget) < 1:
        rate = peak * min(1, spent / 0.03) * (0.5 + 0.5 * math.cos(math.pi * spent))
        for group in optimiser.param_groups:
            group["lr"] = max(rate, 1e-6)
        a = torch.randint(len(fashion_labels), (batch,))
        b = torch.randint(len(art_labels), (batch,))
        c = torch.randint(len(scene_grounds), (batch,))
        images = torch.cat(
            [
                fashion_batch(as_float(fashion_images[a])),
                over(affine(as_float(art_images[b]), (0.7, 1.4), 0.15, 0.2, flip=True), backgrounds(batch)),
                affine(as_float(scene_images[c]), (1.0, 1.3), 0.1, 0.0, flip=True),
            ]
        )
        features = model(degrade(images))
        of_fashion, of_art, of_scenes = features.split(batch)
        loss = (
            F.cross_entropy(heads.fashion(of_fashion), fashion_labels[a], label_smoothing=0.1)
            + F.cross_entropy(heads.clip_art(of_art), art_labels[b], label_smoothing=0.1)
            + 2 * F.binary_cross_entropy_with_logits(heads.shapes(of_scenes), scene_shapes[c])
            + 2 * F.binary_cross_entropy_with_logits(heads.hues(of_scenes), scene_hues[c])
            + 0.5 * F.cross_entropy(heads.grounds(of_scenes), scene_grounds[c], label_smoothing=0.1)
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([*model.parameters(), *heads.parameters()], 1.0)
        optimiser.step()
        averaged.update_parameters(model)
        step += 1
        if step % 200 == 0:
            print(f"step {step}  {spent:.0%}  loss {loss.item():.3f}", flush=True)

    backbone = averaged.module.eval()
    held_out = fashion_mnist("t10k")
    with torch.inference_mode():
        grey = as_float(torch.tensor(held_out.images))
        padded = F.pad(over(grey, torch.zeros(1)), (2, 2, 2, 2))
        features = torch.cat([backbone((part - 0.5) / 0.5) for part in padded.split(500)])
        accuracy = (heads.fashion(features).argmax(1) == torch.tensor(held_out.labels)).double().mean().item()
    state = {name: value.contiguous() for name, value in backbone.state_dict().items()}
    save_file(state, args.out)
    record = {
        "steps": step,
        "pictures_per_step": 3 * batch,
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "threads": torch.get_num_threads(),
        "clip_art_images": len(art.labels),
        "clip_art_classes": len(art.classes),
        "fashion_mnist_test_top1": round(accuracy, 4),
    }
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
