"""Pictures of replayed searches: best accuracy against compute, for papers and for reading."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from analysis.figures.style import COLOURS
from analysis.simulation import CONFIDENCE, Comparison
from wst.errors import InputError

FORMATS = (".png", ".svg", ".pdf", ".html")
_X = "compute spent in the search (full trials a task)"
_Y = "best validation accuracy so far,\nmean over tasks (%)"
_SIZE = 5.0, 3.4
"""Inches."""


def draw(found: Comparison, path: Path) -> None:
    """Write the picture: PNG, SVG or PDF for a paper, HTML (self-contained) for reading.

    Raises:
        InputError: the file name has another ending.
    """
    check_format(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        figure(found).write_html(path, include_plotlyjs=True, div_id="simulation")
    else:
        _draw_paper(found, path)


def check_format(path: Path) -> None:
    """Refuse a file name that says no format.

    Raises:
        InputError: as said.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"-o: expected a file ending in {', '.join(FORMATS)}; found {path.name!r}")


def targets(found: Comparison) -> list[tuple[float, float]]:
    """(accuracy, compute of the baseline) of the accuracies to be reached."""
    baseline = next(one for one in found.studies if one.name == found.baseline)
    return [(reach.accuracy, reach.compute.estimate) for reach in baseline.reach]


def _draw_paper(found: Comparison, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    # SVG and PDF without a date, and SVG with fixed ids, so that the same comparison gives the same file.
    style: Any = {"svg.hashsalt": "wst", "svg.fonttype": "none", "pdf.fonttype": 42, "font.size": 8}
    with plt.rc_context(style):
        picture, axes = plt.subplots(figsize=_SIZE, layout="constrained")
        for i, one in enumerate(found.studies):
            colour, curve = COLOURS[i % len(COLOURS)], one.curve
            axes.fill_between(
                curve.compute, curve.low, curve.high, step="post", color=colour, alpha=0.2, lw=0
            )
            axes.step(curve.compute, curve.mean, where="post", color=colour, lw=1.4, label=one.name)
            if curve.compute:  # where the search has used up its trials
                axes.plot(curve.compute[-1], curve.mean[-1], "o", color=colour, markersize=3.5)
        for accuracy, compute in targets(found):
            axes.plot([0, compute], [accuracy, accuracy], ":", color="#666666", lw=0.8, zorder=0)
        axes.set_xlim(left=0)
        axes.set_xlabel(_X)
        axes.set_ylabel(_Y)
        axes.grid(alpha=0.25, linewidth=0.5)
        axes.legend(frameon=False, loc="lower right")
        dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
        picture.savefig(path, dpi=200, metadata=dated)
        plt.close(picture)


def figure(found: Comparison) -> Any:
    """The curves with their bands as a plotly figure; the legend switches studies on and off."""
    import plotly.graph_objects as go

    drawn = go.Figure()
    for i, one in enumerate(found.studies):
        colour, name, curve = COLOURS[i % len(COLOURS)], html.escape(one.name), one.curve
        r, g, b = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
        for ends, fill in ((curve.low, None), (curve.high, "tonexty")):
            drawn.add_scatter(
                x=curve.compute,
                y=ends,
                mode="lines",
                line={"width": 0, "shape": "hv"},
                fill=fill,
                fillcolor=f"rgba({r},{g},{b},0.2)",
                hoverinfo="skip",
                showlegend=False,
                legendgroup=name,
            )
        drawn.add_scatter(
            name=name,
            legendgroup=name,
            x=curve.compute,
            y=curve.mean,
            mode="lines",
            line={"color": colour, "shape": "hv"},
            customdata=list(zip(curve.low, curve.high, strict=True)),
            hovertemplate="%{y:.2f} % (%{customdata[0]:.2f} to %{customdata[1]:.2f}) after %{x:.1f} full "
            f"trials<extra>{name}</extra>",
        )
    for accuracy, compute in targets(found):
        drawn.add_scatter(
            x=[0, compute],
            y=[accuracy, accuracy],
            mode="lines",
            line={"dash": "dot", "width": 1, "color": "#666666"},
            hoverinfo="skip",
            showlegend=False,
        )
    drawn.update_layout(
        template="plotly_white",
        xaxis={"title": _X, "rangemode": "tozero"},
        yaxis={"title": _Y.replace("\n", " ")},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        margin={"l": 60, "r": 20, "t": 40, "b": 60},
        title={"text": f"bands: {100 * CONFIDENCE:.0f} % over repeats", "font": {"size": 12}},
    )
    return drawn
