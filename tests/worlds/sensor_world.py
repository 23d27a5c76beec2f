"""The place of all sensors: 3.6 km in zone 32 by 12 E, seen by Sentinel-2, two radar tracks, Landsat and a plane."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from worlds.analytic import Patch, Scene, s2_fields, write_scene
from worlds.places import BORDER
from worlds.sensor_items import sensor_item
from worlds.sensors import (
    AERIAL,
    BLACK,
    LANDSAT,
    RTC,
    RTC_DB,
    RTC_NAN,
    RTC_ZERO,
    Hole,
    Shot,
    aerial_fields,
    landsat_fields,
    radar_fields,
    write_shot,
)
from worlds.stac import s2_item, write_catalog

LEFT, TOP = 731400.0, 4989600.0
AREA = (732100, 4986700, 734500, 4988900)
"""West, south, east, north in EPSG:32632 of the chips of these tests: all shots cover it but for their holes."""
AERIAL_AREA = (732600, 4987400, 732900, 4987700)


@dataclass
class Sensors:
    """A folder of files of every sensor; `shots` and `scenes` (Sentinel-2) by id."""

    folder: Path
    shots: dict[str, Shot]
    scenes: dict[str, Scene]

    def catalog(self, name: str, *ids: str) -> Path:
        """Write an ItemCollection of those ids (default: all) next to their files."""
        every = {i: s2_item(s) for i, s in self.scenes.items()}
        every |= {i: sensor_item(s) for i, s in self.shots.items()}
        return write_catalog(self.folder / f"{name}.json", [every[i] for i in ids or every])


def radar_shots() -> list[Shot]:
    """Two slices of one descending pass, an ascending one in the next zone, and the descending track 12 days later.

    The gains are 0, 1.76, -1.55 dB and more: a wrong date is out by more than a decibel.
    """
    fields = radar_fields(BORDER)
    quiet = (
        Hole("zero", 150, 120, 9, 6),
        Hole("negative", 190, 150, 7, 8, ("vh",)),
        Hole("none", 100, 140, 12, 9),
        Hole("zero", 230, 100, 1, 1),
        Hole("negative", 240, 160, 40, 1, ("vv",)),
    )
    down, up = ("descending", 168), ("ascending", 117)
    wide = {"epsg": 32632, "x": LEFT, "y": TOP, "res": 10.0, "cols": 360, "rows": 360, "fields": fields}
    first = {**wide, "orbit": down, "platform": "SENTINEL-1A"}
    return [
        Shot(
            "S1A_IW_GRDH_1SDV_20210611T052612_20210611T052637_038290_0484B2_rtc", RTC, time="2021-06-11T05:26:24.5Z",
            holes=quiet, swath=340.0, **{**first, "rows": 230},
        ),
        Shot(
            "S1A_IW_GRDH_1SDV_20210611T052637_20210611T052702_038290_0484B2_rtc", RTC, time="2021-06-11T05:26:49.5Z",
            **{**first, "y": TOP - 2000, "rows": 160},
        ),
        Shot(
            "S1B_IW_GRDH_1SDV_20210614T170211_20210614T170236_027358_034475_rtc", RTC_NAN,
            epsg=32633, x=259000.0, y=4990500.0, res=10.0, cols=400, rows=420, fields=fields,
            time="2021-06-14T17:02:23.5Z", gain=1.5, orbit=up, platform="SENTINEL-1B",
            holes=(Hole("none", 170, 190, 15, 11), Hole("zero", 210, 210, 5, 5, ("vv",))),
        ),
        Shot(
            "S1A_IW_GRDH_1SDV_20210623T052613_20210623T052638_038465_0489F1_rtc", RTC_ZERO,
            time="2021-06-23T05:26:25.5Z", gain=0.7, holes=(Hole("none", 160, 130, 20, 14),), **first,
        ),
        Shot(
            "S1A_IW_GRDH_1SDV_20210705T052613_20210705T052638_038640_048F32_rtc", RTC,
            time="2021-07-05T05:26:26.5Z", gain=1.2, speckle=5, holes=quiet, **first,
        ),
        Shot(
            "own-db-20210711", RTC_DB, time="2021-07-11T17:02:23Z", speckle=6, holes=quiet, style="own", **first
        ),
    ]  # fmt: skip


def landsat_shots() -> list[Shot]:
    """Three dates on the grid of Landsat, whose corners lie at 15 m modulo 30; the second has stripes of nothing."""
    fields = landsat_fields(BORDER)
    grid = {
        "epsg": 32632, "x": LEFT - 15, "y": TOP + 15, "res": 30.0, "cols": 121, "rows": 121, "fields": fields,
    }  # fmt: skip
    clouds = (
        Hole("cloud", 40, 50, 8, 6), Hole("dilated", 48, 50, 2, 6), Hole("shadow", 60, 42, 7, 5),
        Hole("cirrus", 70, 60, 5, 9), Hole("fill", 30, 70, 6, 4), Hole("none", 80, 30, 4, 4),
    )  # fmt: skip
    stripes = tuple(Hole("fill", 0, row, 121, 2) for row in range(4, 121, 12))
    return [
        Shot("LC08_L2SP_192029_20210615_02_T1", LANDSAT, time="2021-06-15T10:04:32.1Z", holes=clouds, **grid),
        Shot(
            "LC08_L2SP_192029_20210701_02_T1", LANDSAT, time="2021-07-01T10:04:36.1Z", shift=240,
            holes=stripes, style="earth", **grid,
        ),
        Shot(
            "LC08_L2SP_192029_20210717_02_T1", LANDSAT, time="2021-07-17T10:04:40.1Z", shift=-180, style="earth",
            **{**grid, "x": LEFT + 315, "y": TOP - 285, "cols": 95, "rows": 90},
        ),
    ]  # fmt: skip


def aerial_shots() -> list[Shot]:
    """Two years of one quad, whose sizes differ by a row, at 1 m and at 0.6 m on another datum's grid."""
    fields = aerial_fields(BORDER)
    west, _, _, north = AERIAL_AREA
    black = (Hole(BLACK, 130, 150, 20, 12),)
    return [
        Shot(
            "it_m_4501201_ne_32_1_20190704", AERIAL, 32632, west - 40.0, north + 45.0, 1.0, 380, 381,
            "2019-07-04T16:00:00Z", fields, shift=-12, holes=black,
        ),
        Shot(
            "it_m_4501201_ne_32_060_20210712", AERIAL, 25832, west - 40.2, north + 45.0, 0.6, 640, 641,
            "2021-07-12T16:00:00Z", fields,
        ),
    ]  # fmt: skip


def optical_scenes() -> list[Scene]:
    """Sentinel-2 on two dates: the later one has fewer clouds."""
    place = {"epsg": 32632, "x": LEFT, "y": TOP, "cols": 60, "rows": 60, "fields": s2_fields(BORDER)}
    return [
        Scene("S2_0612", time="2021-06-12T10:10:31.024Z", patches=(Patch(9, 20, 25, 9, 8),), **place),
        Scene(
            "S2_0622", time="2021-06-22T10:10:31.024Z", offset="new", shift=200, cloud=1.0, style="pc",
            patches=(Patch(9, 33, 18, 4, 4),), **place,
        ),
    ]  # fmt: skip


def sensor_world(folder: Path) -> Sensors:
    """Write all files of the place."""
    shots = [*radar_shots(), *landsat_shots(), *aerial_shots()]
    scenes = optical_scenes()
    for scene in scenes:
        write_scene(scene, folder)
    for shot in shots:
        write_shot(shot, folder)
    return Sensors(folder, {s.id: s for s in shots}, {s.id: s for s in scenes})


def recipe(catalog: object, area: dict, layers: dict, *, chips: dict | None = None, **more) -> dict:
    """A recipe of these sensors: chips of 64 px at 10 m unless `chips` says so."""
    grid = {"size": 64, "resolution": 10, "crs": "utm", "sampling": {"method": "grid"}}
    return {
        "version": 1,
        "name": "sensors",
        "catalog": str(catalog),
        "area": area,
        "chips": grid | (chips or {}),
        "imagery": layers,
        "output": {"formats": ["webdataset"], "samples_per_shard": 16},
        **more,
    }


def radar(time: str, **more) -> dict:
    """A radar layer that keeps every chip."""
    return {"collection": "sentinel-1-rtc", "bands": ["vv", "vh"], "time": time, "min_valid": 0, **more}
