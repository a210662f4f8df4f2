"""LaTeX that compiles as it is and looks as papers do."""

from __future__ import annotations

import re
import shutil
import string
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from analysis.latex import check_label, escape, latex
from analysis.leaderboard.board import read_leaderboard
from analysis.leaderboard.table import as_table
from analysis.tables import Column, Estimate, Rounded, Table, of_columns
from tests.analysis.ledgers import Writer, alpha_study
from tests.conftest import ROOT
from wst.cli.group import application
from wst.data.suites import suites
from wst.errors import InputError

BAD = r"50% of $x_1^2$ & {#1} ~ \input{x} <a> |b| [c] *d -- e--- `f' " + '"g" ± † é ß 日本'
TABLE = Table(
    "a title",
    [Column("variant"), Column("digits", "percent", best=True), Column("gain", "difference")],
    [
        {"variant": "one", "digits": Estimate(91.23, 11.5), "gain": -1.234},
        {"variant": "two", "digits": Estimate(91.21, 1.5), "gain": 1.0},
        {"variant": BAD, "digits": Estimate(80.0), "gain": None},
        {"variant": "last", "digits": Estimate(70.0, 0.2), "gain": 0.0},
        {"variant": "† published", "digits": Estimate(99.0), "gain": 0.0},
    ],
    notes=["a note " + BAD, "† published: not run here"],
    unranked=frozenset([4]),
)


def _rows(found: str) -> list[list[str]]:
    lines = found.split("\\midrule\n")[1].split("\n\\bottomrule")[0].splitlines()
    return [line.removesuffix(r" \\").split(" & ") for line in lines]


def test_best_is_bold_second_underlined_and_what_is_shown_as_equal_is_equal() -> None:
    accuracies = [row[-2] for row in _rows(latex(TABLE))]
    assert accuracies[0].startswith(r"\textbf{91.2}") and accuracies[1].startswith(r"\textbf{91.2}")
    assert accuracies[2].startswith(r"\underline{80.0}")
    assert accuracies[3].startswith("70.0 ") and accuracies[4].startswith("99.0 ")


def test_digits_stand_below_digits() -> None:
    one, two, bad, last, _ = (row[-2] for row in _rows(latex(TABLE)))
    assert one.endswith(r"$\pm$11.5}") and two.endswith(r"$\pm$\phantom{0}1.5}")
    assert bad.endswith(r"\phantom{\scriptsize$\pm$00.0}") and last.endswith(r"\phantom{0}0.2}")
    assert [row[-1] for row in _rows(latex(TABLE))] == ["$-$1.23", "$+$1.00", "--", "$+$0.00", "$+$0.00"]


def test_what_tex_would_obey_is_written_out() -> None:
    assert escape(r"a_b%\x") == r"a\_b\%\textbackslash{}x"
    assert escape("--- [x] *") == "-{}-{}- {[}x] {*}"
    assert escape("é 日 \x1b") == r"é \texttt{U+65E5} \textbackslash{}x1b"


def test_notes_are_comments_and_what_a_sign_means_stands_below_the_table() -> None:
    lines = latex(TABLE).splitlines()
    assert lines[1].startswith("% a note 50%")
    assert [line for line in lines if "not run here" in line and line[0] != "%"]


def test_caption_and_label_make_a_table_of_it() -> None:
    plain, captioned = latex(TABLE), latex(TABLE, "100% of _it_", "tab:x")
    assert "table}" not in plain and plain.count(r"\begin{tabular}") == 1
    assert "\\begin{table}\n\\centering\n\\caption{100\\% of \\_it\\_}\n\\label{tab:x}\n" in captioned
    assert captioned.endswith("\\end{table}")
    check_label("tab:a_b-c.1")
    for bad in ("a%b", "a b", "{x}"):
        with pytest.raises(InputError, match=r"--label: expected letters, digits and any of .*; found"):
            check_label(bad)


def test_columns_that_stand_aside_come_when_they_are_asked_for() -> None:
    table = Table(
        "t", [Column("variant"), Column("settings", aside=True)], [{"variant": "v", "settings": "s"}]
    )
    assert _rows(latex(table)) == [["v"]]
    assert _rows(latex(of_columns(table, ["settings", "variant"]))) == [["s", "v"]]


def test_rounded_texts_and_tasks_in_words() -> None:
    table = Table(
        "t", [Column("task"), Column("s")], [{"task": "dsprites_loc", "s": Rounded("lr 1.00e-3", "lr 0.001")}]
    )
    assert _rows(latex(table)) == [["dSpr-Loc", "lr 1.00e-3"]]


@pytest.fixture(scope="module")
def vtab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants on the 19 tasks."""
    folder = tmp_path_factory.mktemp("vtab") / "s"
    tasks = [task.name for task in suites()["vtab1k"].tasks]
    variants = {name: {"method": "linear", "fixed": {"lr": 0.01}} for name in ("one", "two")}
    with (writer := Writer(folder, alpha_study(suite="vtab1k", tasks=tasks, variants=variants))).ledger:
        writer.finals({name: {task: [50 + i, 52 + i] for i, task in enumerate(tasks)} for name in variants})
    return folder


def test_vtab_is_ruled_by_groups_and_named_as_in_papers(vtab: Path) -> None:
    found = latex(as_table(read_leaderboard([vtab])))
    for words in (r"\multicolumn{7}{c}{Natural}", r"\multicolumn{4}{c}{Specialized}"):
        assert words in found
    assert r"\multicolumn{8}{c}{Structured} & \multicolumn{5}{c}{Mean}" in found
    assert r"\cmidrule(lr){2-8} \cmidrule(lr){9-12} \cmidrule(lr){13-20} \cmidrule(lr){21-25}" in found
    names = re.findall(r"\\rotatebox\{90\}\{([^}]*)\}", found)
    assert names[:7] == ["CIFAR-100", "Caltech101", "DTD", "Flowers102", "Pets", "SVHN", "Sun397"]
    assert names[11:19] == [
        *("Clevr-Count", "Clevr-Dist", "DMLab", "KITTI-Dist"),
        *("dSpr-Loc", "dSpr-Ori", "sNORB-Azim", "sNORB-Elev"),
    ]
    assert names[19:] == ["Natural", "Specialized", "Structured", "Groups", "Tasks", "Trainable"]
    row = _rows(found)[0]
    assert row[1] == r"\textbf{51.0}" and r"\pm" in row[-2]  # deviations of means alone: there are many tasks


def test_every_task_that_comes_with_wst_has_a_name_of_papers() -> None:
    for suite in suites().values():
        table = Table("t", [Column("task")], [{"task": task.name} for task in suite.tasks])
        for (words,) in _rows(latex(table)):
            assert words[0].isupper() or words.startswith(("dSpr", "sNORB")), words


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
@pytest.mark.parametrize("packages", ["booktabs", "booktabs,graphicx,siunitx"])
def test_it_compiles_unchanged(packages: str, vtab: Path, tmp_path: Path) -> None:
    demo, mini = ROOT / "docs" / "demo", ROOT / "docs" / "leaderboard-mini"
    commands: list[list[object]] = [
        ["leaderboard", demo, "--caption", BAD, "--label", "tab:demo"],
        ["leaderboard", mini, demo, "--columns", "variant,study,digits,stages,settings,epochs"],
        ["leaderboard", mini, "--side-by-side"],
        ["leaderboard", vtab, "--literature"],
        ["ablation", demo, "--baseline", "linear"],
        ["ablation", demo, "--pairs"],
        ["pareto", demo, "-o", tmp_path / "front.svg"],
        ["importance", demo, "--table", "selection"],
        ["best", demo],
        ["status", demo],
    ]
    pieces = [latex(TABLE, BAD), latex(Table(BAD, [Column(BAD)], [{BAD: s} for s in string.printable]))]
    for command in commands:
        result = CliRunner().invoke(application(), [*map(str, command), "--format", "latex"])
        assert result.exit_code == 0, (command, result.output)
        pieces.append(result.stdout)
    document = "\n\n\\clearpage\n".join(pieces)
    (tmp_path / "paper.tex").write_text(
        f"\\documentclass{{article}}\n\\usepackage{{{packages}}}\n\\begin{{document}}\n{document}\\end{{document}}\n"
    )
    made = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        timeout=120,
        check=False,
    )
    log = made.stdout.decode(errors="replace")
    assert made.returncode == 0, log[-2000:]
    if "graphicx" in packages:
        assert not re.findall(r"Overfull \\hbox.*", log)  # each fits the line
    assert (tmp_path / "paper.pdf").stat().st_size > 10_000
