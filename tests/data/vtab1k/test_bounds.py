"""Archives that name places outside themselves, hold what is no file, or unpack without end."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from wst.data.vtab1k import bounds
from wst.data.vtab1k.formats import norb_matrix, open_zip, pick, pick_zip, tar_members, tfrecords, unpacked
from wst.errors import InputError


def tar(path: Path, name: str, content: bytes = b"x", form: int = tarfile.PAX_FORMAT, **changes: Any) -> Path:
    """A good member, and one that is made of the changes."""
    with tarfile.open(path, "w:gz", format=form) as archive:
        for member, text in ((tarfile.TarInfo("a/good.txt"), b"good"), (tarfile.TarInfo(name), content)):
            member.size = len(text)
            for key, value in changes.items() if member.name == name else ():
                setattr(member, key, value)
            archive.addfile(member, io.BytesIO(text))
    return path


@pytest.mark.parametrize(
    ("name", "changes", "found"),
    [
        ("../out.txt", {}, "expected members inside the archive; found '../out.txt'"),
        ("a/../../out.txt", {}, "expected members inside the archive; found 'a/../../out.txt'"),
        ("/etc/passwd", {}, "expected members inside the archive; found '/etc/passwd'"),
        ("..\\out.txt", {}, "expected members inside the archive; found"),
        ("C:\\out.txt", {}, "expected members inside the archive; found"),
        (
            "a/l",
            {"type": tarfile.SYMTYPE, "linkname": "../../etc/passwd"},
            "expected links inside the archive",
        ),
        ("a/l", {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}, "expected links inside the archive"),
        ("a/l", {"type": tarfile.LNKTYPE, "linkname": "../good.txt"}, "expected links inside the archive"),
        ("a/pipe", {"type": tarfile.FIFOTYPE}, "found a device or pipe, 'a/pipe'"),
        ("a/disk", {"type": tarfile.BLKTYPE}, "found a device or pipe, 'a/disk'"),
        ("a/tty", {"type": tarfile.CHRTYPE}, "found a device or pipe, 'a/tty'"),
    ],
)
def test_tar_members_that_are_refused(tmp_path, name, changes, found):
    archive = tar(tmp_path / "a.tar.gz", name, **changes)
    with pytest.raises(InputError) as error:
        list(tar_members(archive))
    assert str(error.value).startswith(f"{archive}: ") and found in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_a_link_inside_is_passed_over(tmp_path, kind):
    archive = tar(
        tmp_path / "a.tar.gz", "a/l", type=kind, linkname="good.txt" if kind == b"2" else "a/good.txt"
    )
    assert [name for name, _ in tar_members(archive)] == ["a/good.txt"]


def test_a_tar_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "_ROOM", 1000)
    archive = tar(tmp_path / "a.tar.gz", "a/zeros", bytes(2_000_000))
    assert archive.stat().st_size * 200 < 2_000_000
    with pytest.raises(InputError, match=r"a.tar.gz: expected at most .* GB when unpacked; found more"):
        list(tar_members(archive))


def test_a_tar_of_very_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "MOST_MEMBERS", 1)
    with pytest.raises(InputError, match="expected at most 1 members; found more"):
        list(tar_members(tar(tmp_path / "a.tar.gz", "b")))


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_a_tar_header_that_fills_the_memory(tmp_path, form):
    archive = tar(tmp_path / "a.tar.gz", "a/" + "x" * 2_000_000, form=form)
    with pytest.raises(InputError, match="expected headers of at most 1 MB; found 2,000,0"):
        list(tar_members(archive))


def test_a_member_that_is_too_large_to_be_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "MOST_OF_A_MEMBER", 100)
    archive = tar(tmp_path / "a.tar.gz", "a/large", bytes(101))
    with pytest.raises(InputError, match=r"a.tar.gz: a/large: expected at most 0.0 GB; found more"):
        list(pick(tar_members(archive), {"a/large": 0}, archive))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr("large", bytes(101))
    with (
        open_zip(tmp_path / "a.zip") as opened,
        pytest.raises(InputError, match=r"a.zip: large: expected at most"),
    ):
        list(pick_zip(opened, {"large": 0}, tmp_path / "a.zip"))


def _zip(path: Path, name: str, mode: int = 0, content: bytes = b"x") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
    return path


@pytest.mark.parametrize(
    ("name", "mode", "found"),
    [
        ("../out.txt", 0, "expected members inside the archive"),
        ("/etc/passwd", 0, "expected members inside the archive"),
        ("a/link", stat.S_IFLNK | 0o777, "found a link, device or pipe, 'a/link'"),
        ("a/pipe", stat.S_IFIFO | 0o644, "found a link, device or pipe, 'a/pipe'"),
    ],
)
def test_zip_members_that_are_refused(tmp_path, name, mode, found):
    with pytest.raises(InputError, match=found):
        open_zip(_zip(tmp_path / "a.zip", name, mode))
    with open_zip(_zip(tmp_path / "b.zip", "a/good", stat.S_IFREG | 0o644)) as opened:
        assert opened.namelist() == ["a/good"]


def test_a_zip_bomb(tmp_path, monkeypatch):
    monkeypatch.setattr(bounds, "_ROOM", 1000)
    archive = _zip(tmp_path / "a.zip", "zeros", content=bytes(2_000_000))
    with pytest.raises(InputError, match=r"a.zip: expected at most .* GB when unpacked; found more"):
        open_zip(archive)


def test_a_zip_whose_member_is_damaged(tmp_path):
    archive = _zip(tmp_path / "a.zip", "good", content=bytes(range(256)) * 8)
    content = bytearray(archive.read_bytes())
    content[50:60] = b"\xff" * 10
    archive.write_bytes(content)
    with open_zip(archive) as opened, pytest.raises(InputError, match="good: expected a whole member; found"):
        list(pick_zip(opened, {"good": 0}, archive))


def test_a_gzip_bomb_and_a_damaged_one(tmp_path, monkeypatch):
    file = tmp_path / "a.gz"
    file.write_bytes(gzip.compress(bytes(5_000_000)))
    assert len(b"".join(unpacked(file))) == 5_000_000
    monkeypatch.setattr(bounds, "_ROOM", 1000)
    with pytest.raises(InputError, match=r"a.gz: expected at most .* GB when unpacked; found more"):
        norb_matrix(file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=r"a.gz: expected a whole gzip file; found a damaged one"):
        norb_matrix(file)


@pytest.mark.parametrize("shape", [(-1, 2, 2), (2**30, 2**30, 2**30), (4, 4, 4)])
def test_a_norb_matrix_that_says_more_than_it_has(tmp_path, shape):
    header = b"".join(n.to_bytes(4, "little", signed=True) for n in (0x1E3D4C55, 3, *shape))
    (tmp_path / "a.gz").write_bytes(gzip.compress(header + bytes(20)))
    with pytest.raises(InputError, match=r"a.gz: expected a whole NORB matrix; found 40 bytes"):
        norb_matrix(tmp_path / "a.gz")


def test_a_record_that_says_it_is_endless():
    with pytest.raises(InputError, match="expected whole records"):
        list(tfrecords(io.BytesIO((2**63).to_bytes(8, "little") + bytes(20))))
