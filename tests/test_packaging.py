"""The wheel carries all that the commands need, and works outside the clone."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

import wst
from tests.conftest import ROOT


@pytest.mark.slow
def test_wheel_works_outside_the_clone(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist")]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import wst, analysis\n"
        "assert wst.__file__.startswith(sys.argv[1]) and analysis.__file__.startswith(sys.argv[1])\n"
        "from wst.shipped import shipped_names\n"
        "from wst.study import load_study\n"
        "assert 'demo' in shipped_names('studies') and 'wst' in shipped_names('search_spaces')\n"
        "assert 'released/vit_base' in shipped_names('settings')\n"
        "assert 'released' in shipped_names('recipes')\n"
        "assert load_study('demo').variants['wst-r2'].space\n"
        "model = wst.create_model('micro', num_classes=2)\n"
        "from wst.data import mini\n"
        "images, labels = mini._images_of(mini.MINI.task('digits'))\n"
        "assert images.shape == (1797, 8, 8) and len(labels) == 1797\n"
    )
    where = tmp_path / "elsewhere"
    where.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")],
        cwd=where,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    names = zipfile.ZipFile(wheel).namelist()
    assert "wst/py.typed" in names and not any(name.startswith("tests/") for name in names)


def test_clone_holds_no_large_file() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    for name in filter(None, listed.stdout.split("\0")):
        path = ROOT / name
        assert not path.is_file() or path.stat().st_size <= 5_000_000, name


def test_citation_is_of_this_version() -> None:
    """What the Citation File Format 1.2.0 requires, and the paper of the method."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation.keys() >= {"cff-version", "message", "title", "authors"}
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert citation["version"] == wst.__version__
    assert f"## {wst.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    (paper,) = citation["references"]
    assert paper.keys() >= {"type", "title", "authors"} and paper["doi"] == "10.1609/aaai.v39i21.34387"
