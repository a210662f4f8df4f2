"""Palette and layout that all pictures share."""

from __future__ import annotations

import html
from typing import Any

import plotly.graph_objects as go

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#999999", "#F0E442")
"""Okabe and Ito's palette, which the colour-blind can tell apart."""
Plain = dict[str, Any]
"""A plotly figure as JSON has it: ``data`` and ``layout``."""
LAYOUT: Plain = {
    "template": "plotly_white",
    "margin": {"l": 60, "r": 20, "t": 30, "b": 60},
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
}
"""The common style: white, with the legend above the picture."""


_WORDS = {"lr": "learning rate", "drop_path": "stochastic depth", "weight_decay": "weight decay"}


def in_words(hyperparameter: str) -> str:
    """What an axis calls it, escaped."""
    return html.escape(_WORDS.get(hyperparameter, hyperparameter))


def new_figure(x: str, y: str, **layout: Any) -> go.Figure:
    """An empty figure in the common style.

    Args:
        x, y: titles of the axes.
        layout: more of plotly's layout, or other values of :data:`LAYOUT`.
    """
    drawn = go.Figure(layout={**LAYOUT, **layout})
    drawn.update_xaxes(title=x)
    drawn.update_yaxes(title=y)
    return drawn
