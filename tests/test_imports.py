"""What imports what: the arrows of the design, tried in fresh interpreters."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BLOCK = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"{{name}} is not installed")

sys.meta_path.insert(0, Refuse())
"""


def _imports(modules: list[str], blocked: list[str]) -> None:
    code = _BLOCK.format(blocked=set(blocked)) + "".join(f"import {module}\n" for module in modules)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    "module", ["wst", "wst.study", "wst.planner", "wst.ledger", "wst.records", "wst.methods", "wst.cli"]
)
def test_needs_neither_torch_nor_ray(module: str) -> None:
    _imports([module], ["torch", "torchvision", "timm", "ray"])


def test_analysis_needs_neither_torch_nor_ray() -> None:
    modules = ["analysis", "analysis.load", "analysis.leaderboard", "analysis.pareto"]
    _imports(modules, ["torch", "torchvision", "timm", "ray"])


def test_trials_need_no_ray() -> None:
    _imports(["wst.trial", "wst.adapters", "wst.finetune", "wst.driver"], ["ray"])


def test_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import wst

    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        _ = wst.nothing_of_the_kind
