from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer
from tensorboard.plugins.hparams import plugin_data_pb2

from tests.curves import curve
from wst.errors import InputError
from wst.records import Epoch, Intent, Outcome
from wst.trackers import LIBRARIES, Tracker, Trackers, is_installed, names, open_tracker, run_id


def _intent(number: int = 0, stage: Any = "search", **hyperparameters: Any) -> Intent:
    settings = {"lr": 0.01, "drop_path": 0.2, **hyperparameters}
    trial_id = f"digits.wst-r2.{stage}.{number:04d}"
    return Intent(trial_id, "digits", "wst-r2", stage, number, number, 3, settings)


class Recorder(Tracker):
    """A tracker as a user may write one: it hears of what it overrides."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def start(self, intent: Intent) -> None:
        self.heard.append(("start", intent.trial_id))

    def epochs(self, intent: Intent, epochs: Any) -> None:
        self.heard.append(("epochs", intent.trial_id, [epoch.epoch for epoch in epochs]))

    def end(self, intent: Intent, outcome: Outcome) -> None:
        self.heard.append(("end", intent.trial_id, outcome.state))

    def ranked(self, rows: Any) -> None:
        self.heard.append(("ranked", rows))

    def close(self) -> None:
        self.heard.append(("close",))


def _tell_all(tracker: Tracker, intent: Intent, epochs: list[Epoch]) -> None:
    tracker.start(intent)
    tracker.epochs(intent, epochs[:2])
    tracker.epochs(intent, epochs[2:])
    tracker.end(intent, Outcome("completed", epochs=tuple(epochs)))


def test_names_are_the_files_and_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, wst.trackers\n"
        "assert all(wst.trackers.is_installed(name) for name in wst.trackers.names())\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'torch', 'tensorboard', 'tensorboardX', 'mlflow', 'wandb', 'ray'}, loaded\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr


def test_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"^tracker: .* tensorboard.*; found 'tensorbord' \(did you mean 'tensorboard'\?\)$",
    ):
        open_tracker("tensorbord", tmp_path, "mine")


def test_name_is_no_path(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected one of"):
        open_tracker("..ledger", tmp_path, "mine")


@pytest.mark.parametrize("name", LIBRARIES)
def test_missing_library_is_said_with_the_command_that_brings_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in list(sys.modules):
        if module == f"wst.trackers.{name}" or module.startswith("torch.utils.tensorboard"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, name, None)
    expected = rf"^tracker {name}: expected its library \(pip install 'wst\[{name}\]'\); found no module"
    with pytest.raises(InputError, match=expected):
        open_tracker(name, tmp_path, "mine")


def test_folder_that_is_called_like_a_library_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W&B's own scripts leave a folder ``wandb`` where they run."""
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    assert not is_installed("wandb")


def test_what_a_library_says_to_the_users_settings_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise ValueError("no such\nmode")

    monkeypatch.setattr("wst.trackers.tensorboard.tracker", refuse)
    with pytest.raises(InputError, match=r"^tracker tensorboard: .*; found ValueError: no such mode$"):
        open_tracker("tensorboard", tmp_path, "mine")


def test_ids_of_runs_stay_with_the_study(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    found = run_id(tmp_path / "one", "digits.wst.search.0000")
    assert found != run_id(tmp_path / "one", "digits.wst.search.0001")
    assert found != run_id(tmp_path / "two", "digits.wst.search.0000")
    (tmp_path / "one").rename(tmp_path / "moved")
    assert run_id(tmp_path / "moved", "digits.wst.search.0000") == found


def test_own_tracker_hears_of_everything_in_order() -> None:
    recorder, intent = Recorder(), _intent()
    with Trackers([recorder]) as trackers:
        _tell_all(trackers, intent, curve(intent, 3))
        trackers.epochs(intent, [])  # a report without new epochs
        trackers.ranked([{"variant": "wst-r2"}])
    trackers.close()  # again
    assert recorder.heard == [
        ("start", intent.trial_id),
        ("epochs", intent.trial_id, [1, 2]),
        ("epochs", intent.trial_id, [3]),
        ("end", intent.trial_id, "completed"),
        ("ranked", [{"variant": "wst-r2"}]),
        ("close",),
    ]


def test_methods_that_are_not_overridden_do_nothing() -> None:
    intent = _intent()
    with Trackers([Tracker()]) as trackers:
        _tell_all(trackers, intent, curve(intent, 3))
        trackers.ranked([])


@pytest.mark.parametrize("method", ["start", "epochs", "end", "close"])
def test_tracker_that_raises_is_dropped_with_one_line(
    method: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken, sound, intent = Recorder(), Recorder(), _intent()

    def fail(*_: object) -> None:
        broken.heard.append((method, "raised"))
        raise OSError("no space\nleft")

    monkeypatch.setattr(broken, method, fail)
    with caplog.at_level(logging.WARNING), Trackers([broken, sound]) as trackers:
        for number in range(2):
            _tell_all(trackers, _intent(number), curve(intent, 3))
    assert len(sound.heard) == 2 * 4 + 1
    assert broken.heard.count((method, "raised")) == 1
    assert broken.heard[-1] == ((method, "raised") if method == "close" else ("close",))
    (record,) = caplog.records
    assert record.getMessage() == (
        f"tracker tests.trackers.test_trackers: OSError in {method}: no space left; "
        "the study goes on without it"
    )


def test_interruption_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(recorder, "start", interrupt)
    with pytest.raises(KeyboardInterrupt):
        Trackers([recorder]).start(_intent())


def _read(folder: Path, trial_id: str) -> EventAccumulator:
    found = EventAccumulator(str(folder / "tensorboard" / trial_id), size_guidance={"scalars": 0})
    found.Reload()
    return found


def _points(found: EventAccumulator, name: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in found.Scalars(name)]


def test_tensorboard_gets_every_curve_and_the_last_metrics(tmp_path: Path) -> None:
    search, final = _intent(stage="search"), _intent(stage="final")
    tracker = open_tracker("tensorboard", tmp_path, "mine")
    epochs, last = curve(search, 4), curve(final, 4)
    tested = Outcome("completed", epochs=tuple(last), test_top1=0.8, test_images=797)
    tracker.start(search)
    tracker.start(final)  # at the same time
    for intent, outcome in ((search, Outcome("pruned", epochs=tuple(epochs))), (final, tested)):
        for epoch in outcome.epochs:
            tracker.epochs(intent, [epoch])
        tracker.end(intent, outcome)
    tracker.close()
    found = _read(tmp_path, search.trial_id)
    assert set(found.Tags()["scalars"]) == {"val_top1", "val_loss", "train_loss", "lr"}
    for name in ("val_top1", "val_loss", "train_loss", "lr"):
        assert _points(found, name) == [(epoch.epoch, getattr(epoch, name)) for epoch in epochs]
    found = _read(tmp_path, final.trial_id)
    assert set(found.Tags()["scalars"]) == {"train_loss", "lr", "test_top1"}  # no validation split in final
    assert _points(found, "test_top1") == [(4, 0.8)]


def test_tensorboard_shows_hyperparameters_of_every_variant(tmp_path: Path) -> None:
    """No run's list of columns stands for all: TensorBoard would take the first one it meets."""
    tracker = open_tracker("tensorboard", tmp_path, "mine")
    for number, settings in enumerate(({}, {"scale": 0.1, "downsampling": "dwt"})):
        intent = _intent(number, **settings)
        _tell_all(tracker, intent, curve(intent, 2))
    tracker.close()
    runs = EventMultiplexer().AddRunsFromDirectory(str(tmp_path / "tensorboard"))
    runs.Reload()
    tags = {run: found["_hparams_/session_start_info"] for run, found in _hparams(runs).items()}
    second = tags["digits.wst-r2.search.0001"].session_start_info.hparams
    values = {name: value.number_value or value.string_value for name, value in second.items()}
    assert values == {
        "task": "digits",
        "variant": "wst-r2",
        "stage": "search",
        "seed": 3,
        "lr": 0.01,
        "drop_path": 0.2,
        "scale": 0.1,
        "downsampling": "dwt",
        "state": "completed",
    }
    assert set(tags) == {"digits.wst-r2.search.0000", "digits.wst-r2.search.0001"}
    assert all("_hparams_/experiment" not in found for found in _hparams(runs).values())


def _hparams(runs: EventMultiplexer) -> dict[str, dict[str, plugin_data_pb2.HParamsPluginData]]:
    return {
        run: {
            tag: plugin_data_pb2.HParamsPluginData.FromString(content)
            for tag, content in found.items()
            if tag.startswith("_hparams_/")
        }
        for run, found in runs.PluginRunToTagToContent("hparams").items()
    }


def test_curve_that_is_sent_again_stands_once(tmp_path: Path) -> None:
    """The study was killed, no tracker was closed; the trial goes on and sends what came before."""
    intent = _intent()
    epochs = curve(intent, 4)
    killed = open_tracker("tensorboard", tmp_path, "mine")
    killed.start(intent)
    killed.epochs(intent, epochs[:3])
    again = open_tracker("tensorboard", tmp_path, "mine")
    _tell_all(again, intent, epochs)
    again.close()
    assert _points(_read(tmp_path, intent.trial_id), "val_top1") == [(e.epoch, e.val_top1) for e in epochs]
    killed.close()


def test_trial_that_starts_again_in_the_same_study_keeps_its_curve(tmp_path: Path) -> None:
    """After running out of memory: the driver has the first epochs and does not send them again."""
    intent = _intent()
    epochs = curve(intent, 4)
    tracker = open_tracker("tensorboard", tmp_path, "mine")
    tracker.start(intent)
    tracker.epochs(intent, epochs[:2])
    tracker.start(intent)
    tracker.epochs(intent, epochs[2:])
    tracker.end(intent, Outcome("completed", epochs=tuple(epochs)))
    assert _points(_read(tmp_path, intent.trial_id), "lr") == [(e.epoch, e.lr) for e in epochs]


def test_failed_and_unfinished_trials_leave_readable_runs(tmp_path: Path) -> None:
    failed, running = _intent(0), _intent(1)
    with Trackers([open_tracker("tensorboard", tmp_path, "mine")]) as trackers:
        trackers.start(failed)
        trackers.end(failed, Outcome("failed", error_type="ValueError"))
        trackers.start(running)
        trackers.epochs(running, curve(running, 2))
    assert _read(tmp_path, failed.trial_id).Tags()["scalars"] == []
    assert len(_points(_read(tmp_path, running.trial_id), "lr")) == 2


def test_not_a_number_is_written_as_such(tmp_path: Path) -> None:
    intent = _intent()
    epoch = replace(curve(intent, 1)[0], train_loss=float("nan"))
    with Trackers([open_tracker("tensorboard", tmp_path, "mine")]) as trackers:
        _tell_all(trackers, intent, [epoch])
    (event,) = _read(tmp_path, intent.trial_id).Scalars("train_loss")
    assert event.value != event.value


def test_every_tracker_has_its_function() -> None:
    assert names() == ["mlflow", "tensorboard", "wandb"]
