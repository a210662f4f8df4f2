"""What imports what: the arrows of the design, tried in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys
from pkgutil import iter_modules

import pytest

from tests.conftest import ROOT

_BLOCK = """
import sys
from importlib import import_module

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"{{name}} is not installed")

sys.meta_path.insert(0, Refuse())
"""


_EACH_FIRST = """
for module in {modules}:
    import_module(module)
    for name in [name for name in sys.modules if name.split(".")[0] in ("wst", "analysis")]:
        del sys.modules[name]  # so that the next one is the first again
"""


def _imports(modules: list[str], blocked: list[str]) -> None:
    """Import each module as the first of this project's, in an interpreter that lacks ``blocked``."""
    code = (_BLOCK + _EACH_FIRST).format(blocked=set(blocked), modules=modules)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


@pytest.mark.slow
def test_need_neither_torch_nor_ray() -> None:
    ours = ["study", "planner", "ledger", "records", "methods", "progress", "simulate", "trackers", "cli"]
    analysis = [f"analysis.{module.name}" for module in iter_modules([str(ROOT / "analysis")])]
    assert len(analysis) > 10
    modules = ["wst", *(f"wst.{name}" for name in ours), *analysis, "wst.cli.analysis"]
    _imports(modules, ["torch", "torchvision", "timm", "ray"])


@pytest.mark.slow
def test_trials_need_no_ray() -> None:
    _imports(
        [
            "wst.training.trial",
            "wst.models.adapters",
            "wst.workflows.single",
            "wst.engine.driver",
            "wst.engine.job",
        ],
        ["ray"],
    )


def test_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import wst

    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = wst.nothing_of_the_kind
