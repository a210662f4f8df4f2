"""Plotly figures of searches: curves, slices, parallel coordinates, response surfaces.

Every text that comes from a ledger is escaped, since plotly reads its texts as a little HTML.  All traces
are SVG and bounded in size, so that pages open anywhere and stay smooth whatever the number of trials.
What a report draws for every cell is a plain dictionary: plotly's own classes would take a second for ten
of them.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from analysis.figures.style import COLOURS, LAYOUT, Plain, in_words, new_figure
from analysis.search.confirmation import Confirmation
from analysis.search.curves import SearchCurve
from analysis.search.learning_curves import CurveBand
from analysis.search.trials import run_trials
from wst.study.space import Categorical, Distribution

MOST_POINTS = 300
"""Points a trace; of more, evenly spaced ones are drawn."""
MOST_BANDS = 6
"""Variants whose learning curves have their spread drawn; of more, the medians alone can be told apart."""
MOST_LINES = 120
"""Lines in parallel coordinates."""
_FIFTHS = ("#8a7fd6", "#3d8bd4", "#1fa187", "#bd8b12", "#d9481c")
"""From the worst fifth of the trials to the best: readable on white and on black."""


def search_curves(curves: Sequence[SearchCurve]) -> go.Figure:
    """Best validation accuracy so far against epochs trained, a line a variant; all of one task."""
    drawn = new_figure("epochs trained in the search", "best validation accuracy so far (%)")
    for i, curve in enumerate(curves):
        keep = _steps(curve.best)
        drawn.add_scatter(
            name=html.escape(curve.variant),
            x=[curve.epochs[k] for k in keep],
            y=[curve.best[k] for k in keep],
            customdata=[[curve.trials[k], round(curve.seconds[k], 1)] for k in keep],
            mode="lines+markers" if len(keep) < 60 else "lines",
            line={"shape": "hv", "color": COLOURS[i % len(COLOURS)]},
            hovertemplate="%{y:.1f} % after %{customdata[0]} trials, %{x} epochs, %{customdata[1]} s"
            f"<extra>{html.escape(curve.variant)}</extra>",
        )
    return drawn


def _steps(best: Sequence[float]) -> list[int]:
    """Where the best changes, and the end: all that a staircase needs."""
    known = [i for i, value in enumerate(best) if value == value]
    changes = [i for before, i in pairwise(known) if best[i] != best[before]]
    return sorted({*known[:1], *changes, *known[-1:]})


def learning_curves(bands: Sequence[CurveBand]) -> go.Figure:
    """Median validation accuracy by epoch; of few variants, the middle half and middle four fifths, too."""
    drawn = new_figure("epoch", "validation accuracy (%)")
    for i, band in enumerate(bands):
        colour, name = COLOURS[i % len(COLOURS)], html.escape(band.variant)
        r, g, b = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
        lowest, low, quarter, median, three_quarters, high, highest = band.quantiles
        shades = ((low, high, 0.12), (quarter, three_quarters, 0.25)) if len(bands) <= MOST_BANDS else ()
        for lower, upper, alpha in shades:
            drawn.add_scatter(
                x=[*band.epochs, *reversed(band.epochs)],
                y=[*upper, *reversed(lower)],
                mode="lines",
                fill="toself",
                fillcolor=f"rgba({r},{g},{b},{alpha})",
                line={"width": 0},
                hoverinfo="skip",
                showlegend=False,
                legendgroup=name,
            )
        drawn.add_scatter(
            name=name,
            legendgroup=name,
            x=band.epochs,
            y=median,
            mode="lines",
            line={"color": colour},
            customdata=list(zip(lowest, quarter, three_quarters, highest, band.trials, strict=True)),
            hovertemplate="epoch %{x}: median %{y:.1f} %, middle half %{customdata[1]:.1f} to "
            "%{customdata[2]:.1f}, all %{customdata[0]:.1f} to %{customdata[3]:.1f}, "
            f"%{{customdata[4]}} trials<extra>{name}</extra>",
        )
    return drawn


def _ended_well(trials: pd.DataFrame) -> pd.DataFrame:
    """Completed trials; settings that came again count once."""
    done = run_trials(trials)
    return done[(done["state"] == "completed") & done["val_top1_last"].notna()]


def _completed(trials: pd.DataFrame) -> pd.DataFrame:
    done = _ended_well(trials)
    return done.iloc[:: max(1, -(-len(done) // MOST_POINTS))] if len(done) else done


def slices(trials: pd.DataFrame, space: Mapping[str, Distribution]) -> Plain:
    """Validation accuracy against each hyperparameter, one panel each; completed trials of one cell."""
    done = _completed(trials)
    traces: list[Plain] = []
    axes: Plain = {}
    for i, (name, entry) in enumerate(space.items()):
        number = "" if i == 0 else str(i + 1)
        there = done[done[f"hp_{name}"].notna()]  # it may apply under a condition only
        values = there[f"hp_{name}"]
        categorical = isinstance(entry, Categorical)
        traces.append(
            {
                "x": [html.escape(str(v)) for v in values] if categorical else values.tolist(),
                "y": (100 * there["val_top1_last"]).tolist(),
                "text": there["trial_id"].map(html.escape).tolist(),
                "xaxis": f"x{number}",
                "type": "scatter",
                "mode": "markers",
                "marker": {"color": COLOURS[0], "size": 7, "opacity": 0.85},
                "hovertemplate": f"{html.escape(name)} %{{x}}<br>%{{y:.1f}} %<br>%{{text}}<extra></extra>",
                "showlegend": False,
            }
        )
        left, right = i / len(space), (i + 1) / len(space)
        axes[f"xaxis{number}"] = {
            "title": {"text": in_words(name)},
            "domain": [left + (0.02 if i else 0), right],
            "anchor": "y",
            **_axis(entry),
        }
    y = {"title": {"text": "validation accuracy (%)"}}
    return {"data": traces, "layout": {**LAYOUT, **axes, "yaxis": y}}


def _axis(entry: Distribution) -> dict[str, Any]:
    """An axis that shows the whole of a hyperparameter's range."""
    if isinstance(entry, Categorical):
        order = [html.escape(str(choice)) for choice in entry.choices]
        return {"type": "category", "categoryorder": "array", "categoryarray": order}
    low, high = float(entry.low), float(entry.high)
    ends = [float(np.log10(low)), float(np.log10(high))] if entry.log else [low, high]
    margin = 0.05 * (ends[1] - ends[0])
    shown = {"range": [ends[0] - margin, ends[1] + margin]}
    return {**shown, "type": "log", "nticks": 4} if entry.log else {**shown, "type": "linear"}


def parallel_coordinates(trials: pd.DataFrame, space: Mapping[str, Distribution]) -> Plain:
    """A line a completed trial through its hyperparameters to its accuracy, coloured by fifths of accuracy.

    The best trials are always among the lines drawn.  A line has a gap at a hyperparameter that does not
    apply to its trial.
    """
    done = _ended_well(trials)
    done = done.sort_values("val_top1_last", ascending=False)
    if len(done) > MOST_LINES:
        rest = done.iloc[MOST_LINES // 2 :]
        done = pd.concat([done.iloc[: MOST_LINES // 2], rest.iloc[:: -(-len(rest) // (MOST_LINES // 2))]])
    names = [*map(in_words, space), "accuracy (%)"]
    positions = [_positions(done[f"hp_{name}"], entry) for name, entry in space.items()]
    settings = {name: done[f"hp_{name}"].tolist() for name in space}
    ids = done["trial_id"].tolist()
    accuracy = 100 * done["val_top1_last"].to_numpy(dtype=float)
    low, high = (accuracy.min(), accuracy.max()) if len(accuracy) else (0.0, 1.0)
    positions.append((accuracy - low) / ((high - low) or 1.0))
    traces: list[Plain] = []
    fifths = np.minimum((positions[-1] * 5).astype(int), 4)
    for fifth, colour in enumerate(_FIFTHS):
        xs: list[float | None] = []
        ys: list[float | None] = []
        texts: list[str | None] = []
        for k in np.flatnonzero(fifths == fifth):
            words = [
                html.escape(f"{n} {_text(values[k])}")
                for n, values in settings.items()
                if pd.notna(values[k])
            ]
            label = "<br>".join([html.escape(ids[k]), *words, f"{accuracy[k]:.1f} %"])
            xs += [*range(len(names)), None]
            ys += [*(None if np.isnan(p[k]) else float(p[k]) for p in positions), None]
            texts += [label] * len(names) + [None]
        if xs:
            bounds = f"{low + fifth * (high - low) / 5:.0f} to {low + (fifth + 1) * (high - low) / 5:.0f} %"
            traces.append(
                {
                    "type": "scatter",
                    "name": bounds,
                    "x": xs,
                    "y": ys,
                    "text": texts,
                    "mode": "lines+markers",
                    "marker": {"size": 4},
                    "line": {"color": colour, "width": 1 + 0.3 * fifth},
                    "opacity": 0.75,
                    "hovertemplate": "%{text}<extra></extra>",
                }
            )
    ends = [*map(_ends, space.values()), (low, high)]
    layout = {
        **LAYOUT,
        "hovermode": "closest",
        "annotations": [
            {"x": x, "y": y, "text": html.escape(_text(end)), "showarrow": False, "font": {"size": 11}}
            for x, pair in enumerate(ends)
            for y, end in zip((-0.06, 1.06), pair, strict=True)
        ],
        "shapes": [
            {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "line": {"color": "#888888", "width": 1}}
            for x in range(len(names))
        ],
        "xaxis": {
            "tickvals": list(range(len(names))),
            "ticktext": names,
            "range": [-0.12 * len(names), 1.12 * len(names) - 1],
            "showgrid": False,
        },
        "yaxis": {"visible": False, "range": [-0.12, 1.12]},
    }
    return {"data": traces, "layout": layout}


def _text(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _ends(entry: Distribution) -> tuple[Any, Any]:
    return (
        (entry.choices[0], entry.choices[-1]) if isinstance(entry, Categorical) else (entry.low, entry.high)
    )


def _positions(values: pd.Series[Any], entry: Distribution) -> np.ndarray:
    """Where values lie between the ends of their axis, in [0, 1]; NaN where there is none."""
    if isinstance(entry, Categorical):
        choices = [str(choice) for choice in entry.choices]
        places = [choices.index(str(v)) if str(v) in choices else 0 for v in values]
        found = np.array(places, dtype=float) / max(1, len(choices) - 1)
        return np.where(values.isna(), np.nan, found)
    numbers, low, high = values.to_numpy(dtype=float), float(entry.low), float(entry.high)
    if entry.log:
        numbers, low, high = np.log(numbers), np.log(low), np.log(high)
    return np.clip((numbers - low) / ((high - low) or 1.0), 0, 1)


def response_surface(
    trials: pd.DataFrame, space: Mapping[str, Distribution], x: str = "lr", y: str = "scale", bins: int = 8
) -> Plain | None:
    """Mean validation accuracy of completed trials over a grid of two hyperparameters.

    None where the cell did not search both, or no trial completed.
    """
    if x not in space or y not in space:
        return None
    done = _completed(trials).dropna(subset=[f"hp_{x}", f"hp_{y}"])
    if done.empty:
        return None
    columns, x_names = _cells(done[f"hp_{x}"], space[x], bins)
    rows, y_names = _cells(done[f"hp_{y}"], space[y], bins)
    accuracy = 100 * done["val_top1_last"].to_numpy(dtype=float)
    total, number = np.zeros((2, len(y_names), len(x_names)))
    np.add.at(total, (rows, columns), accuracy)
    np.add.at(number, (rows, columns), 1)
    with np.errstate(invalid="ignore"):
        mean = np.where(number > 0, total / number, np.nan)
    heatmap = {
        "type": "heatmap",
        "x": x_names,
        "y": y_names,
        "z": [[None if v != v else float(v) for v in row] for row in mean],
        "customdata": number.astype(int).tolist(),
        "colorscale": "Cividis",
        "colorbar": {"title": {"text": "accuracy (%)"}, "thickness": 14},
        "hoverongaps": False,
        "hovertemplate": f"{html.escape(x)} %{{x}}<br>{html.escape(y)} %{{y}}<br>%{{z:.1f}} % "
        "(mean of %{customdata} trials)<extra></extra>",
    }
    axes = {
        f"{letter}axis": {"title": {"text": in_words(name)}, "type": "category"}
        for letter, name in (("x", x), ("y", y))
    }
    return {"data": [heatmap], "layout": {**LAYOUT, **axes}}


def _cells(values: pd.Series[Any], entry: Distribution, bins: int) -> tuple[np.ndarray, list[str]]:
    """The bin of every value, and the bins' names: a choice each, or equal steps of the (log) axis."""
    if isinstance(entry, Categorical):
        names = [html.escape(_text(choice)) for choice in entry.choices]
        return (_positions(values, entry) * max(1, len(names) - 1)).round().astype(int), names
    places = np.minimum((_positions(values, entry) * bins).astype(int), bins - 1)
    low, high = float(entry.low), float(entry.high)
    edges = np.geomspace(low, high, bins + 1) if entry.log else np.linspace(low, high, bins + 1)
    return places, [f"{a:.2g} to {b:.2g}" for a, b in pairwise(edges)]


def val_against_test(pairs: Sequence[tuple[str, str, float, float]]) -> go.Figure:
    """Validation accuracy of the chosen settings against their test accuracy, a point a cell."""
    drawn = new_figure(
        "validation accuracy of the chosen settings (%)", "test accuracy of the final trials (%)"
    )
    if pairs:
        ends = [min(min(p[2:]) for p in pairs), max(max(p[2:]) for p in pairs)]
        drawn.add_scatter(
            x=ends,
            y=ends,
            mode="lines",
            line={"dash": "dot", "color": "#888888"},
            name="equal",
            hoverinfo="skip",
        )
    for i, variant in enumerate(dict.fromkeys(pair[1] for pair in pairs)):
        part = [pair for pair in pairs if pair[1] == variant]
        drawn.add_scatter(
            name=html.escape(variant),
            x=[p[2] for p in part],
            y=[p[3] for p in part],
            text=[html.escape(p[0]) for p in part],
            mode="markers",
            marker={"color": COLOURS[i % len(COLOURS)], "size": 9},
            hovertemplate=f"%{{text}}, {html.escape(variant)}<br>val %{{x:.1f}} %, test %{{y:.1f}} %"
            "<extra></extra>",
        )
    return drawn


def importance_bars(shares: Mapping[str, Mapping[str, float]]) -> go.Figure:
    """Mean importance over tasks by variant, a bar a hyperparameter."""
    drawn = new_figure("importance, mean over tasks (%)", "", barmode="group")
    for i, (variant, by_name) in enumerate(shares.items()):
        ordered = sorted(by_name.items(), key=lambda item: item[1])
        drawn.add_bar(
            name=html.escape(variant),
            y=[in_words(name) for name, _ in ordered],
            x=[100 * share for _, share in ordered],
            orientation="h",
            marker={"color": COLOURS[i % len(COLOURS)]},
            hovertemplate="%{y}: %{x:.1f} %<extra>" + html.escape(variant) + "</extra>",
        )
    return drawn


def confirmed(found: Sequence[Confirmation]) -> go.Figure:
    """Confirmed accuracy against rank in the search, a line a variant; all of one task."""
    drawn = go.Figure()
    for cell in found:
        known = [one for one in cell.candidates if one.confirmed is not None]
        drawn.add_scatter(
            name=html.escape(cell.variant),
            x=[one.rank for one in known],
            y=[one.confirmed for one in known],
            error_y={"type": "data", "array": [one.deviation or 0.0 for one in known]},
            customdata=[[html.escape(one.trial_id), one.searched, one.optimism] for one in known],
            mode="lines+markers",
            hovertemplate="%{customdata[0]}: %{y:.1f} % confirmed, %{customdata[1]:.1f} % in the search "
            "(%{customdata[2]:+.1f})<extra>" + html.escape(cell.variant) + "</extra>",
        )
    drawn.update_layout(
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 30, "b": 60},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        xaxis={"title": {"text": "rank in the search"}, "dtick": 1},
        yaxis={"title": {"text": "validation accuracy, mean over the confirming seeds (%)"}},
    )
    return drawn
