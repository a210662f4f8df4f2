"""Whatever stands at any key of a study file: taken, and it stands the start's checks, or one line."""

from __future__ import annotations

import importlib
import pkgutil
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wst.study
from tests.data.trees import class_folders
from tests.generated import Place, as_yaml, check_line, examples, in_time, names_in, values
from tests.study.studies import study_places
from wst.errors import InputError
from wst.ledger import Ledger, provenance
from wst.planning.planner import Planner
from wst.study import load_study
from wst.workflows.preflight import check, parameter_counter
from wst.workflows.settings import typed
from wst.workflows.warm_start import resolve_warm_starts
from wst.yaml_files import Strict

PLACES = study_places(Path("digits"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where study files lie beside a small suite, and commands run."""
    folder = tmp_path_factory.mktemp("keys")
    class_folders(folder / "digits", {"cat": 5, "dog": 5}, size=8)
    (folder / "cwd").mkdir()
    return folder


def _begin(file: Path, out: Path) -> None:
    """All that happens before a study's first trial runs."""
    study = load_study(str(file))
    file.write_text(study.to_yaml())
    assert load_study(str(file)) == study
    study = typed(resolve_warm_starts(study))
    check(study, None)
    with Ledger(out, study, provenance.code()):
        Planner(study, count_parameters=parameter_counter(study)).ask()


@pytest.mark.slow  # 178 places
@pytest.mark.parametrize("place", PLACES, ids=str)
@given(data=st.data())
@examples(3)
def test_it_is_taken_or_refused_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, place: Place, data: st.DataObject
) -> None:
    file, out = folder / "study.yaml", folder / "out"
    content = as_yaml(place.around(data.draw(values(place))))
    file.write_text(content, encoding="utf-8", errors="surrogatepass")
    monkeypatch.chdir(folder / "cwd")
    try:
        with in_time():
            _begin(file, out)
    except InputError as error:
        check_line(error)
        assert not out.exists()
    assert names_in(folder) - {"out"} == {"study.yaml", "digits", "cwd"}
    assert not names_in()
    shutil.rmtree(out, ignore_errors=True)


@pytest.mark.parametrize("place", [p for p in PLACES if p.is_model], ids=str)
def test_the_rest_of_the_file_is_as_it_should_be(folder: Path, place: Place) -> None:
    """Otherwise each value would be refused for what lacks beside it."""
    keys = [p for p in PLACES if p.keys[:-1] == place.keys and p.near and p.near[0] is not None]
    for one in keys or [place]:
        value: Any = one.near[0] if keys else {}
        (folder / "study.yaml").write_text(as_yaml(one.around(value)))
        load_study(str(folder / "study.yaml"))


def test_every_key_of_every_model_is_a_place() -> None:
    for module in pkgutil.iter_modules(wst.study.__path__):
        importlib.import_module(f"wst.study.{module.name}")
    models = {m for m in _derived(Strict) if m.__module__.startswith("wst.study.") and not m.__subclasses__()}
    expected = {(m.__name__, name) for m in models for name in m.model_fields}
    found = {(["<Study>", *p.keys][-2].strip("<>"), p.keys[-1]) for p in PLACES if p.keys}
    assert len(models) > 15 and expected <= found


def _derived(model: type[Strict]) -> set[type[Strict]]:
    return {model}.union(*(_derived(one) for one in model.__subclasses__()))
