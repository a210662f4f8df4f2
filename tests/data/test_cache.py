import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from torchvision import transforms

from tests.conftest import ROOT
from tests.data.trees import small_vtab, write_task
from wst.data import cache, decoded, entries, hashes, memo, splits
from wst.data.decode import Preprocessing
from wst.data.lists import ImageList
from wst.data.splits import TaskData
from wst.errors import ChangedError, InputError
from wst.files import locked

SUITE = small_vtab(["svhn", "clevr_count"])
TASK = SUITE.task("svhn")


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("WST_CACHE_LIMIT", raising=False)
    write_task(tmp_path, SUITE, TASK, ".png", size=20)
    return tmp_path


@pytest.fixture
def listed(root) -> ImageList:
    return TaskData.of(root, SUITE, TASK).list("train")


@pytest.fixture
def decodes(monkeypatch):
    """Paths that were decoded."""
    seen = []
    original = Preprocessing.decode

    def decode(self, content, path):
        seen.append(path)
        return original(self, content, path)

    monkeypatch.setattr(Preprocessing, "decode", decode)
    return seen


def entry_folder():
    (folder,) = (p for p in (memo.cache_folder() / "splits").iterdir() if p.is_dir())
    return folder


def test_pixels_are_those_of_torchvision(listed):
    """Bit for bit what ``Resize((32, 32), BICUBIC)`` gives on a PIL image."""
    resize = transforms.Resize((32, 32), transforms.InterpolationMode.BICUBIC)
    decoded = cache.load(listed, Preprocessing(32))
    for path, pixels in zip(listed.images, decoded.images, strict=True):
        with Image.open(path) as image:
            expected = np.asarray(resize(image.convert("RGB"))).transpose(2, 0, 1)
        assert np.array_equal(pixels, expected)
    assert decoded.labels.tolist() == list(listed.labels)


def test_decoded_once(listed, decodes):
    first = cache.load(listed, Preprocessing(16))
    assert sorted(decodes) == sorted(listed.images)
    again = cache.load(listed, Preprocessing(16))
    assert len(decodes) == len(listed.images) and np.array_equal(first.images, again.images)
    cache.load(listed, Preprocessing(8))  # another size is another entry
    assert len(decodes) == 2 * len(listed.images)


def test_the_same_images_elsewhere_share_an_entry(root, listed, decodes):
    """Such as two tasks with other labels for the same images."""
    cache.load(listed, Preprocessing(16))
    other = root / "copy"
    other.mkdir()
    paths = []
    for path in listed.images:
        paths.append(other / path.name)
        paths[-1].write_bytes(path.read_bytes())
    labels = tuple(9 - label for label in listed.labels)
    moved = cache.load(ImageList(other, tuple(paths), labels), Preprocessing(16))
    assert len(decodes) == len(listed.images)
    assert moved.labels.tolist() == list(labels)
    assert len(entries.entries()) == 1


def test_a_changed_image_is_decoded_anew(listed, decodes):
    before = np.array(cache.load(listed, Preprocessing(16)).images)
    Image.new("RGB", (20, 20), "red").save(listed.images[3])
    after = cache.load(listed, Preprocessing(16)).images
    assert [i for i in range(len(before)) if not np.array_equal(before[i], after[i])] == [3]


def _flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    stamp = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # the clock gives nothing away


DAMAGES = {
    "a bit flipped": lambda entry: _flip(entry / "images.npy"),
    "cut off": lambda entry: os.truncate(entry / "images.npy", 5000),
    "too long": lambda entry: (entry / "images.npy").open("ab").write(b"more"),
    "empty": lambda entry: os.truncate(entry / "images.npy", 0),
    "gone": lambda entry: (entry / "images.npy").unlink(),
    "not an array": lambda entry: (entry / "images.npy").write_bytes(b"x" * 20000),
    "record gone": lambda entry: (entry / "entry.json").unlink(),
    "record damaged": lambda entry: (entry / "entry.json").write_text("{"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_again_and_said_once(listed, decodes, damage, caplog):
    before = cache.load(listed, Preprocessing(16)).images
    DAMAGES[damage](entry_folder())
    after = cache.load(listed, Preprocessing(16))
    assert np.array_equal(after.images, before) and len(decodes) == 2 * len(listed.images)
    (line,) = caplog.messages
    assert re.fullmatch(r"/.*: expected whole splits; found .*: made again", line)
    assert np.array_equal(cache.load(listed, Preprocessing(16)).images, before)
    assert len(decodes) == 2 * len(listed.images) and len(caplog.messages) == 1


@pytest.mark.parametrize("read", ["images", "batches"])
@pytest.mark.parametrize("damage", ["a bit flipped", "cut off", "empty", "gone", "record damaged"])
def test_damage_to_an_entry_in_use_ends_no_process(listed, decodes, damage, read, monkeypatch):
    """A file cut off under a memory mapping ends the process; a read of it comes back short."""
    monkeypatch.setattr(decoded, "_BLOCK_BYTES", 5 * 3 * 16 * 16)  # five images a block
    split = cache.load(listed, Preprocessing(16))
    before, batches = split.images, split.batches(7)
    first = next(batches)[0]
    DAMAGES[damage](entry_folder())
    if read == "images":
        assert np.array_equal(split.images, before)
    else:
        assert np.array_equal(np.concatenate([first, *(images for images, _ in batches)]), before)
    made_again = damage not in ("gone", "record damaged")  # what is open stays readable
    assert len(decodes) == (1 + made_again) * len(listed.images)


def test_a_file_that_changes_while_it_is_made_again_is_refused(listed, monkeypatch):
    split = cache.load(listed, Preprocessing(16))
    _flip(entry_folder() / "images.npy")
    original = entries._fill

    def fill(contents):
        original(contents)
        _flip(contents.folder / "images.npy")

    monkeypatch.setattr(entries, "_fill", fill)
    with pytest.raises(InputError, match=r"expected the pixels just written; found other pixels"):
        split.images  # noqa: B018


def test_an_entry_of_an_earlier_version_is_made_again_without_a_word(listed, decodes, caplog):
    before = cache.load(listed, Preprocessing(16)).images
    record = entry_folder() / "entry.json"
    old = {k: v for k, v in json.loads(record.read_text()).items() if k != "sums"}
    record.write_text(json.dumps({**old, "sha256": hashlib.sha256(before.tobytes()).hexdigest()}))
    assert np.array_equal(cache.load(listed, Preprocessing(16)).images, before)
    assert len(decodes) == 2 * len(listed.images) and not caplog.messages


@pytest.mark.parametrize("lacks", ["images", "preprocessing"])
def test_an_entry_that_does_not_say_what_it_is_made_of_is_made_again(listed, decodes, caplog, lacks):
    before = cache.load(listed, Preprocessing(16)).images
    record = entry_folder() / "entry.json"
    record.write_text(json.dumps({k: v for k, v in json.loads(record.read_text()).items() if k != lacks}))
    assert np.array_equal(cache.load(listed, Preprocessing(16)).images, before)
    assert len(decodes) == 2 * len(listed.images) and not caplog.messages


def test_entries_that_were_exchanged_are_made_again(root, listed, caplog):
    """Of the same shape: what is in one of them passes for the other in nothing but what it says itself."""
    (root / "other").mkdir()
    paths = []
    for path in listed.images:
        paths.append(root / "other" / path.name)
        Image.new("RGB", (20, 20), "red").save(paths[-1])
    other = ImageList(root / "other", tuple(paths), listed.labels)
    before = {name: cache.load(of, Preprocessing(16)).images for name, of in (("a", listed), ("b", other))}
    one, two = (entry.folder for entry in entries.entries())
    one.rename(root / "aside")
    two.rename(one)
    (root / "aside").rename(two)
    assert np.array_equal(cache.load(listed, Preprocessing(16)).images, before["a"])
    assert np.array_equal(cache.load(other, Preprocessing(16)).images, before["b"])
    assert len(caplog.messages) == 2
    assert all("found one of other images: made again" in line for line in caplog.messages)


def test_a_picture_that_changes_between_its_hash_and_its_decoding_leaves_no_entry(listed, monkeypatch):
    path = listed.images[3]
    whole, stamp, original = path.read_bytes(), path.stat(), cache.decode_all
    hashes.images_hash(listed)

    def exchanged(images, preprocessing):
        Image.new("RGB", (20, 20), "red").save(path)
        yield from original(images, preprocessing)
        path.write_bytes(whole)
        os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))

    with monkeypatch.context() as patch:
        patch.setattr(cache, "decode_all", exchanged)
        with pytest.raises(ChangedError, match=r"train800\.txt: expected its images to stay as they were"):
            cache.load(listed, Preprocessing(16))
    assert not entries.entries() and not list((memo.cache_folder() / "splits").glob("*/"))
    with Image.open(path) as image:
        expected = Preprocessing(16).decode(whole, path)
        assert np.array_equal(cache.load(listed, Preprocessing(16)).images[3], expected), image


def test_a_file_or_a_folder_in_the_place_of_our_own_goes(listed, decodes, caplog):
    before = cache.load(listed, Preprocessing(16)).images
    entry = entry_folder()
    shutil.rmtree(entry)
    entry.write_text("in the way")
    lock = entry.with_name(f"{entry.name}.lock")
    lock.unlink()
    lock.mkdir()
    assert np.array_equal(cache.load(listed, Preprocessing(16)).images, before)
    assert np.array_equal(cache.load(listed, Preprocessing(16)).images, before)
    assert len(decodes) == 2 * len(listed.images) and len(caplog.messages) == 1
    shutil.rmtree(memo.cache_folder() / "splits")
    (memo.cache_folder() / "splits").write_text("in the way")
    assert np.array_equal(cache.load(listed, Preprocessing(16)).images, before)
    assert len(decodes) == 3 * len(listed.images)


@pytest.mark.parametrize("place", ["memo", "folder"])
def test_a_memo_takes_its_place_back(root, place):
    memo.keep(memo.HASHES, "key", [1])
    kept = memo.cache_folder() / memo.HASHES
    if place == "memo":
        (kept / "key").unlink()
        (kept / "key" / "sub").mkdir(parents=True)
    else:
        shutil.rmtree(kept)
        kept.write_text("in the way")
    assert memo.recall(memo.HASHES, "key") is None
    memo.keep(memo.HASHES, "key", [2])
    assert memo.recall(memo.HASHES, "key") == [2]


def test_a_split_is_compared_with_what_is_expected_whenever_it_is_opened(root):
    data = TaskData.of(root, SUITE, TASK)
    held = replace(data, expected=data.hashes().content)
    held.open("test", 16, "final")
    before = hash(held), held == replace(data, expected=data.hashes().content)
    assert before == (hash(data), True) and held != data
    file, image = data.folder / "test.txt", data.folder / "images/test/000003.png"
    lines, whole = file.read_text(), image.read_bytes()
    line = (
        rf"data of task 'svhn': expected images and labels of test to stay as they were \(hash {'.' * 12}\)"
    )
    file.write_text(lines.replace(" 1\n", " 2\n"))
    with pytest.raises(ChangedError, match=line):
        held.open("test", 16, "final")
    file.write_text(lines)
    Image.new("RGB", (20, 20), "red").save(image)
    with pytest.raises(ChangedError, match=line):
        held.open("test", 16, "final")
    image.unlink()
    with pytest.raises(ChangedError, match=r"expected test to stay as it was; found: .*test\.txt, line 4"):
        held.open("test", 16, "final")
    image.write_bytes(whole)
    held.open("test", 16, "final")
    held.open("train", 16, "search")


def test_what_another_process_fills_is_not_evicted(listed, monkeypatch):
    """Its entry stands complete under a hidden name for a moment, and then until it is opened."""
    cache.load(listed, Preprocessing(16))
    (entry,) = entries.entries()
    hidden = entry.folder.with_name(f".{'0' * 32}.abc")
    shutil.copytree(entry.folder, hidden)
    assert [e.folder for e in entries.entries()] == [entry.folder]
    monkeypatch.setenv("WST_CACHE_LIMIT", f"{entry.size}B")
    with (
        locked(entries._lock_file(entry.folder.with_name("0" * 32))),
        locked(entries._lock_file(entry.folder)),
    ):
        cache.load(listed, Preprocessing(15))
        assert hidden.is_dir() and entry.folder.is_dir()
    cache.load(listed, Preprocessing(14))  # nobody holds them any more
    assert not hidden.exists() and not entry.folder.exists()


def test_damage_while_the_process_runs_is_noticed(listed, decodes):
    before = np.array(cache.load(listed, Preprocessing(16)).images)
    file = entry_folder() / "images.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert np.array_equal(cache.load(listed, Preprocessing(16)).images, before)


@pytest.mark.parametrize("content", [b"", b"\xff nonsense", b"0" * 64 + b"\n[1, 2]\n", b"a\nb\n", b"[]"])
def test_a_damaged_memo_of_hashes_is_made_again(listed, content):
    right = hashes.content_hash(listed)
    (kept,) = (memo.cache_folder() / "hashes").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(content)
    assert hashes.content_hash(listed) == right
    assert kept.read_bytes() == whole


def test_a_fifo_is_no_image(listed):
    listed.images[4].unlink()
    os.mkfifo(listed.images[4])
    with pytest.raises(InputError, match=r"000004.png: expected an image file; found something else"):
        hashes.content_hash(listed)


def test_a_change_while_files_are_read_is_not_remembered_as_what_was_read(listed, monkeypatch):
    original = hashes._file_hash

    def changed_after(path):
        found = original(path)
        if path == listed.images[3]:
            Image.new("RGB", (20, 20), "red").save(path)
        return found

    monkeypatch.setattr(hashes, "_file_hash", changed_after)
    before = hashes.content_hash(listed)
    monkeypatch.setattr(hashes, "_file_hash", original)
    assert hashes.content_hash(listed) != before


def test_content_hash_is_that_of_the_files_and_labels(listed):
    digest = hashlib.sha256()
    for path, label in zip(listed.images, listed.labels, strict=True):
        digest.update(hashlib.sha256(path.read_bytes()).digest() + label.to_bytes(4, "big"))
    assert hashes.content_hash(listed) == digest.hexdigest()


def test_an_unreadable_image_is_named_and_nothing_stays(listed):
    hashes.content_hash(listed)  # remembered before the damage, as if the file changed in between
    stamp = listed.images[5].stat()
    content = bytearray(listed.images[5].read_bytes())
    content[40:80] = bytes(40)
    listed.images[5].write_bytes(content)
    os.utime(listed.images[5], ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.raises(InputError, match=r"000005.png: expected a readable image"):
        cache.load(listed, Preprocessing(16))
    assert not [path for path in (memo.cache_folder() / "splits").iterdir() if path.is_dir()]


PROCESS = """
import os, sys, time
from pathlib import Path
from tests.data.trees import small_vtab
from wst.data import cache
from wst.data.decode import Preprocessing
from wst.data.splits import TaskData
suite = small_vtab(["svhn", "clevr_count"])
root, log, wait = Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "wait"
original = Preprocessing.decode
def decode(self, content, path):
    with open(log, "a") as file:
        file.write(f"{os.getpid()} {path.name}\\n")
    if wait and path.name == "000010.png":
        print("half way", flush=True)
        time.sleep(60)
    time.sleep(0.005)
    return original(self, content, path)
Preprocessing.decode = decode
print(cache.load(TaskData.of(root, suite, suite.task("svhn")).list("train"), Preprocessing(16)).images.sum())
"""


def start(root, log, wait="no"):
    arguments = [sys.executable, "-c", PROCESS, str(root), str(log), wait]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.slow
def test_four_processes_decode_once(root, listed, tmp_path):
    log = tmp_path / "log"
    processes = [start(root, log) for _ in range(4)]
    sums = {process.communicate(timeout=100)[0] for process in processes}
    assert sums == {f"{cache.load(listed, Preprocessing(16)).images.sum()}\n"}
    lines = log.read_text().splitlines()
    assert len(lines) == len(listed.images) and len({line.split()[0] for line in lines}) == 1


@pytest.mark.slow
def test_a_process_killed_while_decoding_leaves_nothing_that_is_trusted(root, listed, tmp_path, decodes):
    process = start(root, tmp_path / "log", "wait")
    assert process.stdout.readline() == "half way\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = [path for path in (memo.cache_folder() / "splits").iterdir() if path.is_dir()]
    assert len(left) == 1 and entries.entries() == []
    decoded = cache.load(listed, Preprocessing(16))
    assert sorted(decodes) == sorted(listed.images)
    direct = [Preprocessing(16).decode(path.read_bytes(), path) for path in listed.images]
    assert np.array_equal(decoded.images, np.stack(direct))
    assert [entry_folder()] == [entry.folder for entry in entries.entries()]  # what was left is gone


def test_the_longest_unused_goes_first(root, listed, decodes, monkeypatch):
    sizes = (16, 17, 18)
    for age, size in zip((300, 100, 200), sizes, strict=True):
        cache.load(listed, Preprocessing(size))
        newest = max(entries.entries(), key=lambda entry: entry.used)
        os.utime(newest.folder / "entry.json", (newest.used - age, newest.used - age))
    words = [entry.preprocessing for entry in entries.entries()]
    assert words == [Preprocessing(size).words for size in (16, 18, 17)]
    total = sum(entry.size for entry in entries.entries())
    monkeypatch.setenv("WST_CACHE_LIMIT", f"{total}B")
    cache.load(listed, Preprocessing(15))
    words = [entry.preprocessing for entry in entries.entries()]
    assert words == [Preprocessing(size).words for size in (18, 17, 15)]


def test_use_counts_for_eviction(listed):
    cache.load(listed, Preprocessing(16))
    (entry,) = entries.entries()
    os.utime(entry.folder / "entry.json", (1, 1))
    cache.load(listed, Preprocessing(16))
    assert entries.entries()[0].used > 1e9


def test_a_split_that_never_fits_is_refused(listed, monkeypatch):
    monkeypatch.setenv("WST_CACHE_LIMIT", "10KB")
    with pytest.raises(InputError, match=r"WST_CACHE_LIMIT: expected at least .* GB, which .*train800.txt"):
        cache.load(listed, Preprocessing(16))


@pytest.mark.parametrize(
    ("text", "limit"),
    [("20GB", 20 * 10**9), ("1.5 gb", 1_500_000_000), ("100", 100), ("7MB", 7_000_000), ("1GiB", 2**30)],
)
def test_limits(monkeypatch, text, limit):
    monkeypatch.setenv("WST_CACHE_LIMIT", text)
    assert entries.cache_limit() == limit


def test_a_limit_that_is_none(monkeypatch):
    monkeypatch.setenv("WST_CACHE_LIMIT", "much")
    with pytest.raises(InputError, match="WST_CACHE_LIMIT: expected a size such as 20GB; found 'much'"):
        entries.cache_limit()


def test_clear_frees_the_disk_and_leaves_users_alone(listed):
    decoded = cache.load(listed, Preprocessing(16))
    expected = np.array(decoded.images)
    on_disk = sum(entry.size for entry in entries.entries())
    assert entries.clear() == on_disk > 0
    assert entries.entries() == [] and np.array_equal(decoded.images, expected)
    assert np.array_equal(cache.load(listed, Preprocessing(16)).images, expected)


def test_batches(listed):
    decoded = cache.load(listed, Preprocessing(16))
    batches = list(decoded.batches(10))
    assert [len(labels) for _, labels in batches] == [10, 10, 4]
    assert np.array_equal(np.concatenate([images for images, _ in batches]), decoded.images)
    assert all(images.flags.writeable for images, _ in batches)


MEMORY = """
import resource, sys
from pathlib import Path
from wst.data import cache, hashes
from wst.data.decode import Preprocessing
from wst.data.lists import ImageList
paths = sorted(Path(sys.argv[1]).iterdir())
listed = ImageList(Path(sys.argv[1]), tuple(paths) * 40, (0,) * 40 * len(paths))
hashes.content_hash(listed)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decoded = cache.load(listed, Preprocessing(224))
total = sum(int(images[0, 0, 0, 0]) for images, _ in decoded.batches(64))
print(decoded.nbytes, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


@pytest.mark.slow
def test_decoding_and_reading_a_large_split_takes_little_memory(root, listed):
    folder = listed.images[0].parent
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MEMORY, str(folder)]
    out = subprocess.run(command, capture_output=True, text=True, env=environment, check=True).stdout
    size, grown = map(int, out.split())
    assert size > 140_000_000 and grown < 60_000_000


def test_the_guard_holds_whatever_is_cached(root):
    """The test split is refused outside stage final, even when its pixels lie in the cache."""
    assert len(TaskData.of(root, SUITE, TASK).open("test", 16, "final").labels) == TASK.test
    with pytest.raises(splits.TestSplitClosedError):
        TaskData.of(root, SUITE, TASK).open("test", 16, "search")


def test_entries_describe_themselves(listed):
    cache.load(listed, Preprocessing(16))
    (entry,) = entries.entries()
    assert (entry.source, entry.images) == (str(listed.file), len(listed.images))
    record = json.loads((entry.folder / "entry.json").read_text())
    assert record["shape"] == [24, 3, 16, 16]
