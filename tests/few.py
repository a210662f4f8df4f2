"""The mini suite with fewer images, on which trials take less time."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from wst.data.lists import VTAB_NAMES, Split
from wst.data.mini import MINI

FEW = replace(
    MINI, tasks=tuple(replace(task, train=300, val=200, test=300) for task in MINI.tasks), build=None
)


def copy_few(mini_root: Path, root: Path) -> Path:
    """Copy what :data:`FEW` has of the mini suite to ``root``, and return that."""
    for task in FEW.tasks:
        source, target = (place / FEW.folder / task.folder for place in (mini_root, root))
        lines: dict[Split, list[str]] = {}
        for split, count in (("train", task.train), ("val", task.val), ("test", task.test)):
            (target / "images" / VTAB_NAMES[split]).mkdir(parents=True)
            lines[split] = (source / f"{VTAB_NAMES[split]}.txt").read_text().splitlines()[:count]
            for line in lines[split]:
                name = line.split()[0]
                shutil.copy(source / name, target / name)
        lines["trainval"] = lines["train"] + lines["val"]
        for split, listed in lines.items():
            (target / f"{VTAB_NAMES[split]}.txt").write_text("".join(f"{line}\n" for line in listed))
    return root
