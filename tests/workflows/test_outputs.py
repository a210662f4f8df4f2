"""Files written where the user says: new ones, whole, and never in the place of what a study keeps."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.commands import Wst, caller
from wst.errors import InputError
from wst.workflows.outputs import check_output, whole


@pytest.fixture
def wst(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wst:
    return caller(monkeypatch, capsys)


def test_a_file_that_exists_is_replaced_only_with_force(tmp_path: Path) -> None:
    path = tmp_path / "x.html"
    check_output("-o", path, endings=(".html",))
    path.write_text("mine")
    with pytest.raises(InputError, match=r"-o: .*x.html: expected a new file; .* \(--force replaces it\)"):
        check_output("-o", path)
    check_output("-o", path, force=True)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="expected a new file"):
        check_output("-o", tmp_path / "dangling")
    with pytest.raises(InputError, match="expected a file; found a folder"):
        check_output("-o", tmp_path, force=True)
    with pytest.raises(InputError, match="expected a file; found something else"):
        check_output("-o", Path("/dev/null"), force=True)
    with pytest.raises(InputError, match=r"expected a file ending in .png; found 'x.html'"):
        check_output("-o", path, force=True, endings=(".png",))


@pytest.mark.parametrize(
    "inside",
    [
        "study.yaml",
        "ledger/x.html",
        "ledger/trials/x.html",
        "adapters/x",
        "checkpoints/x.pt",
        ".lock",
        "ledger-3/x",
    ],
)
def test_what_a_study_keeps_is_never_written_to(tmp_path: Path, inside: str) -> None:
    study = tmp_path / "s"
    (study / "ledger").mkdir(parents=True)
    (study / "study.yaml").write_text("name: s")
    (tmp_path / "link").symlink_to(study)
    for folder in (study, tmp_path / "link", study / "x" / ".."):
        with pytest.raises(InputError, match="expected a place outside what a study keeps"):
            check_output("-o", folder / inside, force=True)
    check_output("-o", study / "report.html")
    check_output("-o", tmp_path / "ledger" / "x.html")


def test_a_file_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.png"
    with pytest.raises(ValueError, match="half"), whole(path) as aside:
        aside.write_text("half")
        raise ValueError("half")
    assert list(tmp_path.iterdir()) == []
    with whole(path) as aside:
        assert aside.suffix == ".png"
        aside.write_text("all")
    assert [one.name for one in path.parent.iterdir()] == ["x.png"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "name"),
    [("report", "r.html"), ("pareto", "p.svg"), ("best", "b.yaml"), ("export optuna", "s.db")],
)
def test_each_verb_that_writes_a_file(wst: Wst, alpha: Path, tmp_path: Path, verb: str, name: str) -> None:
    study, out = tmp_path / "study", tmp_path / "there" / name
    shutil.copytree(alpha, study, symlinks=True)
    out.parent.mkdir()
    out.write_text("mine")
    before = (study / "study.yaml").read_bytes()
    refused = wst(*verb.split(), study, "-o", out)
    assert refused.status == 2 and "(--force replaces it)" in refused.err and out.read_text() == "mine"
    for own in ("study.yaml", f"ledger/{name}"):
        result = wst(*verb.split(), study, "-o", study / own, "--force")
        assert result.status == 2 and result.err.count("\n") == 1
    assert (study / "study.yaml").read_bytes() == before and not (study / "ledger" / name).exists()
    done = wst(*verb.split(), study, "-o", out, "--force")
    assert done.status == 0, done.err
    assert out.read_bytes() != b"mine" and list(out.parent.iterdir()) == [out]
