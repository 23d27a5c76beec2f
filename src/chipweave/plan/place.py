"""Places: footprints, once, with their keys, by the recipe's way of sampling."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import geopandas as gpd
import numpy as np
import numpy.typing as npt
import pandas as pd
import shapely

from chipweave.errors import RecipeError
from chipweave.model import Scene
from chipweave.pixels.lattice import reproject
from chipweave.plan.area import AreaOfInterest
from chipweave.plan.attributes import attribute_columns
from chipweave.plan.lattices import UTM_NORTH, UTM_SOUTH, footprints
from chipweave.plan.majortom import EqualGrid
from chipweave.plan.naming import own_keys, template_keys
from chipweave.plan.nearby import excluded
from chipweave.plan.places import COLUMNS
from chipweave.plan.sampling import METHODS, Ask
from chipweave.plan.sampling.base import MAX_PLACES
from chipweave.plan.splitting import places_columns
from chipweave.plan.thin import Thinner, turns
from chipweave.plan.times import wanted_columns, with_times
from chipweave.plan.vectors import read_features
from chipweave.plan.zones import overlapping
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.keys import columns as key_columns
from chipweave.recipe.places import Chips

log = logging.getLogger("chipweave")

BoolArray = npt.NDArray[np.bool_]
Keep = Callable[[gpd.GeoDataFrame], BoolArray]

MAJORTOM = ("majortom", "majortom_row", "majortom_col")
"""Columns with the Major TOM cell: its name, and its numbers (U and R count up from 0, D and L down from -1)."""

PATIENCE = 50
"""Draws in a row that bring no place, some thousand points each, after which no more is hoped for."""

DRAW = 4096
"""Least number of candidates that are looked at together."""


def place_chips(loaded: LoadedRecipe, area: AreaOfInterest, scenes: Sequence[Scene] = ()) -> gpd.GeoDataFrame:
    """All places of a recipe's area.

    Parameters
    ----------
    loaded, area
        The recipe and its area.
    scenes
        Of the layer that `scene_tiles` tiles.

    Returns
    -------
    GeoDataFrame
        One row a place, sorted by key, EPSG:4326 footprints: ``key, place, crs, x, y, size, resolution`` (upper
        left corner in `crs`), ``lon, lat`` of the centre, ``w, s, e, n``, and ``reason``, which is ``overlap``
        for a chip that gives way to one of a lower-numbered UTM zone, else empty; then the Major TOM cell and the
        recipe's attributes, where it asks for them.

    Raises
    ------
    RecipeError
        Where no chip lies in the area, absurdly many would, or a file that places come from is of no use.
    """
    chips = loaded.recipe.chips
    wanted = key_columns(chips.key) if chips.key is not None else frozenset()
    dated, split = wanted_columns(loaded.recipe), places_columns(loaded.recipe.split)
    wanted |= dated | split
    ask = Ask(chips, area, loaded.resolve, wanted, scenes, dated)
    allowed = _allowed(ask)
    method = METHODS[chips.sampling.method]
    places = _drawn(ask, allowed) if method.drawn else _given(ask, allowed, repeats=method.repeats)
    if places.empty:
        raise RecipeError(
            f"area: no chip of {chips.placed} px at {chips.metres_per_pixel:g} lies in it (rule: {area.rule})",
            hint="UTM ends before it: give chips.crs, such as EPSG:3413 or EPSG:3031"
            if chips.crs == "utm" and _polar(area)
            else "a larger area, smaller chips, or `rule: intersects`",
        )
    extra: list[str] = []
    if chips.majortom or chips.sampling.method == "majortom" or wanted & set(MAJORTOM):
        names, cells = EqualGrid().names_at(places["lon"].to_numpy(), places["lat"].to_numpy())
        places = places.assign(
            majortom=pd.Series(names, index=places.index, dtype=object),
            majortom_row=cells.row, majortom_col=cells.col,
        )  # fmt: skip
        extra += MAJORTOM
    if chips.subdivide is not None:
        places = _cut(places, chips)
    extra += ["negative"] if chips.sampling.negatives is not None else []
    attributes = attribute_columns(loaded, places.drop(columns="key", errors="ignore"))
    places = places.assign(**attributes)
    places["place"] = own_keys(places)
    places["key"] = _keys(places, chips)
    by_key = attribute_columns(loaded, places)
    places = places.assign(**by_key)
    frame = gpd.GeoDataFrame(places, geometry="geometry", crs=4326).sort_values("key", ignore_index=True)
    own = [*COLUMNS, *extra, *loaded.recipe.attributes, *sorted((dated | split) & set(frame.columns))]
    return with_times(frame[[*dict.fromkeys(own), "geometry"]].copy(), loaded)


def _polar(area: AreaOfInterest) -> bool:
    """Whether an area lies wholly beyond UTM."""
    _, south, _, north = area.geometry.bounds
    return bool(south >= UTM_NORTH or north <= UTM_SOUTH)


def _keys(places: pd.DataFrame, chips: Chips) -> pd.Series[str]:
    if chips.key is not None:
        return template_keys(places, chips.key)
    if "key" not in places:
        return places["place"].copy()
    if chips.subdivide is None:
        return places["key"]
    return places["key"] + "-" + places["part_row"].astype(str) + "-" + places["part_col"].astype(str)


def _allowed(ask: Ask) -> Keep | None:
    """Says which places keep away from what `exclude` names; None where nothing is."""
    exclude = ask.sampling.exclude
    if exclude is None:
        return None
    said = f"chips.sampling.exclude.near: {exclude.near}"
    shapes = read_features(ask.resolve(exclude.near), said).geometry.to_numpy()
    return lambda places: ~excluded(places, shapes, exclude.m)


def _given(ask: Ask, allowed: Keep | None, *, repeats: bool) -> gpd.GeoDataFrame:
    """Every place of a method that says where, less those that `exclude`, `min_distance_m` and `count` leave out."""
    sampling = ask.sampling
    frames = []
    for frame in METHODS[sampling.method].sample(ask):
        if lost := int((~np.isfinite(frame["x"].to_numpy(np.float64))).sum()):
            log.warning("place: %d places lie where %s is not defined: left out", lost, ask.chips.crs)
        frames.append(_complete(ask, frame))
    places = pd.concat([f for f in frames if len(f)] or frames[:1], ignore_index=True)
    if repeats:
        places = places.drop_duplicates(["crs", "x", "y"], ignore_index=True)
    if places.empty:
        return places
    places["reason"] = ""
    if allowed is not None:
        places = places[allowed(places)].reset_index(drop=True)
    if len(places) and ask.chips.crs == "utm":
        places.loc[overlapping(places, ask.chips.max_overlap), "reason"] = "overlap"
    if sampling.method == "stratified" or (not sampling.min_distance_m and sampling.count is None):
        return places  # strata are known, and their places chosen, after the survey
    own = places[places["reason"] == ""]
    own = own.iloc[np.argsort(turns(own, sampling.seed), kind="stable")]
    return own[Thinner(sampling.min_distance_m, None).add(own, sampling.count)].reset_index(drop=True)


def _drawn(ask: Ask, allowed: Keep | None) -> gpd.GeoDataFrame:
    """As many places as asked for, of a method that chooses freely: in the order of drawing, if there is room."""
    sampling, count = ask.sampling, ask.sampling.count
    if count is None:
        raise RecipeError(
            f"chips.sampling.count: is missing: method {sampling.method} goes on until it is reached"
        )
    if count > MAX_PLACES:
        raise RecipeError(f"chips.sampling.count: more than {MAX_PLACES:,}")
    thinner = Thinner(sampling.min_distance_m, ask.chips.max_overlap)
    frames = METHODS[sampling.method].sample(ask)
    taken: list[gpd.GeoDataFrame] = []
    seen = pd.MultiIndex.from_arrays([[], [], []])
    found, idle = 0, 0
    while found < count and idle < PATIENCE:
        # More at once as places grow many: who stays does not depend on it.
        draws = list(islice(frames, max(1, min(found, count - found) // DRAW)))
        places = pd.concat([_complete(ask, frame) for frame in draws], ignore_index=True)
        corners = pd.MultiIndex.from_frame(places[["crs", "x", "y"]])
        places = places[~corners.duplicated() & ~corners.isin(seen)]
        if allowed is not None and len(places):
            places = places[allowed(places)]
        places = places[thinner.add(places, count - found)]
        taken.append(places)
        seen = seen.append(pd.MultiIndex.from_frame(places[["crs", "x", "y"]])) if len(places) else seen
        found += len(places)
        idle = 0 if len(places) else idle + 1
    if found < count:
        log.warning("place: there is room for %d of %d places", found, count)
    whole = pd.concat([f for f in taken if len(f)] or taken[:1], ignore_index=True)
    return whole.assign(reason="")


def _complete(ask: Ask, corners: pd.DataFrame) -> gpd.GeoDataFrame:
    """Chips of some corners that the area holds, in their order, with centres and footprints."""
    chips, area = ask.chips, ask.area
    side = chips.placed * chips.metres_per_pixel
    corners = corners.reset_index(drop=True).assign(size=chips.placed, resolution=chips.metres_per_pixel)
    parts = [_whole(rows, str(crs), side, area) for crs, rows in corners.groupby("crs", sort=False)] or [
        _whole(corners, "EPSG:4326", side, area)
    ]
    whole = pd.concat(parts).sort_index().reset_index(drop=True) if len(parts) > 1 else parts[0]
    return gpd.GeoDataFrame(whole, geometry="geometry", crs=4326)


def _whole(rows: pd.DataFrame, crs: str, side: float, area: AreaOfInterest | None) -> pd.DataFrame:
    """Chips of one CRS, with centres and footprints; those that the area holds, where there is one."""
    x, y = rows["x"].to_numpy(np.float64), rows["y"].to_numpy(np.float64)
    if "lon" in rows:
        lon, lat = rows["lon"].to_numpy(np.float64), rows["lat"].to_numpy(np.float64)
    else:
        lon, lat = reproject(x + side / 2, y - side / 2, crs, "EPSG:4326")
    keep = np.isfinite(x) & np.isfinite(y) & np.isfinite(lon) & np.isfinite(lat)
    if area is not None and area.rule == "centre":
        keep[keep] = area.holds_points(lon[keep], lat[keep])
    shapes, boxes = footprints(crs, side, x[keep], y[keep])
    found: pd.DataFrame = rows[keep].assign(
        lon=lon[keep],
        lat=lat[keep],
        w=boxes[:, 0],
        s=boxes[:, 1],
        e=boxes[:, 2],
        n=boxes[:, 3],
        geometry=shapes,
    )
    if area is not None and area.rule != "centre":
        found = found[area.holds_footprints(shapes)]
    return found


def _cut(places: pd.DataFrame, chips: Chips) -> pd.DataFrame:
    """Every chip cut into n by n, from its upper left corner, in its own CRS."""
    assert chips.subdivide is not None  # noqa: S101 - who asks has looked
    n, px, step = chips.subdivide.n, chips.subdivide.px, chips.metres_per_pixel
    row, col = (np.tile(a.ravel(), len(places)) for a in np.mgrid[0:n, 0:n])
    whole = places.drop(columns=["lon", "lat", "w", "s", "e", "n", "geometry"])
    parts = whole.loc[whole.index.repeat(n * n)].reset_index(drop=True)
    parts = parts.assign(
        x=parts["x"] + col * px * step, y=parts["y"] - row * px * step, size=px, part_row=row, part_col=col
    )
    return pd.concat(
        [_whole(rows, str(crs), px * step, None) for crs, rows in parts.groupby("crs", sort=False)],
        ignore_index=True,
    )


CELL_DEGREES = 1.0
"""Rows of search cells; about 100 km."""


def search_cells(places: pd.DataFrame) -> list[tuple[float, float, float, float]]:
    """Occupied cells of about 100 km as tight (w, s, e, n) boxes in lon/lat; none crosses ±180°."""
    own = places[places["reason"] == ""]
    row = np.floor(own["lat"] / CELL_DEGREES)
    width = CELL_DEGREES / np.cos(np.radians(np.clip(np.abs(row + 0.5) * CELL_DEGREES, 0, 85)))
    frame = own[["w", "s", "e", "n", "lon"]].assign(row=row, col=np.floor(own["lon"] / width))
    crossing = frame["w"] > frame["e"]
    # A footprint across ±180° is looked for on both sides of it.
    frame.loc[crossing & (frame["lon"] >= 0), "e"] = 180.0
    frame.loc[crossing & (frame["lon"] < 0), "w"] = -180.0
    cells = frame.groupby(["row", "col"]).agg({"w": "min", "s": "min", "e": "max", "n": "max"})
    boxes = [(float(w), float(s), float(e), float(n)) for w, s, e, n in cells.itertuples(index=False)]
    if crossing.any():
        south, north = float(own.loc[crossing, "s"].min()), float(own.loc[crossing, "n"].max())
        reach = float((own.loc[crossing, "e"] + 180).max()), float(own.loc[crossing, "w"].min())
        boxes += [(-180.0, south, -180.0 + reach[0], north), (reach[1], south, 180.0, north)]
    return boxes


def area_cells(area: AreaOfInterest) -> list[tuple[float, float, float, float]]:
    """The same for the ground of an area, where scenes are searched before there are places."""
    return list(_tiles(area))


def _tiles(area: AreaOfInterest) -> Iterator[tuple[float, float, float, float]]:
    shapely.prepare(area.geometry)
    for part in shapely.get_parts(area.geometry):
        w, s, e, n = part.bounds
        if (e - w) * (n - s) > 400:  # a continent: its parts are not worth a request each
            yield w, s, e, n
            continue
        for y in np.arange(s, n, CELL_DEGREES).tolist():
            for x in np.arange(w, e, CELL_DEGREES).tolist():
                box = shapely.intersection(part, shapely.box(x, y, x + CELL_DEGREES, y + CELL_DEGREES))
                if not box.is_empty and box.area > 0:
                    yield box.bounds
