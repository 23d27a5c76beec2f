"""``points`` and ``features``: a chip around each feature of a file."""

from __future__ import annotations

from collections.abc import Iterator

import geopandas as gpd
import numpy as np
import pandas as pd
import pyproj
import shapely
import shapely.affinity

from chipweave.errors import RecipeError
from chipweave.plan.lattices import FloatArray, corners_at
from chipweave.plan.sampling.base import Ask
from chipweave.plan.sampling.negatives import negatives
from chipweave.plan.thin import mixed, uniform
from chipweave.plan.vectors import read_features

_GEOD = pyproj.Geod(ellps="WGS84")


def sample(ask: Ask) -> Iterator[pd.DataFrame]:
    """Chips around features, those of one corner once.

    Raises
    ------
    RecipeError
        The file cannot be read, or holds something else than points where `points` is asked for.
    """
    path, said = ask.file
    wish = ask.sampling.negatives
    frame = read_features(path, said, where=ask.sampling.where)
    if ask.sampling.method == "points":
        frame = frame.explode(index_parts=False, ignore_index=True)
        if (frame.geometry.geom_type != "Point").any():
            raise RecipeError(
                f"{said}: holds {frame.geometry[frame.geometry.geom_type != 'Point'].iloc[0].geom_type}s, no points",
                hint="`method: features` takes any geometry",
            )
    lon, lat = centres(frame, ask.sampling.centre)
    if ask.sampling.jitter_m > 0:
        lon, lat = jittered(lon, lat, ask.sampling.jitter_m, ask.sampling.seed)
    found = corners_at(lon, lat, ask.chips)
    for name in ask.wanted & set(frame.columns) - set(found.columns):
        found[name] = frame[name].to_numpy()
    # Two points of one pixel make one chip: the western one's columns count, then the southern one's.
    order = np.lexsort((lat, lon))
    apart = ["crs", "x", "y", *sorted(ask.dated & set(found.columns))]
    if wish is None:
        yield found.iloc[order].drop_duplicates(apart, ignore_index=True)
        return
    everything = frame if ask.sampling.where is None else read_features(path, said)
    without = negatives(lon, lat, everything.geometry.to_numpy(), ask, wish)
    rows = without.pop("of").to_numpy()
    for name in set(found.columns) - set(without.columns):
        without[name] = found[name].to_numpy()[
            rows
        ]  # such as the date of the event that did not happen there
    found = found.iloc[order]
    yield pd.concat([found.assign(negative=False), without.assign(negative=True)]).drop_duplicates(
        apart, ignore_index=True
    )


def centres(frame: gpd.GeoDataFrame, centre: str) -> tuple[FloatArray, FloatArray]:
    """A point (lon, lat) for each feature.

    Parameters
    ----------
    frame
        Features in lon/lat.
    centre
        ``point``: the centroid, or where that lies outside, a point inside. ``bounds``: the middle of the bounds.
    """
    shapes = frame.geometry.to_numpy().copy()
    if (shapely.get_type_id(shapes) == shapely.GeometryType.POINT).all():
        return shapely.get_x(shapes), shapely.get_y(shapes)
    # What was cut at ±180° is put together again beyond it.
    wide = np.ptp(shapely.bounds(shapes)[:, [0, 2]], axis=1) > 180
    for k in np.flatnonzero(wide):
        shapes[k] = shapely.transform(shapes[k], lambda c: np.where(c < [0, -90], c + np.array([360, 0]), c))
    if centre == "bounds":
        w, s, e, n = shapely.bounds(shapes).T
        lon, lat = (w + e) / 2, (s + n) / 2
    else:
        # Degrees of longitude are shorter than those of latitude: a centroid is taken where they are as long.
        narrow = np.cos(np.radians(shapely.bounds(shapes)[:, [1, 3]].mean(axis=1)))
        points = []
        for shape, by in zip(shapes, np.maximum(narrow, 1e-3), strict=True):
            flat = shapely.affinity.scale(shape, xfact=by, origin=(0, 0))
            middle = shapely.centroid(flat)
            inside = shapely.get_dimensions(flat) < 2 or shapely.covers(flat, middle)
            point = middle if inside else shapely.point_on_surface(flat)
            points.append((point.x / by, point.y))
        lon, lat = np.array(points, np.float64).reshape(-1, 2).T
    return np.where(lon > 180, lon - 360, lon), lat


def jittered(lon: FloatArray, lat: FloatArray, metres: float, seed: int) -> tuple[FloatArray, FloatArray]:
    """Points moved at random within a disc: the same point goes the same way, whatever stands beside it."""
    a, b = (np.round(v * 1e9).astype(np.int64).view(np.uint64) for v in (lon, lat))
    turn = mixed(mixed(mixed(np.uint64(seed % 2**64)) ^ a) ^ b)
    azimuth, far = 360.0 * uniform(turn), metres * np.sqrt(uniform(mixed(turn)))
    moved_lon, moved_lat, _ = _GEOD.fwd(lon, lat, azimuth, far)
    return np.asarray(moved_lon, np.float64), np.asarray(moved_lat, np.float64)
