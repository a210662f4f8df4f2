"""The notebooks of docs/notebooks, run from their first cell to their last.

``python -m tools.notebooks`` runs them in empty folders and writes what their cells show.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "docs" / "notebooks").glob("*.ipynb"))


def executed(path: Path, folder: Path) -> nbformat.NotebookNode:
    """A notebook with what its cells show when they run in a folder.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    notebook = nbformat.read(path, as_version=4)
    where = {"metadata": {"path": str(folder)}}
    client = NotebookClient(
        notebook, timeout=600, kernel_name="python3", record_timing=False, resources=where
    )
    # tqdm's warning says where it is installed, and nothing of the notebook.
    client.execute(env={**os.environ, "PYTHONWARNINGS": "ignore:IProgress not found"})
    notebook.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return notebook


if __name__ == "__main__":
    for found in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as empty:
            nbformat.write(executed(found, Path(empty)), found)
