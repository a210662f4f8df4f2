"""The documented way from a folder of pictures to an adapter, run as it stands in the docs."""

import re

import pytest

from tests.conftest import ROOT
from tests.data.trees import class_folders
from wst.cli import app as cli


def block(name: str) -> str:
    text = (ROOT / "docs" / "data.md").read_text()
    found = re.search(rf"<!-- {re.escape(name)} -->\n```\w*\n(.*?)```", text, re.DOTALL)
    assert found, name
    return found[1]


@pytest.mark.slow
def test_three_commands(tmp_path, monkeypatch, capsys):
    class_folders(tmp_path / "pets", {"cat": 30, "dog": 30}, size=24)
    (tmp_path / "pets.yaml").write_text(block("pets.yaml"))
    commands = block("commands").splitlines()
    assert len(commands) == 3
    monkeypatch.chdir(tmp_path)
    outputs = []
    for command in commands:
        monkeypatch.setattr("sys.argv", command.split())
        assert command.startswith("wst ")
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        assert end.value.code == 0, printed.err
        outputs.append(printed.out)
    check, tune, predict = outputs
    assert "yes" in check
    assert "pets" in tune and (tmp_path / "runs/pets/ledger").is_dir()
    likeliest = re.findall(r"p\d{3}\.png: (cat|dog) \(\d\.\d\d\)  ", predict)  # the classes differ in colour
    assert len(likeliest) == 30 and likeliest.count("cat") > 20
