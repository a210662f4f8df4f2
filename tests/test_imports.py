"""What imports what: the arrows of the design, tried in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

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


_EACH = """
for module in {modules}:
    import_module(module)
"""


def _imports(modules: list[str], blocked: list[str]) -> None:
    """Import each module in an interpreter that lacks ``blocked``."""
    code = (_BLOCK + _EACH).format(blocked=set(blocked), modules=modules)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


def _modules(*packages: str, without: tuple[str, ...] = ()) -> list[str]:
    """Every module of these packages, but those whose name begins with one of ``without``."""
    found = []
    for package in packages:
        for path in sorted((ROOT / package.replace(".", "/")).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    assert len(found) > len(packages)
    return [name for name in found if not name.startswith(without)]


@pytest.mark.slow
def test_need_neither_torch_nor_ray() -> None:
    ours = _modules("wst.study", "wst.ledger", "wst.planning", "wst.data", "wst.simulation", "wst.export")
    outside = ["wst", "wst.records", "wst.methods.registry", "wst.trackers", "wst.training.spec"]
    commands = [*_modules("wst.cli"), "wst.api.results"]
    _imports([*outside, *ours, *commands, *_modules("analysis")], ["torch", "torchvision", "timm", "ray"])


@pytest.mark.slow
def test_trials_need_neither_ray_nor_optuna() -> None:
    _imports(_modules("wst.training", "wst.models", "wst.methods"), ["ray", "optuna"])


@pytest.mark.slow
def test_all_but_two_files_need_no_ray() -> None:
    rays = ("wst.engine.ray_tune", "wst.engine.cluster")
    _imports(_modules("wst.engine", "wst.workflows", without=rays), ["ray"])
