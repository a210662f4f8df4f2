"""Differences between variants, with their intervals."""

from __future__ import annotations

import html

import plotly.graph_objects as go

from analysis.ablation import Ablation
from analysis.figures.style import COLOURS, new_figure


def differences(found: Ablation) -> go.Figure:
    """Each variant's mean difference from the baseline with its bootstrap interval, the largest on top."""
    drawn = new_figure(f"points of test accuracy above {html.escape(found.baseline)}", "")
    ordered = sorted(found.comparisons, key=lambda comparison: comparison.difference)
    for verdict, colour in (
        ("better", COLOURS[0]),
        ("worse", COLOURS[5]),
        ("inside the noise", COLOURS[6]),
        ("one seed, noise not known", COLOURS[7]),
    ):
        part = [c for c in ordered if c.verdict == verdict]
        if part:
            drawn.add_scatter(
                name=verdict,
                x=[c.difference for c in part],
                y=[html.escape(c.variant) for c in part],
                error_x={
                    "type": "data",
                    "symmetric": False,
                    "array": [(c.high or c.difference) - c.difference for c in part],
                    "arrayminus": [c.difference - (c.low or c.difference) for c in part],
                },
                mode="markers",
                marker={"color": colour, "size": 9},
                customdata=[[c.improvement, c.p_holm, c.pairs] for c in part],
                hovertemplate="%{y}: %{x:+.2f} points<br>P(improvement) %{customdata[0]:.2f}, "
                "p (Holm) %{customdata[1]:.3f}, %{customdata[2]} pairs<extra>" + verdict + "</extra>",
            )
    drawn.add_vline(x=0, line={"color": "#888888", "width": 1, "dash": "dot"})
    drawn.update_layout(height=max(416, 130 + 18 * len(ordered)))
    drawn.update_yaxes(
        dtick=1, categoryorder="array", categoryarray=[html.escape(c.variant) for c in ordered]
    )
    return drawn
