import hashlib
import json
import multiprocessing
import signal
import threading
import time
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image

from tests.data.vtab1k import mock_archives
from wst.data.check.check import check_tasks
from wst.data.splits import TaskData
from wst.data.suites import find_suite
from wst.data.vtab1k import archives, builder
from wst.data.vtab1k.builder import Options, build_source
from wst.data.vtab1k.sources import SOURCES, Archive
from wst.data.vtab1k.tfds_order import CUTS
from wst.errors import InputError

pytest.importorskip("h5py")
pytest.importorskip("scipy")


@pytest.fixture(scope="module", params=list(mock_archives.MAKERS))
def mock(request, tmp_path_factory):
    return mock_archives.make(request.param, tmp_path_factory.mktemp("archives"))


def build(mock, root, **options):
    return build_source(
        mock.source,
        mock.suite,
        mock.suite.tasks,
        root,
        mock.archives,
        Options(manifest=mock.manifest, jobs=2, **options),
        opener=mock.opener,
    )


def expected_parts(mock):
    """VTAB's splits straight from the rule: sort by MD5 of split name and key, then cut."""
    if mock.source.name == "caltech101":
        return mock.truth
    rule = CUTS[mock.source.name]
    in_order = {
        split: sorted(examples, key=lambda e, s=split: hashlib.md5((s + e.key).encode()).hexdigest())
        for split, examples in mock.truth.items()
    }

    def part(piece, count=None):
        examples = in_order[piece.split]
        start, stop = int(len(examples) * piece.start), int(len(examples) * piece.stop)
        return examples[start:stop][:count]

    return {
        "train": part(rule.train, mock_archives.TRAIN),
        "val": part(rule.val, mock_archives.VAL),
        "test": part(rule.test),
    }


def test_every_image_and_label(mock, tmp_path):
    """All 19 tasks: the right images in the right order, with the labels worked out by hand."""
    built = build(mock, tmp_path)
    assert [b.task for b in built] == [task.name for task in mock.suite.tasks] and all(b.made for b in built)
    parts = expected_parts(mock)
    for task in mock.suite.tasks:
        for split, examples in parts.items():
            listed = TaskData.of(tmp_path, mock.suite, task).list(split)
            assert list(listed.labels) == [example.labels[task.name] for example in examples]
            for path, example in zip(listed.images, examples, strict=True):
                with Image.open(path) as image:
                    assert image.format == "PNG"
                    assert np.array_equal(np.asarray(image.convert("RGB")), example.pixels), example.key
        both = TaskData.of(tmp_path, mock.suite, task).list("trainval")
        assert len(both.images) == mock_archives.TRAIN + mock_archives.VAL
    first = mock.suite.tasks[0]
    for other in mock.suite.tasks[1:]:  # shared images are one file on disk
        for split in parts:
            pairs = zip(
                TaskData.of(tmp_path, mock.suite, first).list(split).images,
                TaskData.of(tmp_path, mock.suite, other).list(split).images,
                strict=True,
            )
            assert all(a.samefile(b) for a, b in pairs)


@pytest.mark.slow
def test_two_builds_are_equal_and_a_third_does_nothing(mock, tmp_path):
    one = build(mock, tmp_path / "one")
    two = build(mock, tmp_path / "two")
    assert [b.record["content"] for b in one] == [b.record["content"] for b in two]
    assert [b.record["data_hash"] for b in one] == [b.record["data_hash"] for b in two]
    again = build(mock, tmp_path / "one")
    assert not any(b.made for b in again) and [b.record for b in again] == [b.record for b in one]
    with pytest.raises(InputError, match="expected a build with the settings"):
        build(mock, tmp_path / "one", original=True)


def test_original_bytes(mock, tmp_path):
    """Decoding is the same whether PNG or the original bytes are written."""
    png, original = build(mock, tmp_path / "png"), build(mock, tmp_path / "original", original=True)
    assert [b.record["pixels"] for b in png] == [b.record["pixels"] for b in original]
    assert all(b.record["encoding"] == "lossless" for b in png)
    if mock.source.lossy:
        assert all(b.record["encoding"] in ("JPEG", "mixed") for b in original)


def build_until_killed(name, archives, root, when, ready):
    """Build in a process of its own; say so and wait when the images, or the lists, are being written."""
    written, replace = 0, builder._replace

    def waiting(file, content, **options):
        nonlocal written
        if (when == "lists" and file.suffix == ".txt") or (when == "images" and written >= 7):
            ready.send("ready")
            time.sleep(60)
        replace(file, content, **options)
        written += 1

    builder._replace = waiting
    build(mock_archives.make(name, archives), root)


@pytest.fixture(scope="module")
def processes():
    """New processes that need not import everything anew: a server that has done so once forks them."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "when"),
    [*((name, "images") for name in mock_archives.MAKERS), ("clevr", "lists"), ("dtd", "lists")],
)
def test_killed_and_resumed(processes, name, when, tmp_path):
    """SIGKILL while images, or after all images, are written; the next build goes on and ends the same."""
    mock = mock_archives.make(name, tmp_path / "archives")
    undisturbed = build(mock, tmp_path / "whole")
    ready, far_end = processes.Pipe(duplex=False)
    arguments = (name, tmp_path / "archives2", tmp_path / "killed", when, far_end)
    process = processes.Process(target=build_until_killed, args=arguments, daemon=True)
    process.start()
    far_end.close()  # so that a process that dies too early is noticed
    assert ready.recv() == "ready"
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    folder = tmp_path / "killed" / mock.suite.folder / mock.suite.tasks[0].folder
    assert not list(folder.glob("*800*.txt")) and not (folder / builder.RECORD).exists()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("[0-9]*.*")}
    assert len(before) > 0 and (when == "lists" or len(before) < 20)
    time.sleep(0.01)
    resumed = build(mock, tmp_path / "killed")
    assert [b.record["content"] for b in resumed] == [b.record["content"] for b in undisturbed]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())  # not written again


def test_the_second_task_of_a_pair_shares_the_images_of_the_first(tmp_path):
    mock = mock_archives.make("clevr", tmp_path / "archives")
    count, distance = mock.suite.tasks
    for task in (count, distance):
        build_source(mock.source, mock.suite, [task], tmp_path, mock.archives)
    for split in ("train", "val", "test"):
        pairs = [TaskData.of(tmp_path, mock.suite, task).list(split).images for task in (count, distance)]
        assert all(a.samefile(b) for a, b in zip(*pairs, strict=True))


def test_archives_that_are_missing_damaged_or_wrong(tmp_path):
    mock = mock_archives.make("eurosat", tmp_path / "archives")
    file = mock.archives / "eurosat" / "EuroSAT.zip"
    content = file.read_bytes()

    def source(**known):
        return replace(mock.source, archives=(replace(mock.source.archives[0], **known),))

    def attempt(source_):
        build_source(source_, mock.suite, mock.suite.tasks, tmp_path, mock.archives)

    with pytest.raises(InputError, match=rf"EuroSAT.zip: expected 5 bytes; found {len(content):,} "):
        attempt(source(size=5))
    with pytest.raises(InputError, match=r"EuroSAT.zip: expected SHA-256 0+; found [0-9a-f]{64}"):
        attempt(source(sha256="0" * 64))
    file.write_bytes(content[:-2000])
    with pytest.raises(InputError, match="expected a whole zip archive"):
        attempt(mock.source)
    file.unlink()
    with pytest.raises(InputError, match=r"eurosat: expected EuroSAT.zip in .*; found none \(from http"):
        attempt(mock.source)


def test_a_tar_archive_that_is_cut_off(tmp_path):
    mock = mock_archives.make("dtd", tmp_path / "archives")
    file = mock.archives / "dtd" / "dtd-r1.0.1.tar.gz"
    file.write_bytes(file.read_bytes()[:-3000])
    with pytest.raises(InputError, match="expected a whole tar archive"):
        build(mock, tmp_path)


def test_caltech_needs_a_manifest(tmp_path):
    mock = mock_archives.make("caltech101", tmp_path / "archives")
    with pytest.raises(InputError, match=r"--manifest: .*cannot be recomputed"):
        build(replace_manifest(mock, None), tmp_path)
    bad = tmp_path / "manifest.txt"
    bad.write_text("train nosuchclass/image_0001.jpg\n")
    with pytest.raises(InputError, match=r"manifest.txt, line 1: expected a split"):
        build(replace_manifest(mock, bad), tmp_path)


def replace_manifest(mock, manifest):
    return replace(mock, manifest=manifest)


def test_other_data_is_not_written_over(tmp_path):
    mock = mock_archives.make("eurosat", tmp_path / "archives")
    folder = tmp_path / "vtab-1k" / "eurosat"
    folder.mkdir(parents=True)
    (folder / "train800.txt").write_text("mine\n")
    with pytest.raises(InputError, match="found other data"):
        build(mock, tmp_path)
    assert (folder / "train800.txt").read_text() == "mine\n"


def test_the_record_says_what_was_found(tmp_path):
    mock = mock_archives.make("svhn_cropped", tmp_path / "archives")
    (built,) = build(mock, tmp_path)
    record = json.loads((built.folder / builder.RECORD).read_text())
    files = (mock.archives / "svhn_cropped").iterdir()
    assert record["archives"] == {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    labels = [example.labels["svhn"] for example in expected_parts(mock)["test"]]
    assert record["histogram"]["test"] == np.bincount(labels, minlength=10).tolist()
    (report,) = check_tasks([TaskData.of(tmp_path, mock.suite, t) for t in mock.suite.tasks])
    assert record["data_hash"] == report.data_hash is not None


def test_fetch_with_torchvision(tmp_path):
    """From this machine, since tests have no network."""
    content = b"an archive"
    (tmp_path / "there.zip").write_bytes(content)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        good = Archive("here.zip", f"{address}there.zip", len(content))
        source = replace(SOURCES["eurosat"], archives=(good,))
        archives.fetch(source, tmp_path / "archives")
        assert archives.find(source, tmp_path / "archives")["here.zip"].read_bytes() == content
        dead = replace(source, archives=(replace(good, name="no.zip", url=f"{address}no.zip"),))
        with pytest.raises(InputError, match=r"no.zip: expected a download; found .*404"):
            archives.fetch(dead, tmp_path / "archives")
        server.shutdown()


def test_every_task_has_a_source_and_an_opener():
    assert {task.source for task in find_suite("vtab1k").tasks} == set(SOURCES) == set(builder.OPENERS)
    assert set(SOURCES) - set(CUTS) == {"caltech101"}


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
@pytest.mark.parametrize("name", [builder.RECORD, builder.BEGUN])
def test_a_damaged_record_is_made_again(tmp_path, name, content, caplog):
    """A loss of power may leave it empty."""
    mock = mock_archives.make("cifar100", tmp_path / "archives")
    (first,) = build(mock, tmp_path)
    whole = (first.folder / builder.RECORD).read_bytes()
    (first.folder / builder.RECORD).unlink()
    (first.folder / name).write_bytes(content)
    (again,) = build(mock, tmp_path)
    assert again.made and (first.folder / builder.RECORD).read_bytes() == whole
    assert not (first.folder / builder.BEGUN).exists()
    assert set(caplog.messages) == {
        f"{first.folder / name}: expected the record of a build; found a damaged file: made again"
    }


@pytest.mark.parametrize("content", [b"", b"\0" * 100])
def test_an_image_that_a_cut_off_build_left_spoilt_is_written_again(tmp_path, content):
    mock = mock_archives.make("cifar100", tmp_path / "archives")
    (first,) = build(mock, tmp_path)
    path = first.folder / "images/test/000002.png"
    whole = path.read_bytes()
    path.write_bytes(content)
    (first.folder / builder.RECORD).rename(first.folder / builder.BEGUN)
    (first.folder / builder.BEGUN).write_text(json.dumps(first.record["settings"]))
    (again,) = build(mock, tmp_path)
    assert again.record["data_hash"] == first.record["data_hash"] and path.read_bytes() == whole
