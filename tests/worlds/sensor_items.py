"""Items of the sensors' shots, in the dialects of Planetary Computer (``pc``) and Earth Search (``earth``)."""

from __future__ import annotations

from datetime import timedelta

from worlds.sensors import LANDSAT, THERMAL, Shot, file_of
from worlds.stac import item

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
_TRAPS = {
    "tilejson": {
        "href": "https://example.invalid/tilejson.json",
        "type": "application/json",
        "roles": ["tiles"],
    },
    "rendered_preview": {"href": "https://example.invalid/p.png", "type": "image/png", "roles": ["overview"]},
}
"""What every item of Planetary Computer has beside its data."""
_NUMBERS = {"blue": "2", "red": "4", "nir08": "5", "swir16": "6"}


def sensor_item(shot: Shot) -> dict:
    """The item of any shot."""
    made = {"landsat-c2-l2": _landsat, "naip": _aerial}.get(shot.collection, _radar)(shot)
    made["links"] = [{"rel": "collection", "type": "application/json", "href": f"./{shot.collection}.json"}]
    return made


def _placed(shot: Shot) -> dict:
    """Projection as told for the item as a whole; transforms have nine numbers at Planetary Computer."""
    a = [shot.res, 0.0, shot.x, 0.0, -shot.res, shot.y]
    return {
        "proj:epsg": shot.epsg,
        "proj:bbox": list(shot.bounds),
        "proj:shape": [shot.rows, shot.cols],
        "proj:transform": [*a, 0.0, 0.0, 1.0] if shot.style == "pc" else a,
    }


def _radar(shot: Shot) -> dict:
    nodata = "nan" if shot.sensor.nodata != shot.sensor.nodata else shot.sensor.nodata
    raster = {"data_type": "float32", "spatial_resolution": shot.res}
    raster |= {"nodata": nodata} if shot.sensor.tagged else {}
    assets = {
        band: {
            "href": f"./{file_of(shot, band)}",
            "type": COG,
            "roles": ["data"],
            "title": f"{band.upper()}: vertical transmit",
            "raster:bands": [raster],
        }
        for band in reversed(shot.fields)
    }
    state, track = shot.orbit
    ends = shot.when + timedelta(seconds=9)
    properties = {
        "datetime": shot.time,
        "platform": shot.platform,
        "constellation": "Sentinel-1",
        "start_datetime": str(shot.when - timedelta(seconds=9)),
        "end_datetime": str(ends),
        "sat:orbit_state": state,
        "sat:relative_orbit": track,
        "sat:absolute_orbit": 38_000 + track,
        "sar:instrument_mode": "IW",
        "sar:polarizations": [band.upper() for band in shot.fields],
        "sar:product_type": "GRD",
        "sar:frequency_band": "C",
        **_placed(shot),
    }
    return item(shot.id, shot.collection, shot.crs, shot.bounds, properties, {**assets, **_TRAPS})


def _landsat(shot: Shot) -> dict:
    pc = shot.style == "pc"
    assets = {}
    for band in shot.fields:
        rule = THERMAL if band == "lwir11" else LANDSAT
        name = "TIRS_B10" if band == "lwir11" else f"OLI_B{_NUMBERS[band]}"
        assets[band] = {
            "href": f"./{file_of(shot, band)}",
            "type": COG,
            "roles": ["data", "temperature" if band == "lwir11" else "reflectance"],
            "eo:bands": [{"name": name, "common_name": band}],
            "raster:bands": [
                {
                    "scale": rule.scale,
                    "offset": rule.offset,
                    "nodata": 0,
                    "data_type": "uint16",
                    "spatial_resolution": 30,
                    **({"unit": "kelvin"} if band == "lwir11" else {}),
                }
            ],
        }
    assets["qa_pixel"] = {
        "href": f"./{shot.id}/qa_pixel.tif",
        "type": COG,
        "roles": ["cloud", "cloud-shadow", "snow-ice", "water-mask"],
        "raster:bands": [{"unit": "bit index", "nodata": 1, "data_type": "uint16", "spatial_resolution": 30}],
    }
    # The quality of the temperature, of the catalogs' own key `qa`: no mask of ours, and no file here.
    assets["qa"] = {"href": f"./{shot.id}/ST_QA.tif", "type": COG, "roles": ["data"]}
    number = shot.id[2:4]
    properties = {
        "datetime": shot.time,
        "platform": f"landsat-{int(number)}",
        "instruments": ["oli", "tirs"],
        "gsd": 30,
        "eo:cloud_cover": 7.5,
        "landsat:wrs_path": "192",
        "landsat:wrs_row": "029",
        "landsat:correction": "L2SP",
        "landsat:collection_category": "T1",
        **_placed(shot),
    }
    return item(
        shot.id, shot.collection, shot.crs, shot.bounds, properties, {**assets, **(_TRAPS if pc else {})}
    )


def _aerial(shot: Shot) -> dict:
    names = ("Red", "Green", "Blue", "NIR")
    assets = {
        "image": {
            "href": f"./{file_of(shot, 'red')}",
            "type": COG,
            "roles": ["data"],
            "title": "RGBIR COG tile",
            "eo:bands": [{"name": n, "common_name": b} for n, b in zip(names, shot.fields, strict=True)],
        },
        "thumbnail": {"href": f"./{shot.id}/image.200.jpg", "type": "image/jpeg", "roles": ["thumbnail"]},
    }
    properties = {
        "datetime": shot.time,
        "gsd": shot.res,
        "naip:year": shot.time[:4],
        "naip:state": "it",
        **_placed(shot),
    }
    return item(shot.id, shot.collection, shot.crs, shot.bounds, properties, {**assets, **_TRAPS})
