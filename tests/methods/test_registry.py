from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pytest
import torch
from torch import nn

from tests.conftest import ROOT
from tools.methods_page import page, with_families
from wst.errors import InputError
from wst.methods import AtLeast, Method, method, registry
from wst.methods.contract import Parameter
from wst.models.create import create_model, own_tensors, parameter_counts

OWN = "def adapt(backbone, *, k: int = 1):\n    return backbone\n"


def test_one_name_has_one_type_in_all_methods() -> None:
    kinds: dict[str, set[tuple[type, bool]]] = {}
    for name in registry.names():
        for parameter in registry.get(name).parameters.values():
            kinds.setdefault(parameter.name, set()).add((parameter.kind, parameter.several))
    assert "r" in kinds and all(len(found) == 1 for found in kinds.values())


def test_what_may_be_none_may_be_left_out_and_no_more() -> None:
    @method
    def adapt(
        backbone: nn.Module,
        *,
        r: Annotated[int, AtLeast(1)] | None = None,
        sizes: tuple[int, ...] | None = None,
    ) -> nn.Module:
        backbone.given = (r, sizes)
        return backbone

    assert adapt.parameters["r"] == Parameter("r", int, low=1, optional=True)
    assert adapt.parameters["sizes"].several and not adapt.parameters["sizes"].required
    assert adapt(nn.Identity()).given == (None, None)
    assert adapt(nn.Identity(), r=2, sizes=[3]).given == (2, (3,))
    with pytest.raises(
        InputError, match="r of test_registry: expected a whole number of at least 1; found null"
    ):
        adapt(nn.Identity(), r=None)


@pytest.mark.parametrize(
    "argument", ["r: int | None = 3", "r: int | None", "r: int = None", "r: int | str = 3"]
)
def test_none_goes_with_a_default_of_none(argument: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"def adapt(backbone, *, {argument}):\n    return backbone\n")
    with pytest.raises(InputError, match="r of method own: expected"):
        registry.get(str(tmp_path / "own.py"))


@pytest.mark.parametrize("name", registry.names())
def test_a_method_says_what_it_is(name: str) -> None:
    found = registry.described(name)
    assert found["name"] == name and found["about"]
    assert set(registry.get(name).free) <= set(found["hyperparameters"])


def test_a_signature_is_read() -> None:
    @method(free=("scale",))
    def adapt(
        backbone: nn.Module,
        *,
        r: Annotated[int, AtLeast(1)],
        scale: float = 1.0,
        kind: Literal["a", "b"] = "a",
        sizes: tuple[int, ...] = (1,),
    ) -> nn.Module:
        return backbone

    assert isinstance(adapt, Method)
    assert adapt.parameters == {
        "r": Parameter("r", int, low=1),
        "scale": Parameter("scale", float, default=1.0),
        "kind": Parameter("kind", str, choices=("a", "b"), default="a"),
        "sizes": Parameter("sizes", int, several=True, default=(1,)),
    }
    assert adapt.checked({"r": 2, "scale": 3, "sizes": [1, 2]}) == {"r": 2, "scale": 3.0, "sizes": (1, 2)}
    assert isinstance(adapt.checked({"r": 2, "scale": 3})["scale"], float)
    whole = adapt.checked({"r": 2.0, "sizes": [1.0, 2]})  # as programs leave tables that know reals alone
    assert repr(whole) == "{'r': 2, 'sizes': (1, 2)}"
    with pytest.raises(InputError, match=r"r of test_registry: expected a whole number .*; found no value"):
        adapt.checked({})
    for value in (2.5, True, 2**63, float("nan"), float("inf"), 1e300):
        with pytest.raises(InputError, match=r"r of test_registry: expected a whole number .*; found "):
            adapt.checked({"r": value})
    for value in (True, 10**400, float("-inf")):
        with pytest.raises(InputError, match=r"scale of test_registry: expected a number; found "):
            adapt.checked({"r": 2, "scale": value})


@pytest.mark.parametrize("annotation", ["dict", "int | str", "list[int]", "'nothing'", ""])
def test_an_annotation_that_says_nothing_about_values_is_named(annotation: str, tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(f"def adapt(backbone, *, k{': ' + annotation if annotation else ''} = None):\n    pass\n")
    with pytest.raises((InputError, NameError), match=r"k of method own: expected an annotation|not defined"):
        registry.get(str(path))


def test_names_of_every_trial_are_not_a_methods_own(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text("def adapt(backbone, *, lr: float = 1.0):\n    return backbone\n")
    with pytest.raises(InputError, match="method own: expected other names than lr, weight_decay, drop_path"):
        registry.get(str(path))


def test_a_file_is_found_beside_and_told_from_its_next_version(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    reference = registry.beside("./own.py", tmp_path)
    assert reference == str(path) and registry.beside("wst", tmp_path) == "wst"
    digest = registry.source_hash(reference)
    assert registry.get(reference, digest).parameters.keys() == {"k"}
    path.write_text(OWN.replace("k: int", "kk: int"))
    assert registry.get(reference).parameters.keys() == {"kk"}
    with pytest.raises(InputError, match=f"expected the file with hash {digest}; found"):
        registry.get(reference, digest)


def test_another_function_and_a_package_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "some_package_of_mine.py").write_text(OWN.replace("def adapt", "def other"))
    assert registry.get(f"{tmp_path / 'some_package_of_mine.py'}:other").parameters.keys() == {"k"}
    monkeypatch.syspath_prepend(str(tmp_path))
    assert registry.get("some_package_of_mine:other").parameters.keys() == {"k"}
    assert registry.source_hash("some_package_of_mine:other") is not None
    assert registry.short_name("some_package_of_mine:other") == "other"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("lorra", "method: expected one of .*linear, .*found 'lorra'"),
        ("./nowhere.py", "expected a file or a module that can be imported; found none at './nowhere.py'"),
        (
            "no_such_package.inner:adapt",
            "expected a module 'no_such_package.inner' that can be imported; found ModuleNotFoundError",
        ),
        ("BROKEN", "expected a module that can be imported; found ZeroDivisionError"),
        ("BROKEN:other", "expected a module that can be imported; found ZeroDivisionError"),
        ("EMPTY", "expected a function 'adapt'; found none"),
    ],
)
def test_what_is_no_method_is_one_line(reference: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "empty.py").write_text("")
    reference = reference.replace("BROKEN", str(tmp_path / "broken.py")).replace(
        "EMPTY", str(tmp_path / "empty.py")
    )
    with pytest.raises(InputError, match=expected) as caught:
        registry.get(reference)
    assert "\n" not in str(caught.value)


def test_python_gets_the_same_lines() -> None:
    for wrong, expected in (
        ({"lr": 1}, "hyperparameters of wst: expected only .*found 'lr'"),
        ({"r": 2.5}, "r of wst: expected a whole number of at least 1; found 2.5"),
        ({"downsampling": "typo"}, "downsampling of wst: expected one of haar, .*; found 'typo'"),
        ({"scale": "big"}, "scale of wst: expected a number; found 'big'"),
    ):
        with pytest.raises(InputError, match=expected):
            create_model("micro", num_classes=2, **wrong)  # type: ignore[arg-type]


def test_linear_leaves_all_blocks_untouched_and_merges_into_itself() -> None:
    model = create_model("micro", method="linear", num_classes=2)
    linear = registry.get("linear")
    assert linear.untouched(model) == 4 and linear.merge is not None and linear.merge(model) is model
    assert parameter_counts(model)["trainable"] == 0


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def adapt():\n    pass\n", "expected the backbone as the first argument"),
        ("def adapt(*, k: int = 1):\n    pass\n", "expected the backbone as the first argument"),
        ("def adapt(backbone, *ks: int):\n    pass\n", r"expected hyperparameters by keyword.*'\*ks: int'"),
        ("def adapt(model, *, backbone: int = 1):\n    pass\n", "expected hyperparameters by keyword"),
        ("def adapt(backbone, *, num_classes: int = 1):\n    pass\n", "and other names than backbone"),
        ("def adapt(backbone, *, k: int = 'x'):\n    pass\n", "k of method own: default: expected a whole"),
        ("import sys\nsys.exit(3)\n", "that can be imported; found SystemExit"),
        ("def adapt(backbone:\n", "that can be imported; found SyntaxError"),
        (
            "from wst.methods import method\n@method(fits=int)\ndef adapt(b):\n    pass\n",
            "fits: expected a tuple",
        ),
    ],
)
def test_what_a_signature_may_not_hold_is_one_line(source: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(source)
    with pytest.raises(InputError, match=expected) as caught:
        registry.get(str(tmp_path / "own.py"))
    assert "\n" not in str(caught.value)


def test_dataclasses_and_annotations_as_texts_work_in_a_users_file(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "from __future__ import annotations\nfrom dataclasses import dataclass\n\n"
        "@dataclass\nclass Design:\n    k: int\n\n"
        "def adapt(backbone, *, k: int = Design(2).k):\n    return backbone\n"
    )
    assert registry.get(str(tmp_path / "own.py")).parameters["k"].default == 2


def test_a_package_is_hashed_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "package_of_mine"
    folder.mkdir()
    (folder / "__init__.py").write_text("from package_of_mine.inner import adapt\n")
    (folder / "inner.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    before = registry.source_hash("package_of_mine:adapt")
    registry.get("package_of_mine:adapt", before)
    (folder / "inner.py").write_text(OWN.replace("k: int", "kk: int"))
    assert registry.source_hash("package_of_mine:adapt") != before
    with pytest.raises(InputError, match="expected the files as this process imported them"):
        registry.get("package_of_mine:adapt")


def test_only_files_and_packages_of_python_are_methods(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notes.txt").touch()
    (tmp_path / "stale" / "__pycache__").mkdir(parents=True)
    (tmp_path / "_shared.py").touch()
    (tmp_path / "one.py").touch()
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "__init__.py").touch()
    monkeypatch.setattr(registry, "_HERE", tmp_path)
    assert registry.names() == ["one", "two"]


FAULTY = {
    "a module; found NoneType": "    return None",
    "a module with timm's get_classifier\\(\\); found Linear without it": "    return nn.Linear(1, 1)",
    "a model whose head is a trainable module": "    return backbone.requires_grad_(False)",
    "a model that keeps no statistics .*BatchNorm1d at 'seen'": (
        "    backbone.seen = nn.BatchNorm1d(3)\n    return backbone"
    ),
    "found KeyError: 'gone'": "    raise KeyError('gone')",
}


@pytest.mark.parametrize(("expected", "body"), FAULTY.items())
def test_what_a_method_must_return_is_said(expected: str, body: str, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(f"from torch import nn\n\ndef adapt(backbone):\n{body}\n")
    with pytest.raises(InputError, match=expected):
        create_model("micro", method=str(tmp_path / "own.py"), num_classes=2)


def test_memory_that_runs_out_in_a_method_stays_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("def adapt(backbone):\n    raise MemoryError\n")
    with pytest.raises(MemoryError):
        create_model("micro", method=str(tmp_path / "own.py"), num_classes=2)


def test_free_hyperparameters_are_tensors_that_can_be_exchanged() -> None:
    """A model with another one's tensors is that model."""
    images = torch.rand(2, 3, 32, 32)
    for name in registry.names():
        for free in registry.get(name).free:
            one, other = (create_model("micro", method=name, num_classes=2, **{free: v}) for v in (0.5, 2.0))
            tensors = {**dict(other.named_parameters()), **dict(other.named_buffers())}
            found = torch.func.functional_call(one, tensors, images)
            torch.testing.assert_close(found, other(images))


def test_what_is_drawn_once_goes_into_the_adapter(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\n\ndef adapt(backbone):\n"
        "    backbone.register_buffer('drawn', torch.rand(3))\n    return backbone\n"
    )
    model = create_model("micro", method=str(tmp_path / "own.py"), num_classes=2)
    assert set(own_tensors(model)) == {"drawn", "head.weight", "head.bias"}
    plain = create_model("micro", num_classes=2)
    assert set(own_tensors(plain)) == {name for name, p in plain.named_parameters() if p.requires_grad}


@pytest.mark.slow
def test_the_page_of_methods_is_up_to_date() -> None:
    """To renew it: python -m tools.methods_page > docs/methods.md, and the tables in docs/method.md:
    python -m tools.methods_page docs/method.md."""
    assert (ROOT / "docs" / "methods.md").read_text() == page()
    families = (ROOT / "docs" / "method.md").read_text()
    assert "| `wst` |" in families and families == with_families(families)
