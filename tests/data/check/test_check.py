"""Every defect is planted in a synthetic tree, and must be found there, once, and nothing else."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.trees import png_16_bit, small_vtab, write_task
from wst.data.check.check import check_task, check_tasks
from wst.data.lists import SPLITS, VTAB_NAMES
from wst.data.splits import TaskData

SUITE = small_vtab(["svhn"])
TASK = SUITE.tasks[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    write_task(root, SUITE, TASK)
    return root


@pytest.fixture
def folder(whole, tmp_path):
    """A fresh copy of a whole task, to plant a defect in."""
    shutil.copytree(whole / SUITE.folder, tmp_path / SUITE.folder)
    return tmp_path / SUITE.folder / TASK.folder


def found(folder: Path):
    report = check_task(TaskData(folder, TASK))
    assert report.accepting(["overlap"]).usable == (report.data_hash is not None)
    return report, [(f.level, f.kind, f.split, f.count) for f in report.findings]


def edit(folder, split, change):
    file = folder / f"{VTAB_NAMES[split]}.txt"
    file.write_text("".join(f"{line}\n" for line in change(file.read_text().splitlines())))


def test_all_19_tasks_pass(tmp_path):
    suite = small_vtab()
    for task in suite.tasks:
        write_task(tmp_path, suite, task, size=3)
    totals, done = [], []
    tasks = [TaskData.of(tmp_path, suite, task) for task in suite.tasks]
    reports = check_tasks(tasks, 2, totals.append, done.append)
    assert len(reports) == 19 and all(report.usable and not report.findings for report in reports)
    assert sum(done) == totals[0] == sum(task.train + task.val + task.test for task in suite.tasks)
    for task, report in zip(suite.tasks, reports, strict=True):
        assert report.data_hash == TaskData.of(tmp_path, suite, task).hashes().all
        assert report.sizes["trainval"] == task.train + task.val
        assert report.encoding == "lossless" and report.image_size == "3 x 3"
        assert sum(report.histogram["test"]) == task.test
    assert len({report.data_hash for report in reports}) == 19


def test_a_missing_task_folder(tmp_path):
    report, findings = found(tmp_path / SUITE.folder / TASK.folder)
    assert findings == [("error", "folder", None, 1)] and not report.usable


@pytest.mark.parametrize("split", SPLITS)
def test_a_missing_list(folder, split):
    (folder / f"{VTAB_NAMES[split]}.txt").unlink()
    report, findings = found(folder)
    assert findings == [("error", "list", split, 1)]
    assert str(folder / f"{VTAB_NAMES[split]}.txt") in report.findings[0].text


def test_an_image_too_few(folder):
    edit(folder, "test", lambda lines: lines[:-1])
    report, findings = found(folder)
    assert findings == [("error", "count", "test", 1)]
    assert report.findings[0].text == "expected 12 images; found 11"


def test_labels_out_of_range_and_not_numbers(folder):
    def change(lines):
        lines[3] = f"{lines[3].split()[0]} {TASK.classes}"
        lines[5] = f"{lines[5].split()[0]} -1"
        lines[7] = f"{lines[7].split()[0]} cat"
        return lines

    edit(folder, "test", change)
    report, findings = found(folder)
    assert findings == [("error", "label", "test", 1), ("error", "syntax", "test", 2)]
    assert report.findings[0].text == "test.txt, line 4: expected a label from 0 to 9; found 10"
    assert report.findings[1].text.startswith("test.txt, lines 6, 8: expected 'path label'; found ")


def test_an_absent_class_is_a_warning_with_its_name(folder):
    names = [f"digit-{label}" for label in range(10)]
    (folder / "classes.txt").write_text("\n".join(names))

    def relabel(lines):
        return [line[:-2] + " 2" if line.endswith(" 7") else line for line in lines]

    for split in ("train", "trainval", "val"):
        edit(folder, split, relabel)
    report, findings = found(folder)
    assert findings == [("warning", "coverage", "train", 1)] and report.usable
    assert report.findings[0].text == "expected an image of each of 10 classes; found none of digit-7"


def test_the_union_of_the_training_lists(folder):
    def swap_a_label(lines):
        path, label = lines[0].split()
        return [f"{path} {(int(label) + 1) % 10}", *lines[1:]]

    edit(folder, "trainval", swap_a_label)
    report, findings = found(folder)
    assert findings == [("error", "union", "trainval", 1)]
    assert report.findings[0].text.endswith("found 1 others, and 1 lacking")


def test_images_in_train_and_test(folder):
    shutil.copy(folder / "images/train800/000003.bmp", folder / "images/test/000005.bmp")
    shutil.copy(folder / "images/train800/000004.bmp", folder / "images/test/000006.bmp")
    report, findings = found(folder)
    assert findings == [("error", "overlap", "test", 2)] and not report.usable
    assert "images/test/000005.bmp" in report.findings[0].text
    assert "images/train800/000003.bmp" in report.findings[0].text


def test_images_in_val_and_test(folder):
    shutil.copy(folder / "images/val200/000001.bmp", folder / "images/test/000005.bmp")
    assert found(folder)[1] == [("error", "overlap", "test", 1)]


def _save(mode: str, form: str) -> bytes:
    file = io.BytesIO()
    pixels = np.random.RandomState(9).randint(0, 256, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(file, form)
    return file.getvalue()


def _grey_16_bit() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(16, dtype=np.uint16).reshape(4, 4) * 4000).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "level", "kind", "words"),
    [
        (b"", "error", "unreadable", "0 bytes"),
        (b"not an image", "error", "unreadable", "12 bytes"),
        (_save("RGB", "PNG")[:-30], "error", "unreadable", "bytes ("),
        (_save("RGB", "BMP")[:-10], "error", "unreadable", "truncated"),
        (_save("CMYK", "JPEG"), "warning", "CMYK", "RGB"),
        (_save("P", "PNG"), "warning", "palette", "RGB"),
        (_save("RGBA", "PNG"), "warning", "alpha", "transparency"),
        (_grey_16_bit(), "error", "16-bit", "8 bits"),
        (png_16_bit(), "error", "16-bit", "8 bits"),
    ],
)
def test_images_that_are_not_plain_rgb(folder, content, level, kind, words):
    (folder / "images/val200/000002.bmp").write_bytes(content)
    report, findings = found(folder)
    assert findings == [(level, kind, "val", 1)]
    assert "images/val200/000002.bmp" in report.findings[0].text and words in report.findings[0].text


def test_grey_images_are_fine(folder):
    (folder / "images/val200/000002.bmp").write_bytes(_save("L", "PNG"))
    assert found(folder)[1] == []


def test_a_missing_image(folder):
    (folder / "images/test/000003.bmp").unlink()
    report, findings = found(folder)
    assert findings == [("error", "missing", "test", 1)]
    assert report.findings[0].text.startswith("test.txt, line 4: expected an image file; found none at ")


@pytest.mark.parametrize("path", ["../../../outside.bmp", "/etc/hostname"])
def test_a_path_that_leaves_the_root(folder, path):
    shutil.copy(folder / "images/test/000003.bmp", folder.parents[1] / "outside.bmp")
    edit(folder, "test", lambda lines: [*lines[:3], f"{path} 3", *lines[4:]])
    report, findings = found(folder)
    assert findings == [("error", "outside", "test", 1)]
    assert report.findings[0].text.startswith("test.txt, line 4: expected a path inside ")


@pytest.mark.parametrize("link_folder", [True, False])
def test_a_link_that_leaves_the_root(folder, link_folder):
    outside = folder.parents[1] / "outside"
    if link_folder:
        (folder / "images/test").rename(outside)
        (folder / "images/test").symlink_to(outside)
        count = TASK.test
    else:
        outside.mkdir()
        (folder / "images/test/000003.bmp").rename(outside / "a.bmp")
        (folder / "images/test/000003.bmp").symlink_to(outside / "a.bmp")
        count = 1
    assert found(folder)[1] == [("error", "outside", "test", count)]


def test_a_list_of_other_bytes(folder):
    (folder / "val200.txt").write_bytes(b"\xff\xfe\x00")
    kinds = [finding[:3] for finding in found(folder)[1]]
    assert ("error", "syntax", "val") in kinds


def test_encodings(tmp_path):
    for name, ending, encoding in (("png", ".png", "lossless"), ("jpg", ".jpg", "JPEG")):
        write_task(tmp_path / name, SUITE, TASK, ending, size=16)
        report = check_task(TaskData.of(tmp_path / name, SUITE, TASK))
        assert (report.encoding, report.usable) == (encoding, True)
    listed = tmp_path / "jpg" / SUITE.folder / TASK.folder / "images/test"
    shutil.copy(
        tmp_path / "png" / SUITE.folder / TASK.folder / "images/test/000001.png", listed / "000001.jpg"
    )
    assert check_task(TaskData.of(tmp_path / "jpg", SUITE, TASK)).encoding == "mixed"


def test_pixels_are_compared_whatever_the_lossless_encoding(tmp_path):
    reports = []
    for ending in (".png", ".bmp"):
        write_task(tmp_path / ending, SUITE, TASK, ending)
        reports.append(check_task(TaskData.of(tmp_path / ending, SUITE, TASK)))
    assert reports[0].pixels == reports[1].pixels
    assert reports[0].data_hash != reports[1].data_hash


def test_what_pillow_warns_of_is_one_line_and_none_on_the_screen(folder, capfd):
    names = [line.split()[0] for line in (folder / "train800.txt").read_text().splitlines()[:3]]
    corrupt = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0"
    for number, name in enumerate(names):
        palette = Image.new("P", (8, 8), number)
        palette.putpalette([0, 1, 2] * 256)
        if number:
            palette.convert("RGB").save(folder / name, "JPEG", exif=corrupt)
        else:
            palette.save(folder / name, "PNG", transparency=bytes([0, 128] * 4))
    report, _ = found(folder)
    (one,) = [f for f in report.findings if f.kind == "pillow"]
    assert (one.level, one.split, one.count) == ("warning", None, 3)
    assert one.text.startswith("expected images that Pillow reads without a warning; found 3: ")
    assert one.text.endswith(
        "Corrupt EXIF data (2); Palette images with Transparency expressed in bytes should be converted to "
        "RGBA images (1)"
    )
    assert capfd.readouterr() == ("", "")
