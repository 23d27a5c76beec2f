"""Fields: rectangles of one direction within a farm district, the districts themselves bent by the land."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chipweave.demo.noise import F32, U32, mix, unit

_WIDE, _DEEP = np.float32(1250.0), np.float32(900.0)


@dataclass(frozen=True)
class Parcels:
    """The parcel under each point, arrays (n,).

    Parameters
    ----------
    ident
        The same number all over a parcel.
    edge, track
        Metres to the parcel's and to the district's nearest edge.
    x, y
        Its middle.
    across
        Metres across its rows.
    """

    ident: U32
    edge: F32
    track: F32
    x: F32
    y: F32
    across: F32


def parcels(u: F32, v: F32, salt: int) -> Parcels:
    """Cut the plane: districts of about 1 km, each into strips of about 60 to 240 m by 170 to 520 m."""
    row = np.floor(v / _DEEP)
    rows = mix(row.astype(np.int32).view(np.uint32), salt)
    shift = unit(rows) * _WIDE
    col = np.floor((u + shift) / _WIDE)
    district = mix(rows, col.astype(np.int32).view(np.uint32))
    mid_u, mid_v = (col + np.float32(0.5)) * _WIDE - shift, (row + np.float32(0.5)) * _DEEP
    du, dv = u - mid_u, v - mid_v
    track = np.minimum(_WIDE / 2 - np.abs(du), _DEEP / 2 - np.abs(dv))
    turn = unit(district, 1) * np.float32(np.pi / 2)
    c, s = np.cos(turn), np.sin(turn)
    p, q = c * du + s * dv, c * dv - s * du
    grand = unit(district, 2)
    width = 55 + 190 * grand**2
    i, p_low, p_high = _cut(p / width, district)
    strip = mix(district, i)
    length = 170 + 230 * unit(strip, 3) + 120 * grand
    j, q_low, q_high = _cut(q / length, strip)
    pm, qm = (p_low + p_high) * width / 2, (q_low + q_high) * length / 2
    edge = np.minimum(
        np.minimum(p - p_low * width, p_high * width - p), np.minimum(q - q_low * length, q_high * length - q)
    )
    return Parcels(mix(strip, j), edge, track, mid_u + c * pm - s * qm, mid_v + s * pm + c * qm, p)


def _cut(t: F32, seeds: U32) -> tuple[U32, F32, F32]:
    """Cells of uneven width along a line: the cell's number and its two ends."""
    cell = np.rint(t).astype(np.int32)
    border = cell.astype(np.float32) - np.float32(0.5) + _jitter(seeds, cell)
    right = (t >= border).astype(
        np.int32
    ) - 1  # the jitter is less than half a cell, so t is beside this border
    cell += right
    low = cell.astype(np.float32) - np.float32(0.5) + _jitter(seeds, cell)
    high = cell.astype(np.float32) + np.float32(0.5) + _jitter(seeds, cell + 1)
    swap = t >= high
    low = np.where(swap, high, low)
    cell = np.where(swap, cell + 1, cell)
    high = np.where(swap, cell.astype(np.float32) + np.float32(0.5) + _jitter(seeds, cell + 1), high)
    return cell.view(np.uint32), low, high


def _jitter(seeds: U32, cell: np.ndarray) -> F32:
    return np.float32(0.7) * (unit(mix(seeds, cell.view(np.uint32))) - np.float32(0.5))
