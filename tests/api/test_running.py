"""Studies and single fine-tunes from Python."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import wst
from wst.errors import InputError

LINEAR = {"method": "linear", "fixed": {"lr": 0.01}}
STUDY = {
    "name": "small",
    "suite": "mini",
    "tasks": ["digits"],
    "backbone": "micro",
    "variants": {"linear": LINEAR, "lora": {"method": "lora", "fixed": {"lr": 0.01}}},
    "recipe": {"epochs": 1, "warmup_epochs": 0},
    "final": {"seeds": 1},
}


@pytest.mark.slow
def test_a_study_stops_in_time_goes_on_and_is_read_when_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    begun = wst.tune(STUDY, inline=True, stop_after=1e-6)
    assert begun.folders == (Path("runs/small"),) and begun.status()["left"].sum() == 2
    ranked: list[dict[str, object]] = []
    heard = "wst.trackers.tensorboard.TensorBoard.ranked"
    monkeypatch.setattr(heard, lambda _, rows: ranked.extend(rows))
    results = wst.tune(wst.Study(STUDY), inline=True, track=["tensorboard"])
    assert results.status()["left"].sum() == 0
    assert {row["variant"] for row in ranked} == {"linear", "lora"}
    assert set(results.leaderboard()["variant"]) == {"linear", "lora"}
    assert "2/2 trials" in capsys.readouterr().out
    again = wst.tune(STUDY, "runs/small", inline=True, quiet=True)
    assert again.trials()["ended"].tolist() == results.trials()["ended"].tolist()
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_trials_that_failed_are_a_warning(tmp_path: Path) -> None:
    study = {**STUDY, "variants": {"wild": {"method": "lora", "fixed": {"lr": 1e30}}}}
    with pytest.warns(UserWarning) as told:
        results = wst.tune(study, tmp_path / "out", inline=True, quiet=True)
    own = [str(one.message) for one in told if one.filename == __file__]
    assert own[0].startswith("1 trials failed: ") and "every trial failed of digits, wild" in own[1]
    assert results.trials()["state"].tolist() == ["failed"]
    with pytest.raises(RuntimeError, match=r"DivergedError: "):
        wst.train("digits", "lora", lr=1e30, epochs=1, out=tmp_path / "once", quiet=True)


@pytest.mark.slow
def test_one_configuration_is_trained_and_predicts(tmp_path: Path, mini_root: Path) -> None:
    trained = wst.train(
        "digits", "linear", lr=0.05, epochs=5, final=True, save=True, out=tmp_path / "out", quiet=True
    )
    assert trained.test_top1 is not None and trained.test_top1 > 0.6 and trained.val_top1 is None
    assert trained.epochs["epoch"].tolist() == [1, 2, 3, 4, 5] and trained.settings["lr"] == 0.05
    assert wst.open(trained.folder).trials()["trial_id"].tolist() == [trained.trial_id]
    files = sorted((mini_root / "mini/digits/images/test").iterdir())[:3]
    found = trained.predictor().predict([str(files[0]), files[1], Image.open(files[2])])
    assert [one.name for one in found] == [one.name for one in trained.predictor().predict(files)]
    first = found[0]
    assert next(iter(first.probabilities)) == first.name and set(first.probabilities) == set("0123456789")
    assert sum(first.probabilities.values()) == pytest.approx(1, abs=1e-4)
    assert first.probability == max(first.probabilities.values())
    (alone,) = trained.predictor().predict(files[0])
    assert alone.name == first.name and alone.probability == pytest.approx(first.probability)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: wst.train("digit", lr=0.1), r"task: expected .*\(did you mean 'digits'\?\)"),
        (lambda: wst.train("digits", "lroa", lr=0.1), r"method: expected .*\(did you mean 'lora'\?\)"),
        (
            lambda: wst.train("digits", "lora", lr=0.1, rnk=3),
            "expected hyperparameters of lora .*found 'rnk'",
        ),
        (lambda: wst.train("digits", "lora", lr=0.1, save=True), "save: expected final=True"),
        (lambda: wst.train("digits", lr=0.1, recipe={"epoch": 1}), r"recipe: .*\(did you mean 'epochs'\?\)"),
        (lambda: wst.tune("dmo"), r"dmo: expected a YAML file .*\(did you mean 'demo'\?\)"),
        (lambda: wst.tune({**STUDY, "sede": 1}), r"study: expected only the keys .*mean 'seed'\?\)"),
        (lambda: wst.tune(STUDY, stop_after="3x"), "stop_after: expected a duration"),
        (lambda: wst.tune(STUDY, inline=True, address="auto"), "inline: expected no address"),
        (lambda: wst.tune(3), "study: expected a path, a name or a mapping; found 3"),  # type: ignore[arg-type]
    ],
)
def test_a_mistake_gets_one_line(
    call: object, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=line) as error:
        call()  # type: ignore[operator]
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())
