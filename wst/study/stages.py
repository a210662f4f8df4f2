"""The stages after the search."""

from __future__ import annotations

from pydantic import Field

from wst.study.bounds import Count, Flag, Whole
from wst.yaml_files import Strict

_MOST_SEEDS = 1000


class Confirm(Strict):
    """Stage ``confirm``: the best settings of the search over several seeds, on ``val`` still.

    Validation is coarse and the search's winner is lucky in part; so the mean over fresh seeds chooses.
    Settings of which a seed fails are out.
    """

    top: Count = 5
    """How many settings; with several objectives at most so many members of the search's front."""
    seeds: Whole = Field(3, ge=1, le=_MOST_SEEDS)


class Final(Strict):
    """Stage ``final``: the chosen settings retrained on ``trainval``; the test split read once a seed."""

    seeds: Whole = Field(3, ge=1, le=_MOST_SEEDS)
    seeds_per_job: Count = 1
    """Seeds trained on one slot, one after another unless they share a pass, and scored in one pass over the
    test split.  More than one spares reading a large test split again, and gives up running the seeds side by
    side."""
    save_adapters: Flag = False
    """Keep each final trial's trainable tensors, with a card, in ``adapters/`` of the output folder."""
