"""matplotlib's figure without its global state."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


class Picture(Figure):
    """A figure that no window and no back end is chosen for, and that a notebook shows all the same."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        FigureCanvasAgg(self)  # it measures texts

    def _repr_png_(self) -> bytes:
        file = BytesIO()
        self.savefig(file, format="png", dpi=150)
        return file.getvalue()
