"""Shared by all tests: a cache of their own, one torch thread, small studies."""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from wst.study import Study

# A busy machine is slow, not wrong.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

ROOT = Path(__file__).parent.parent
"""The clone."""
Written = Callable[[Callable[[Path], Path]], Path]


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What collecting imports is there to stay: the garbage collector has no part in it, then or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(gc.unfreeze)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rooms with the longest tests first, then files with slow tests: quick ones fill the gaps at the
    end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    longest = ("engine", "benchmarks")
    items.sort(key=lambda item: (item.path.parent.name not in longest, item.path not in slow))


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the user's cache is read or written; the mini suite is built once for all workers."""
    import torch  # not in the process that only hands out the tests

    before = os.environ.get("WST_CACHE")
    cache, session = tmp_path_factory.mktemp("cache"), tmp_path_factory.getbasetemp()
    data = (session.parent if "PYTEST_XDIST_WORKER" in os.environ else session) / "data"
    data.mkdir(exist_ok=True)
    (cache / "data").symlink_to(data)
    os.environ["WST_CACHE"] = str(cache)
    torch.set_num_threads(1)
    yield
    if before is None:
        del os.environ["WST_CACHE"]
    else:
        os.environ["WST_CACHE"] = before


@pytest.fixture(scope="session", autouse=True)
def _no_flush() -> Iterator[None]:
    """A process that dies takes nothing from the kernel's cache with it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def mini_root() -> Path:
    """Folder that holds the mini suite."""
    from wst.data.mini import MINI
    from wst.data.splits import data_root

    return data_root(MINI, None)


@pytest.fixture(scope="session")
def few_root(mini_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder that holds the mini suite with fewer images."""
    from tests.few import copy_few

    return copy_few(mini_root, tmp_path_factory.mktemp("few"))


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Writes a hand-made ledger, in one file a table as after a long study: it is read by many tests."""

    def write(by: Callable[[Path], Path]) -> Path:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("wst.ledger.writing.COMPACT_ABOVE", 0)
            return by(tmp_path_factory.mktemp("ledgers") / by.__name__.removeprefix("write_"))

    return write


@pytest.fixture(scope="session")
def alpha(written: Written) -> Path:
    """A ledger that is written once a session, as those below."""
    from tests.analysis.ledgers import write_alpha

    return written(write_alpha)


@pytest.fixture(scope="session")
def in_many_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study with a file a row, as it is while it runs."""
    from tests.analysis.ledgers import write_alpha

    return write_alpha(tmp_path_factory.mktemp("many") / "alpha")


@pytest.fixture(scope="session")
def beta(written: Written) -> Path:
    from tests.analysis.ledgers import write_beta

    return written(write_beta)


@pytest.fixture(scope="session")
def extended(written: Written) -> Path:
    from tests.analysis.staged_ledgers import write_extended

    return written(write_extended)


@pytest.fixture(scope="session")
def several(written: Written) -> Path:
    """A study of several objectives."""
    from tests.analysis.staged_ledgers import write_front

    return written(write_front)


@pytest.fixture(scope="session")
def shared(written: Written) -> Path:
    """A study whose tasks share settings."""
    from tests.analysis.staged_ledgers import write_shared

    return written(write_shared)


LR = {"type": "float", "low": 1e-4, "high": 1e-1, "log": True}


def small_study(**changes: Any) -> Study:
    """A study of two cells that needs no more than its keys say."""
    data: dict[str, Any] = {
        "name": "small",
        "suite": "mini",
        "tasks": ["digits"],
        "backbone": "micro",
        "variants": {
            "linear": {"method": "linear", "space": {"lr": LR}},
            "wst-r2": {
                "method": "wst",
                "space": {"lr": LR, "scale": {"type": "categorical", "choices": [0.1, 1.0]}},
                "fixed": {"r": 2},
            },
        },
        "recipe": {"epochs": 4, "warmup_epochs": 1},
        "search": {
            "trials": 6,
            "sampler": {"type": "tpe", "n_startup_trials": 3},
            "pruner": {"type": "successive_halving", "min_resource": 1, "reduction_factor": 2},
        },
        "final": {"seeds": 2},
        "report_every": 2,
        "checkpoint_every": 1,
    }
    return Study.model_validate(data | changes)
