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
        if name.split(".")[0] in lacking:
            raise ModuleNotFoundError(f"{name} is not installed")

sys.meta_path.insert(0, Refuse())
"""


_EACH = """
lacking = {lacking}
for module in {modules}:
    import_module(module)
"""


def _imports(*steps: tuple[list[str], list[str]]) -> None:
    """Import modules in an interpreter that lacks others; in each step some modules, and what it lacks."""
    code = _BLOCK + "".join(_EACH.format(modules=modules, lacking=set(lacking)) for modules, lacking in steps)
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
    lacking = ["torch", "torchvision", "timm", "ray"]
    _imports(([*outside, *ours, *commands, *_modules("analysis")], lacking))


@pytest.mark.slow
def test_trials_need_neither_ray_nor_optuna_and_all_but_two_files_no_ray() -> None:
    rays = ("wst.engine.ray_tune", "wst.engine.cluster")
    _imports(
        (_modules("wst.training", "wst.models", "wst.methods"), ["ray", "optuna"]),
        (_modules("wst.engine", "wst.workflows", without=rays), ["ray"]),
    )
