"""The places of the analytic world: a border of zones, the south, and many blocks of few pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from worlds.analytic import (
    CELL,
    LabelRaster,
    Patch,
    Scene,
    corine,
    s2_fields,
    transformer,
    worldcover,
    write_raster,
    write_scene,
)
from worlds.fields import Frame
from worlds.stac import bbox_of, footprint, label_item, s2_item, write_catalog


@dataclass
class World:
    """A folder of files, and its items with hrefs relative to it."""

    folder: Path
    frame: Frame
    scenes: dict[str, Scene]
    labels: dict[str, LabelRaster]

    def items(self, *ids: str) -> list[dict]:
        """Items of those ids (default all), the labels always."""
        chosen = ids or tuple(self.scenes)
        return [s2_item(self.scenes[i]) for i in chosen] + [label_item(v) for v in self.labels.values()]

    def catalog(self, name: str, *ids: str) -> Path:
        """Write an ItemCollection of those scenes and all labels next to their files."""
        return write_catalog(self.folder / f"{name}.json", self.items(*ids))


def make_world(folder: Path, frame: Frame, scenes, labels) -> World:
    """Write all files of a world."""
    for scene in scenes:
        write_scene(scene, folder)
    for label in labels:
        write_raster(folder / label.id / "map.tif", label.raster(), label.crs, label.affine, 0)
    return World(folder, frame, {s.id: s for s in scenes}, {v.id: v for v in labels})


BORDER = Frame(12.0, 45.0)
"""Where zones 32 and 33 meet."""
SOUTH = Frame(15.2, -20.0)


def border_world(folder: Path) -> World:
    """Two overlapping tiles, one a zone, on two dates; a third date over the west only; both labels.

    12 E lies at x = 736 467 in zone 32 and 263 533 in zone 33; both tiles reach some 2.5 km beyond it.
    """
    fields = s2_fields(BORDER)
    clouds_a = (
        Patch(9, 20, 30, 12, 9),
        Patch(8, 32, 30, 3, 3),
        Patch(3, 60, 80, 15, 6),
        Patch(10, 118, 60, 6, 6),
    )
    clouds_b = (
        Patch(9, 70, 20, 14, 14),
        Patch(3, 84, 24, 8, 5),
        Patch(0, 10, 45, 7, 5),
        Patch(10, 30, 100, 5, 9),
    )
    west = {"epsg": 32632, "x": 729960.0, "y": 4992000.0, "cols": 150, "rows": 130, "fields": fields}
    east = {"epsg": 32633, "x": 260940.0, "y": 4992600.0, "cols": 150, "rows": 130, "fields": fields}
    new = {"offset": "new", "shift": 200, "style": "pc"}
    scenes = [
        Scene("S2_32_0610", time="2021-06-10T10:10:31.024Z", patches=clouds_a, **west),
        Scene("S2_33_0610", time="2021-06-10T10:10:45.024Z", patches=clouds_a[2:], style="v11", **east),
        Scene(
            "S2_32_0720",
            time="2021-07-20T10:10:31.024Z",
            patches=clouds_b,
            swath=140.0,
            cloud=2.0,
            **west,
            **new,
        ),
        Scene("S2_33_0720", time="2021-07-20T10:10:45.024Z", patches=clouds_b[:2], cloud=2.0, **east, **new),
        Scene(
            "S2_32_0824",
            time="2021-08-24T10:10:31.024Z",
            offset="applied",
            shift=-150,
            cloud=1.0,
            **{**west, "cols": 70},
        ),
        Scene(
            "S2_32_0831",
            time="2021-08-31T23:10:31.024Z",
            offset="stated",
            shift=90,
            cloud=0.5,
            style="v11",
            **{**west, "cols": 40, "rows": 60},
        ),
    ]
    area = (11.90, 44.955, 12.10, 45.06)
    labels = [
        worldcover(BORDER, area),
        worldcover(BORDER, area, year=2020, phase=1.9),
        corine(BORDER, area),
    ]
    return make_world(folder, BORDER, scenes, labels)


def south_world(folder: Path) -> World:
    """One tile in zone 33 S, where the lattice counts from 10 000 000."""
    x, y = transformer("EPSG:4326", "EPSG:32733").transform(SOUTH.lon0, SOUTH.lat0)
    x0, y0 = np.round(x / 20) * 20 - 2400, np.round(y / 20) * 20 + 2400
    scene = Scene(
        "S2_33S_0610",
        32733,
        float(x0),
        float(y0),
        80,
        80,
        "2021-06-10T09:10:31.024Z",
        s2_fields(SOUTH),
        offset="new",
        patches=(Patch(9, 30, 30, 6, 6),),
    )
    d = 0.03
    area = (SOUTH.lon0 - d, SOUTH.lat0 - d, SOUTH.lon0 + d, SOUTH.lat0 + d)
    return make_world(
        folder, SOUTH, [scene], [worldcover(SOUTH, area, ident="ESA_WorldCover_10m_2021_v200_S21E015")]
    )


WIDE = Frame(12.0, 45.0)
PATCH_M = 3840


def wide_world(folder: Path) -> tuple[World, list[dict]]:
    """24 small scenes 12 km apart on both sides of 12 E: many blocks, few pixels. Also the squares of the area.

    A scene is 3840 m wide and holds 2 x 2 chips of 1280 m; four more scenes give a second date. One chip of each
    third patch is cloudy on the first date.
    """
    fields, scenes, squares, labels = s2_fields(WIDE), [], [], []
    for col in range(6):
        for row in range(4):
            lon, lat = WIDE.to_lonlat((col - 2.5) * 12000, (row - 1.5) * 12000)
            epsg = 32632 if lon < WIDE.lon0 else 32633
            x, y = transformer("EPSG:4326", f"EPSG:{epsg}").transform(lon, lat)
            x0, y0 = np.floor(x / 1280) * 1280 - 640.0, np.ceil(y / 1280) * 1280 + 640.0
            n = len(squares)
            common = {
                "epsg": epsg,
                "x": x0,
                "y": y0,
                "cols": PATCH_M // CELL,
                "rows": PATCH_M // CELL,
                "fields": fields,
            }
            clouds = (Patch(9, 12, 12, 12, 12),) if n % 3 == 0 else ()
            time = f"2021-07-20T10:10:{31 + (epsg - 32632) * 14:02d}.024Z"
            scenes.append(
                Scene(
                    f"S2_{n:02d}_0720",
                    time=time,
                    offset="new",
                    shift=200,
                    style="pc",
                    patches=clouds,
                    **common,
                )
            )
            if n % 6 == 0:
                scenes.append(Scene(f"S2_{n:02d}_0611", time="2021-06-11T10:10:31.024Z", **common))
            # 10 m within the lattice's lines, so that exactly the 2 x 2 centres lie inside.
            squares.append(footprint(f"EPSG:{epsg}", (x0 + 650, y0 - 3190, x0 + 3190, y0 - 650)))
            box = bbox_of(footprint(f"EPSG:{epsg}", (x0, y0 - PATCH_M, x0 + PATCH_M, y0)))
            labels.append(worldcover(WIDE, box, ident=f"WC_2021_{n:02d}"))
    west, south = WIDE.to_lonlat(-42000, -30000)
    east, north = WIDE.to_lonlat(42000, 30000)
    labels.append(corine(WIDE, (float(west), float(south), float(east), float(north))))
    return make_world(folder, WIDE, scenes, labels), squares
