from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.data.trees import small_vtab, write_task
from wst.data import splits
from wst.data.mini import MINI
from wst.data.splits import TaskData
from wst.errors import ChangedError
from wst.training.batches import Normaliser, resident

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@given(st.integers(1, 5), st.integers(0, 2**31 - 1))
def test_is_what_to_tensor_and_normalize_do(count: int, seed: int) -> None:
    images = torch.randint(
        256, (count, 3, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    normalise = Normaliser(MEAN, STD, 4, 5, torch.device("cpu"))
    expected = (images / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(normalise(images), expected)


def test_normalises_into_the_same_memory_each_time() -> None:
    normalise = Normaliser(MEAN, STD, 4, 2, torch.device("cpu"))
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    assert normalise(images).data_ptr() == normalise(images).data_ptr()


def test_a_split_stays_on_the_device_for_the_next_trial(mini_root: Path) -> None:
    data = TaskData.of(mini_root, MINI, MINI.task("digits"))
    first = resident(data, "val", 32, "search", torch.device("cpu"))
    assert first is resident(data, "val", 32, "search", torch.device("cpu"))
    assert first.inputs.shape == (200, 3, 32, 32) and first.inputs.dtype == torch.uint8
    assert len(first) == len(first.labels) == 200
    batches = list(first.batches(150))
    assert torch.equal(torch.cat([images for images, _ in batches]), first.inputs)
    assert [len(labels) for _, labels in batches] == [150, 50]
    with pytest.raises(splits.TestSplitClosedError):
        resident(data, "test", 32, "search", torch.device("cpu"))


def test_what_is_kept_of_a_list_that_has_changed_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))
    suite = small_vtab(["svhn"])
    task, cpu = suite.tasks[0], torch.device("cpu")
    data = TaskData(write_task(tmp_path, suite, task), task)
    held = replace(data, expected=data.hashes().content)
    first = resident(held, "val", 16, "search", cpu)
    file = data.folder / "val200.txt"
    lines = file.read_text()
    file.write_text(lines.replace(" 1\n", " 2\n"))
    with pytest.raises(ChangedError, match="images and labels of val to stay as they were"):
        resident(held, "val", 16, "search", cpu)
    assert first.labels.tolist() != resident(data, "val", 16, "search", cpu).labels.tolist()
    file.write_text(lines)
    assert resident(held, "val", 16, "search", cpu) is first
