"""Accuracy against trainable parameters: the front, as numbers first and as a picture second."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from analysis.leaderboard import Leaderboard
from wst.errors import InputError

FORMATS = (".png", ".svg", ".pdf", ".html")
# Okabe and Ito's colours, which stay apart for colour-blind readers.
_FRONT_COLOUR, _POINT_COLOUR = "#0072B2", "#E69F00"


@dataclass(frozen=True)
class Point:
    """One variant.

    Attributes:
        parameters: trainable parameters without the head.
        accuracy: mean of the group means, in per cent.
        deviation: standard deviation over seeds, mean over tasks; None with one seed.
        on_front: True when no other point has fewer (or as many) parameters and higher (or equal) accuracy,
            one of the two strictly.
    """

    label: str
    parameters: int
    accuracy: float
    deviation: float | None
    on_front: bool
    note: str = ""


def front(board: Leaderboard) -> list[Point]:
    """One point a complete row of the leaderboard, by parameters; points that tie in both are all on it.

    Raises:
        InputError: no row is complete.
    """
    several = len({row.study for row in board.rows}) > 1
    measured = [
        (row, row.trainable, accuracy)
        for row in board.rows
        if (accuracy := row.mean_of_groups(board.suite)) is not None
    ]
    if not measured:
        raise InputError(
            "pareto: expected a variant whose final trials are complete on every task; found none"
        )
    points = []
    for row, parameters, accuracy in measured:
        dominated = any(
            p <= parameters and a >= accuracy and (p < parameters or a > accuracy) for _, p, a in measured
        )
        label = f"{row.study}: {row.variant}" if several else row.variant
        points.append(Point(label, parameters, accuracy, row.deviation(), not dominated, row.note))
    return sorted(points, key=lambda point: (point.parameters, point.accuracy))


def _axis(points: list[Point]) -> tuple[float, dict[float, str]]:
    """Where to draw zero parameters on a log axis, and that tick's text."""
    smallest = min((p.parameters for p in points if p.parameters), default=10)
    zero = smallest / 3
    return zero, ({zero: "0"} if any(p.parameters == 0 for p in points) else {})


def draw(points: list[Point], board: Leaderboard, path: Path) -> None:
    """Write the picture: PNG, SVG or PDF for a paper, HTML (self-contained) for reading.

    Raises:
        InputError: the file name has another ending.
    """
    if path.suffix not in FORMATS:
        raise InputError(f"-o: expected a file ending in {', '.join(FORMATS)}; found {path.name!r}")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".html":
        _draw_html(points, board, path)
    else:
        _draw_paper(points, board, path)


_X = "trainable parameters without the head"
_Y = "test accuracy, mean of groups (%)"


def _draw_paper(points: list[Point], board: Leaderboard, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter, FixedLocator, FuncFormatter, LogLocator, NullLocator

    # SVG and PDF without a date, and SVG with fixed ids, so that the same ledger gives the same file.
    with plt.rc_context({"svg.hashsalt": "wst", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(5.0, 3.4), layout="constrained")
        zero, ticks = _axis(points)
        xs = [point.parameters or zero for point in points]
        for x, point in zip(xs, points, strict=True):
            colour = _FRONT_COLOUR if point.on_front else _POINT_COLOUR
            axes.errorbar(
                x,
                point.accuracy,
                yerr=point.deviation,
                fmt="o" if point.on_front else "s",
                color=colour,
                capsize=3,
            )
            axes.annotate(
                point.label,
                (x, point.accuracy),
                xytext=(7, -3),
                textcoords="offset points",
                va="top",
                color="#333333",
            )
        on_front = [(x, p.accuracy) for x, p in zip(xs, points, strict=True) if p.on_front]
        axes.plot(
            *zip(*on_front, strict=True), color=_FRONT_COLOUR, linewidth=1, zorder=0, drawstyle="steps-post"
        )
        axes.set_xscale("log")
        major = [
            *ticks,
            *(t for t in LogLocator(subs=(1, 2, 5)).tick_values(min(xs), max(xs)) if t > 1.5 * zero),
        ]
        shorten = EngFormatter(sep="")
        axes.xaxis.set_major_locator(FixedLocator(major))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: ticks.get(x) or shorten(x)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(min(xs) / 1.5, max(xs) * 2.5)
        axes.margins(y=0.15)
        axes.set_xlabel(_X)
        axes.set_ylabel(_Y)
        axes.grid(alpha=0.25)
        axes.set_title(f"suite {board.suite.name}, {len(board.tasks)} tasks", fontsize=9)
        dated = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
        figure.savefig(path, dpi=200, metadata=dated)
        plt.close(figure)


def _draw_html(points: list[Point], board: Leaderboard, path: Path) -> None:
    import plotly.graph_objects as go

    zero, ticks = _axis(points)
    figure = go.Figure()
    for name, colour, symbol, on_front in (
        ("on the front", _FRONT_COLOUR, "circle", True),
        ("dominated", _POINT_COLOUR, "square", False),
    ):
        part = [p for p in points if p.on_front is on_front]
        if part:
            figure.add_scatter(
                name=name,
                x=[p.parameters or zero for p in part],
                y=[p.accuracy for p in part],
                error_y={"type": "data", "array": [p.deviation or 0 for p in part]},
                mode="markers+text" + ("+lines" if on_front else ""),
                line={"shape": "hv", "width": 1},
                marker={"color": colour, "symbol": symbol, "size": 10},
                text=[p.label for p in part],
                textposition="bottom right",
                customdata=[[f"{p.parameters:,}", p.note] for p in part],
                hovertemplate="%{text}<br>%{y:.1f} %<br>%{customdata[0]} parameters<br>"
                "%{customdata[1]}<extra></extra>",
            )
    decades = [10**k * m for k in range(0, 10) for m in (1, 2, 5) if 10**k * m > 1.5 * zero]
    values = [*ticks, *decades]
    texts = [*ticks.values(), *(f"{value:,}" for value in decades)]
    figure.update_xaxes(type="log", title=_X, tickvals=values, ticktext=texts)
    figure.update_yaxes(title=_Y)
    figure.update_layout(
        title=f"suite {board.suite.name}, {len(board.tasks)} tasks. {board.suite.caveat}",
        template="plotly_white",
    )
    figure.write_html(path, include_plotlyjs=True)
