"""The verbs of one model: train, predict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from wst.cli import completion
from wst.cli.failures import BAD_INPUT, say
from wst.cli.output import (
    Force,
    Json,
    Root,
    as_file,
    as_path,
    as_text,
    console,
    error_console,
    print_json,
    print_line,
)
from wst.cli.study import stopping
from wst.errors import InputError
from wst.machine import usable_cpus
from wst.records import Epoch, Hyperparameters, Intent
from wst.study.bounds import MANY
from wst.trackers import Tracker
from wst.workflows.outputs import check_output
from wst.yaml_files import read_yaml, shown

if TYPE_CHECKING:
    from wst.models.adapters import Predictor

train_app = typer.Typer()

Adapter = Annotated[Path, typer.Argument(parser=as_file, help="An adapter's .safetensors file.")]
Checkpoint = Annotated[str | None, typer.Option(help="The backbone's weights file.")]
MethodFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="The method's code, where the adapter is of a method that is not wst's own."
    ),
]


@train_app.command()
def train(
    task: Annotated[
        str | None, typer.Option(parser=as_text, help="Task to train on.", autocompletion=completion.tasks)
    ] = None,
    method: Annotated[
        str, typer.Option(parser=as_text, help="Method.", autocompletion=completion.methods)
    ] = "wst",
    suite: Annotated[
        str | None,
        typer.Option(
            parser=as_text,
            help="Suite; the one that has the task by default.",
            autocompletion=completion.suites,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            parser=as_text, help="A timm model name; 'micro' by default.", autocompletion=completion.backbones
        ),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(parser=as_text, help="The backbone's weights file.")
    ] = None,
    normalisation: Annotated[
        str | None, typer.Option(parser=as_text, help="checkpoint, half or imagenet.")
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(parser=as_text, metavar="COLOUR", help="Colour that transparent pictures are laid on."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            parser=as_text,
            help="A recipe file, or the name of a shipped recipe.",
            autocompletion=completion.recipes,
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, max=MANY, help="Epochs, in the recipe's place.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Hyperparameter.")
    ] = None,
    released: Annotated[
        bool, typer.Option("--released", help="The authors' settings, recipe and seed.")
    ] = False,
    final: Annotated[
        bool, typer.Option("--final", help="Train on train and val; read the test split.")
    ] = False,
    save: Annotated[bool, typer.Option("--save", help="Keep the adapter (with --final).")] = False,
    seed: Annotated[int | None, typer.Option(min=0, max=2**32 - 1, help="Seed.")] = None,
    trial: Annotated[str | None, typer.Option(parser=as_text, help="Run this row of a ledger again.")] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", parser=as_path, help="The study's folder, with --trial.")
    ] = None,
    out: Annotated[Path | None, typer.Option(parser=as_path, help="Output folder.")] = None,
    root: Root = None,
    accept: Annotated[
        list[str] | None, typer.Option(help="Finding of the data check to go on with: overlap.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Fine-tune once, without a study; the row goes into a ledger of its own."""
    from wst.engine.environment import checkpoint_path
    from wst.workflows import single

    before = None
    if trial is not None or from_ is not None:
        if trial is None or from_ is None:
            raise InputError("train: expected --trial and --from together; found one of them")
        study, intent, before = single.recorded(from_, trial)
        folder = out or Path("runs/rerun") / study.name / trial
    else:
        if task is None:
            raise InputError("--task: expected a task, such as digits; found none")
        study, intent = single.from_options(
            task=task,
            method=method,
            settings=_assigned(set_ or ()),
            released=released,
            recipe=recipe,
            epochs=epochs,
            seed=seed,
            stage="final" if final else "search",
            save_adapter=save,
            suite=suite,
            backbone=backbone,
            checkpoint=checkpoint,
            normalisation=normalisation,
            background=background,
            accept=accept or (),
        )
        folder = out or single.own_folder(study, intent)
    to = error_console if as_json else console
    with stopping(folder):
        goes_on = checkpoint_path(folder, intent.trial_id).exists()
        lines = _EpochLines(study.recipe.epochs, goes_on, to)
        purpose = f"{trial} of {from_} run again" if trial is not None else single.SINGLE
        outcome, known = single.run_single(
            study, intent, folder, root, [lines], lambda line: print_line(line, to), purpose, from_
        )
    if known:
        print_line(f"{intent.trial_id} is in {folder} already", to)
    _print_outcome(folder, intent, outcome, before, as_json, to)


def _assigned(assignments: Sequence[str]) -> Hyperparameters:
    """The hyperparameters in texts ``NAME=VALUE``."""
    settings: Hyperparameters = {}
    for assignment in assignments:
        name, separator, value = assignment.partition("=")
        if not separator or not name:
            raise InputError(f"--set: expected NAME=VALUE, such as lr=1e-3; found {shown(assignment)}")
        settings[name] = read_yaml(value, f"--set {name}")
    return settings


class _EpochLines(Tracker):
    """Prints a line an epoch.

    Args:
        epochs: of the whole trial.
        goes_on: the trial was interrupted, so that its first report is what it trained before.
        to: where to print.
    """

    def __init__(self, epochs: int, goes_on: bool, to: Console):
        self._epochs, self._goes_on, self._to = epochs, goes_on, to

    def epochs(self, intent: Intent, epochs: Sequence[Epoch]) -> None:
        """Print them, each once."""
        if self._goes_on:
            print_line(f"going on after epoch {len(epochs)}", self._to)
            self._goes_on, epochs = False, ()
        for epoch in epochs:
            score = f"  val {100 * epoch.val_top1:.1f} %" if epoch.val_top1 is not None else ""
            line = f"epoch {epoch.epoch:>3}/{self._epochs}  lr {epoch.lr:.2e}  loss {epoch.train_loss:.4f}"
            print_line(f"{line}{score}  {epoch.seconds:.1f} s", self._to)


def _print_outcome(folder: Path, intent: Any, outcome: Any, before: Any, as_json: bool, to: Console) -> None:
    from wst.ledger.reads import count_reads, read_lines, read_log

    log = read_log()
    reads = count_reads([folder], log)
    record = {
        "trial_id": intent.trial_id,
        "state": outcome.state,
        "val_top1": outcome.epochs[-1].val_top1 if outcome.epochs else None,
        "test_top1": outcome.test_top1,
        "val_overlap": outcome.val_overlap,
        "test_overlap": outcome.test_overlap,
        "trainable_parameters": outcome.trainable_parameters,
        "test_reads": reads[intent.task].as_json() if intent.task in reads else None,
        "ledger": str(folder / "ledger"),
    }
    if before is not None:
        record["val_top1_before"] = before.epochs[-1].val_top1 if before.epochs else None
        record["test_top1_before"] = before.test_top1
    if as_json:
        print_json(record)
    else:
        for name, value in record.items():
            zero = name.endswith("_overlap") and value == 0
            if value is not None and name != "test_reads" and not zero:
                print_line(f"{name}: {value}")
    for line in [*read_lines(reads, "this ledger"), *filter(None, [log.caveat])]:
        print_line(line, to)
    if outcome.state == "failed":
        say(f"{outcome.error_type}: see error_text in the ledger")
        raise typer.Exit(1)


@train_app.command()
def merge(
    adapter: Adapter,
    out: Annotated[Path, typer.Option("-o", parser=as_file, help="The new weights file.")] = Path(
        "merged.safetensors"
    ),
    checkpoint: Checkpoint = None,
    method: MethodFile = None,
    force: Force = False,
) -> None:
    """Fold an adapter into its backbone's weights: a plain timm model with the same outputs.

    Of a method that cannot be folded it says what that costs.
    """
    from wst.workflows.merge import merge_adapter

    check_output("-o", out, force=force)
    for line in merge_adapter(adapter, out, checkpoint=checkpoint, method=method):
        print_line(line)


@train_app.command()
def predict(
    adapter: Adapter,
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="Image files, or folders of them.")
    ],
    checkpoint: Checkpoint = None,
    method: MethodFile = None,
    any_backbone: Annotated[
        bool, typer.Option("--any-backbone", help="Accept other backbone weights.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="Classes to print an image.")] = 3,
    as_json: Json = False,
) -> None:
    """Print the likeliest classes of images, with their probabilities.

    A file that cannot be read gets a line on stderr, and the others go on: exit status 1, or 2 if there was
    no other.
    """
    import torch

    from wst.models.adapters import load_adapter

    if adapter.is_dir():
        inside = sorted(path.name for path in adapter.glob("*.safetensors"))[:3]
        found = f"a folder (with {', '.join(inside)})" if inside else "a folder"
        raise InputError(f"adapter: {adapter}: expected a .safetensors file; found {found}")
    torch.set_num_threads(min(torch.get_num_threads(), usable_cpus()))
    predictor = load_adapter(adapter, checkpoint=checkpoint, method=method, any_backbone=any_backbone)
    given = list(_files(images))
    rows: list[dict[str, Any]] = []
    waiting: list[tuple[Path, Any]] = []
    failed = False
    for number, picture in enumerate(given, start=1):
        try:
            waiting.append((picture, predictor.pixels(picture)))
        except InputError as error:
            say(str(error))
            failed = True
        if waiting and (len(waiting) == _BATCH or number == len(given)):
            rows += _likeliest(predictor, waiting, top, as_json)
            waiting = []
    if as_json:
        print_json(rows)
    if failed:
        raise typer.Exit(1 if rows else BAD_INPUT)


_BATCH = 64


def _files(images: Sequence[Path]) -> Iterator[Path]:
    """The files that were named, and all pictures in the folders that were."""
    from wst.data.picture_index import images_in, links_in

    for given in images:
        inside, links = (images_in(given), links_in(given)) if given.is_dir() else ([given], [])
        if links:
            more = f" and {len(links) - 3} more" if len(links) > 3 else ""
            say(f"{given}: links to folders are not followed: {', '.join(links[:3])}{more}")
        if not inside:
            raise InputError(f"{given}: expected a folder with pictures; found none in it")
        yield from inside


def _likeliest(
    predictor: Predictor, images: Sequence[tuple[Path, Any]], top: int, quiet: bool
) -> list[dict[str, Any]]:
    """Rows of the output, one an image, printed unless they are to be ``quiet``."""
    names, rows = predictor.card.class_names, []
    probabilities = predictor.classify([pixels for _, pixels in images])
    values, places = probabilities.topk(min(top, predictor.card.classes))
    for (picture, _), classes, shares in zip(images, places.tolist(), values.tolist(), strict=True):
        row = {"image": str(picture), "classes": classes, "probabilities": [round(p, 4) for p in shares]}
        row["names"] = [names[number] for number in classes] if names else None
        rows.append(row)
        if not quiet:
            shown = row["names"] or classes
            likely = "  ".join(f"{name} ({p:.2f})" for name, p in zip(shown, shares, strict=True))
            print_line(f"{picture}: {likely}")
    return rows
