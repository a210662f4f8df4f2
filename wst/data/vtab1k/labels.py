"""VTAB's label functions: from a data set's own annotations to the labels of a task.

All follow the definitions of Zhai et al. 2019 as coded in ``task_adaptation``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_CLEVR_EDGES = (0.0, 8.0, 8.5, 9.0, 9.5, 10.0, 100.0)
_KITTI_EDGES = (-100.0, 8.0, 20.0, 999.0)
_KITTI_VEHICLES = frozenset({"Car", "Van", "Truck"})
_NO_VEHICLE = 1000.0


def _bin(value: float, edges: Sequence[float]) -> int:
    """Index of the largest edge strictly below ``value``, compared in single precision."""
    return int(np.searchsorted(np.asarray(edges, np.float32), np.float32(value), side="left")) - 1


def clevr_count(objects: int) -> int:
    """3 to 10 objects are labels 0 to 7."""
    return objects - 3


def clevr_distance(depths: Sequence[float]) -> int:
    """Six bins of the depth of the object nearest to the camera (third entry of ``pixel_coords``)."""
    return _bin(min(depths), _CLEVR_EDGES)


def kitti_distance(annotations: str) -> int:
    """Four bins of the distance to the nearest car, van or truck; 3 where there is none.

    Args:
        annotations: text of a KITTI label file: one object a line, type first, z in metres 14th.
    """
    distances = [_NO_VEHICLE]
    for line in annotations.splitlines():
        fields = line.split()
        if fields and fields[0] in _KITTI_VEHICLES:
            distances.append(float(fields[13]))
    return _bin(min(distances), _KITTI_EDGES)


def dsprites_location(x_position: np.ndarray) -> np.ndarray:
    """32 x positions in 16 classes."""
    return np.asarray(x_position) // 2


def dsprites_orientation(orientation: np.ndarray) -> np.ndarray:
    """40 orientations in 16 classes, of 3 and 2 orientations by turns."""
    return (np.asarray(orientation) * 2) // 5


def smallnorb_azimuth(azimuth: np.ndarray) -> np.ndarray:
    """Azimuths as stored, 0, 2, ..., 34, in 18 classes."""
    return np.asarray(azimuth) // 2
