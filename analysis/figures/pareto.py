"""Pictures of a front: for papers with matplotlib, for reading with plotly."""

from __future__ import annotations

import html
import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.figures.style import LAYOUT, Plain
from analysis.pareto import Front, Point
from wst.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf", ".html")
# Okabe and Ito's colours, which stay apart for colour-blind readers.
FRONT_COLOUR, POINT_COLOUR, PUBLISHED_COLOUR = "#0072B2", "#E69F00", "#999999"
_COLUMN = 3.5, 2.7
"""Inches: the width of one column of a two-column page."""
_CROWD, _LARGER = 12, (4.8, 3.7)
"""Points above which the picture is larger, and how large; for reading, the front alone has names then."""
_LEADING = {"arrowstyle": "-", "linewidth": 0.4, "color": "#888888", "shrinkA": 0, "shrinkB": 2}
"""The line from a name to its point."""


def draw(found: Front, path: Path) -> None:
    """Write the picture: PNG, SVG or PDF for a paper, HTML (self-contained) for reading.

    Raises:
        InputError: the file name has another ending.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"-o: expected a file ending in {', '.join(FORMATS)}; found {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        from analysis.report.page import write_figure

        lead = "Each point is a variant; hover over it, or touch it, for its settings."
        title = f"Accuracy against {found.x_label}, suite {found.suite}"
        write_figure(path, title, lead, found.y_label.capitalize(), plain(found))
    else:
        _draw_paper(found, path)


def zero_of(points: list[Point]) -> float:
    """Where a cost of zero is drawn on a log axis."""
    return min((point.cost for point in points if point.cost > 0), default=10.0) / 3


def ticks(points: list[Point], most: int = 5) -> dict[float, str]:
    """Ticks of the log axis and their texts: 1-2-5 steps or decades, and zero where a point has it."""
    zero = zero_of(points)
    top = max((point.cost for point in points), default=1.0) or 1.0
    for steps in ((1, 2, 5), (1, 3), (1,)):
        found = [m * 10.0**k for k in range(-3, 13) for m in steps]
        found = [t for t in found if zero * 1.7 <= t <= top * 1.5]
        if len(found) <= most:
            break
    if len(found) < 2 and top > zero:  # all within a narrow range: the ends say more than a power of ten
        found = sorted({min((p.cost for p in points if p.cost > 0), default=top), top})
    lead = {zero: "0"} if any(point.cost == 0 for point in points) else {}
    return lead | {tick: _short(tick) for tick in found}


def _short(value: float) -> str:
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


# SVG and PDF without a date, and SVG with fixed ids, so that the same ledger gives the same file.
_FOR_PAPER: Any = {"svg.hashsalt": "wst", "svg.fonttype": "none", "pdf.fonttype": 42, "font.size": 8}


def _draw_paper(found: Front, path: Path) -> None:
    from matplotlib import rc_context

    dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
    with rc_context(_FOR_PAPER):
        static_figure(found).savefig(path, dpi=300, metadata=dated)


def static_figure(found: Front) -> Figure:
    """The front as a matplotlib figure, of a size for a paper's column; notebooks show it as it is."""
    from matplotlib import rc_context
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    from analysis.figures.picture import Picture

    with rc_context(_FOR_PAPER):
        picture = Picture(figsize=_LARGER if len(found.points) > _CROWD else _COLUMN, layout="constrained")
        axes = picture.add_subplot()
        zero, marks = zero_of(found.points), ticks(found.points)
        groups = (
            ("published, not re-run here", PUBLISHED_COLOUR, "D", [p for p in found.points if p.published]),
            ("dominated", POINT_COLOUR, "s", [p for p in found.points if not (p.published or p.on_front)]),
            ("front", FRONT_COLOUR, "o", [p for p in found.points if p.on_front]),
        )
        for name, colour, marker, part in groups:
            if part:
                axes.errorbar(
                    [p.cost or zero for p in part],
                    [p.accuracy for p in part],
                    yerr=[p.deviation or 0.0 for p in part],
                    fmt=marker,
                    markersize=3.5 if name.startswith("published") else 4.5,
                    markerfacecolor="none" if name.startswith("published") else colour,
                    color=colour,
                    elinewidth=0.8,
                    capsize=2,
                    label=name,
                    zorder=1 if name.startswith("published") else 3,
                )
        xs, ys = front_line(found)
        axes.plot(xs, ys, color=FRONT_COLOUR, linewidth=1, zorder=2)
        costs = [p.cost or zero for p in found.points]
        axes.set_xscale("log")
        axes.set_xlim(min(costs) / 1.6, max(costs) * 1.6)
        axes.margins(y=0.12)
        axes.xaxis.set_major_locator(FixedLocator(list(marks)))
        axes.xaxis.set_major_formatter(FixedFormatter(list(marks.values())))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(found.x_label)
        axes.set_ylabel(found.y_label)
        axes.set_title(f"suite {found.suite}", fontsize=8)
        axes.grid(alpha=0.25, linewidth=0.5)
        if any(not point.on_front for point in found.points):
            axes.legend(fontsize=6.5, frameon=False, loc="lower right")
        picture.canvas.draw()
        _label(axes, found, zero)
    return picture


def front_line(found: Front) -> tuple[list[float], list[float]]:
    """The staircase through the front: accuracy that each cost buys, up to the dearest point."""
    zero = zero_of(found.points)
    steps = [(p.cost or zero, p.accuracy) for p in found.points if p.on_front]
    xs, ys = [steps[0][0]], [steps[0][1]]
    for (_, low), (cost, high) in pairwise(steps):
        xs += [cost, cost]
        ys += [low, high]
    dearest = max(p.cost or zero for p in found.points if not p.published)
    return [*xs, dearest], [*ys, ys[-1]]


def _label(axes: Any, found: Front, zero: float) -> None:
    """Write each of our points' names at the first place where it covers no point, no bar and no name.

    Published points are named where room is left, the best first.
    """
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    renderer = axes.figure.canvas.get_renderer()
    spots = [axes.transData.transform((p.cost or zero, p.accuracy)) for p in found.points]
    taken = [Bbox.from_bounds(x - 6, y - 6, 12, 12) for x, y in spots]
    for point, (x, _) in zip(found.points, spots, strict=True):
        if point.deviation and len(found.points) <= _CROWD:  # in a crowd there is no room for that
            ends = [point.accuracy - point.deviation, point.accuracy + point.deviation]
            low, high = axes.transData.transform([(point.cost or zero, end) for end in ends])[:, 1]
            taken.append(Bbox.from_extents(x - 2, low, x + 2, high))
    corners = axes.transData.transform(list(zip(*front_line(found), strict=True)))
    for (x0, y0), (x1, y1) in pairwise(corners):
        taken.append(Bbox.from_extents(min(x0, x1) - 1, min(y0, y1) - 1, max(x0, x1) + 1, max(y0, y1) + 1))
    if axes.get_legend():
        taken.append(axes.get_legend().get_window_extent(renderer))
    offsets = [(5, -3, "left"), (5, 3, "left"), (-5, 3, "right"), (-5, -8, "right"), (5, -9, "left")]
    offsets += [(0, 8, "center"), (0, -12, "center")]
    close = len(offsets)
    offsets += [(5, 12, "left"), (-5, 12, "right"), (-5, -16, "right")]
    for distance in (20, 30, 40, 52, 66):  # further off, a line leads to the name
        for angle in range(0, 360, 20):
            x, y = (
                distance * math.cos(math.radians(angle)),
                0.7 * distance * math.sin(math.radians(angle)),
            )
            offsets.append((round(x), round(y), "left" if x > 0 else "right"))
    order = sorted(found.points, key=lambda p: (bool(p.published), not p.on_front, -p.accuracy))
    for point in order:
        for attempt, (x, y, side) in enumerate(offsets[: 4 if point.published else None]):
            name = axes.annotate(
                point.label,
                (point.cost or zero, point.accuracy),
                xytext=(x, y),
                textcoords="offset points",
                ha=side,
                fontsize=5.5 if point.published else 7,
                color="#666666" if point.published else "#222222",
                arrowprops=_LEADING if attempt >= close else None,
            )
            name.update_positions(renderer)
            place = Text.get_window_extent(name, renderer)  # without the line to its point
            inside = axes.bbox.contains(*place.min) and axes.bbox.contains(*place.max)
            if inside and not any(place.overlaps(other) for other in taken):
                taken.append(place)
                break
            name.remove()
        else:
            if not point.published:  # ours are always named, in a crowd too
                axes.annotate(
                    point.label,
                    (point.cost or zero, point.accuracy),
                    xytext=(4, -3),
                    textcoords="offset points",
                    fontsize=6,
                )


def figure(found: Front) -> Any:
    """The front as a plotly figure; hovering over a point shows what it is."""
    import plotly.graph_objects as go

    return go.Figure(plain(found))


def plain(found: Front) -> Plain:
    """The same as a plain dictionary: plotly's own classes would take a second for a report's."""
    zero, marks = zero_of(found.points), ticks(found.points, most=7)
    costs, crowd = [point.cost or zero for point in found.points], len(found.points) > _CROWD
    right = min(costs) ** 0.25 * max(costs) ** 0.75  # beyond, names stand to the left
    xs, ys = front_line(found)
    line = {"color": FRONT_COLOUR, "width": 1}
    traces: list[Plain] = [
        {"x": xs, "y": ys, "type": "scatter", "mode": "lines", "line": line}
        | {"hoverinfo": "skip", "showlegend": False}
    ]
    for name, colour, symbol, part in (
        (
            "published, not re-run here",
            PUBLISHED_COLOUR,
            "diamond-open",
            [p for p in found.points if p.published],
        ),
        ("dominated", POINT_COLOUR, "square", [p for p in found.points if not (p.published or p.on_front)]),
        ("on the front", FRONT_COLOUR, "circle", [p for p in found.points if p.on_front]),
    ):
        if part:
            named = not (part[0].published or (crowd and not part[0].on_front))
            traces.append(
                {
                    "name": name,
                    "type": "scatter",
                    "x": [p.cost or zero for p in part],
                    "y": [p.accuracy for p in part],
                    "error_y": {"type": "data", "array": [p.deviation or 0 for p in part]},
                    "mode": "markers+text" if named else "markers",
                    "marker": {"color": colour, "symbol": symbol, "size": 7 if part[0].published else 10},
                    "text": [html.escape(p.label) for p in part],
                    "textposition": [
                        "bottom left" if (p.cost or zero) > right else "bottom right" for p in part
                    ],
                    "customdata": [[_details(p, found)] for p in part],
                    "hovertemplate": "<b>%{text}</b><br>%{y:.2f} %<br>%{customdata[0]}<extra></extra>",
                }
            )
    minor = [m * 10.0**k for k in range(-3, 13) for m in range(1, 10) if m * 10.0**k > zero]
    layout: Plain = LAYOUT | {
        "margin": {"l": 60, "r": 20, "t": 80, "b": 60},
        "title": {
            "text": html.escape(f"suite {found.suite}"),
            "font": {"size": 14},
            "y": 0.98,
            "yanchor": "top",
        },
        "xaxis": {
            "type": "log",
            "title": {"text": f"{found.x_label} (log scale)"},
            "tickvals": list(marks),
            "ticktext": list(marks.values()),
            "minor": {"tickvals": minor, "showgrid": True, "griddash": "dot", "gridcolor": "#dddddd"},
        },
        "yaxis": {"title": {"text": found.y_label}},
    }
    if any(point.cost == 0 for point in found.points):  # which a log axis has not: a place apart
        apart = {"color": "#888888", "width": 1, "dash": "dash"}
        place = {"x0": zero * 1.7, "x1": zero * 1.7, "xref": "x", "y0": 0, "y1": 1, "yref": "y domain"}
        layout["shapes"] = [{"type": "line", "line": apart, **place}]
    return {"data": traces, "layout": layout}


def _details(point: Point, found: Front) -> str:
    """What hovering shows under a point's name and accuracy."""
    cost = {
        "memory": f"{point.cost / 2**20:,.0f} MiB",
        "seconds": f"{point.cost:,.1f} s",
        "parameters": f"{point.cost:,.0f} parameters",
    }[found.against]
    lines = [cost, point.settings.shown, point.note, point.published and f"published: {point.published}"]
    return "<br>".join(html.escape(line) for line in lines if line)
