"""One scene as each provider tells it: its names, its paging, its locks on the files; played on loopback.

Items and answers have the shape of recorded ones (`tests/unit/test_catalog_dialects.py` holds them to it). The
provider file in use is the one that ships, with its hosts and endpoints moved here: `provider_file`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import rasterio
import rasterio.shutil
import yaml

from chipweave.recipe.data import catalogs_root
from worlds.analytic import KEYS, Patch, Scene, s2_fields, write_scene
from worlds.places import BORDER
from worlds.stac import bbox_of, footprint

TILE = "32TQQ"
STRIP = "S2A_OPER_MSI_L2A_DS_S2RP_20230630T022413_S20210610T101346_N05.00"
PRODUCT = f"S2A_MSIL2A_20210610T101031_N0500_R022_T{TILE}_20230630T022413"

SECRETS = {
    "CDSE_ACCESS_KEY_ID": "cdse-key-4711",
    "CDSE_SECRET_ACCESS_KEY": "hush/cdse+secret=4711",
    "AWS_ACCESS_KEY_ID": "aws-key-0815",
    "AWS_SECRET_ACCESS_KEY": "hush/aws+secret=0815",
    "AWS_REQUEST_PAYER": "requester",
    "EARTHDATA_TOKEN": "hush.earthdata.token.1234",
    "PC_SDK_SUBSCRIPTION_KEY": "hush-subscription-key-99",
}
HUSHED = ("hush", "secret4SAS")
"""What no file, log or message of ours may hold."""


def scenes() -> tuple[Scene, Scene, Scene]:
    """One scene as ESA delivers it (+1000), with the offset taken off, and in an older processing that is wrong."""
    place = {
        "epsg": 32632,
        "x": 734400.0,
        "y": 4989600.0,
        "cols": 48,
        "rows": 48,
        "fields": s2_fields(BORDER),
    }
    clouds = (Patch(9, 10, 12, 6, 5), Patch(3, 30, 20, 5, 3), Patch(0, 20, 40, 4, 3))
    time = "2021-06-10T10:10:31.024Z"
    raw = Scene("raw", time=time, offset="new", patches=clouds, **place)
    return (
        raw,
        Scene("applied", time=time, offset="applied", patches=clouds, **place),
        Scene("older", time=time, offset="old", shift=400, **place),
    )


def write_files(folder: Path) -> Scene:
    """The scene's files, in all forms in which providers hold them; gives the scene."""
    every = scenes()
    for scene in every:
        write_scene(scene, folder)
    for path in sorted((folder / "raw").glob("*.tif")):
        rasterio.shutil.copy(
            path,
            path.with_suffix(".jp2"),
            driver="JP2OpenJPEG",
            QUALITY="100",
            REVERSIBLE="YES",
            YCC="NO",
            BLOCKXSIZE="256",
            BLOCKYSIZE="256",
        )
    return every[0]


Item = dict[str, object]


def _item(scene: Scene, ident: str, collection: str, properties: dict, assets: dict, version="1.0.0") -> Item:
    geometry = footprint(scene.crs, scene.bounds)
    return {
        "type": "Feature",
        "stac_version": version,
        "stac_extensions": [],
        "id": ident,
        "collection": collection,
        "geometry": geometry,
        "bbox": bbox_of(geometry),
        "properties": {"datetime": scene.time, **properties},
        "links": [],
        "assets": assets,
    }


def _bands() -> list[tuple[str, str, int]]:
    """Common name, ESA's name and resolution of every band, the scene classification last."""
    return [*((name, key, res) for name, (key, res) in KEYS.items()), ("scl", "SCL", 20)]


def _grid(scene: Scene, res: int) -> dict:
    n = 60 // res
    return {"proj:shape": [scene.rows * n, scene.cols * n], "proj:transform": list(scene.affine(res)[:6])}


GEOTIFF = "image/tiff; application=geotiff; profile=cloud-optimized"


def _with_offset(scene: Scene, href: str, name: str, key: str, res: int) -> dict:
    """An asset as Element 84's tools write it: an offset that is stated, applied or not."""
    raster = {"nodata": 0, "data_type": "uint16", "spatial_resolution": res}
    scaled = {} if name == "scl" else {"scale": 0.0001, "offset": -0.1}
    named = {} if name == "scl" else {"eo:bands": [{"name": key, "common_name": name}], "gsd": res}
    return {
        "href": href, "type": GEOTIFF, "roles": ["data", "reflectance"], **_grid(scene, res),
        "raster:bands": [raster | scaled], **named,
    }  # fmt: skip


def earth_search(scene: Scene, url: str) -> list[Item]:
    """Values without the offset, which the assets state all the same; the scene also in its first processing."""

    def one(ident, folder, baseline, applied, strip):
        assets = {}
        for name, key, res in _bands():
            assets[name] = _with_offset(scene, f"{url}/files/{folder}/{key}.tif", name, name, res)
            assets[f"{name}-jp2"] = {
                **assets[name],
                "href": f"s3://sentinel-s2-l2a/gone/{key}.jp2",
                "type": "image/jp2",
            }
        properties = {
            "platform": "sentinel-2a",
            "proj:epsg": scene.epsg,
            "grid:code": f"MGRS-{TILE}",
            "eo:cloud_cover": 5.0,
            "s2:processing_baseline": baseline,
            "s2:datastrip_id": strip,
            "earthsearch:boa_offset_applied": applied,
            "created": "2024-06-29T14:41:57.577Z",
        }
        return _item(scene, ident, "sentinel-2-l2a", properties, assets)

    new = one(f"S2A_{TILE}_20210610_1_L2A", "applied", "05.00", True, STRIP)
    old = one(f"S2A_{TILE}_20210610_0_L2A", "older", "03.00", False, STRIP.replace("N05.00", "N03.00"))
    old["properties"]["datetime"] = "2021-06-10T10:10:31.023Z"
    return [old, new]


def earth_search_v0(scene: Scene, url: str) -> list[Item]:
    """STAC before 1.0, band keys of ESA, properties under ``sentinel:``; no provider file knows it."""
    assets = {
        key: {
            "href": f"{url}/files/applied/{key}.tif",
            "type": GEOTIFF,
            "roles": ["data"],
            **_grid(scene, res),
            **({} if name == "scl" else {"eo:bands": [{"name": key, "common_name": name}], "gsd": res}),
        }
        for name, key, res in _bands()
    }
    properties = {
        "platform": "sentinel-2a",
        "proj:epsg": scene.epsg,
        "eo:cloud_cover": 5.0,
        "sentinel:utm_zone": 32,
        "sentinel:latitude_band": "T",
        "sentinel:grid_square": "QQ",
        "sentinel:processing_baseline": "05.00",
        "sentinel:boa_offset_applied": True,
    }
    return [_item(scene, f"S2A_{TILE}_20210610_0_L2A", "sentinel-2-l2a", properties, assets, "1.0.0-beta.2")]


def planetary_computer(scene: Scene, url: str) -> list[Item]:
    """Values as delivered, and neither scale nor offset stated; files behind tokens."""
    assets = {
        key: {
            "href": f"{url}/sentinel2-l2/raw/{key}.tif",
            "type": GEOTIFF,
            "roles": ["data"],
            **_grid(scene, res),
            **(
                {} if name == "scl" else {"eo:bands": [{"name": key, "common_name": name}], "gsd": float(res)}
            ),
        }
        for name, key, res in _bands()
    }
    properties = {
        "platform": "Sentinel-2A",
        "proj:epsg": scene.epsg,
        "eo:cloud_cover": 5.0,
        "s2:mgrs_tile": TILE,
        "s2:product_uri": f"{PRODUCT}.SAFE",
        "s2:processing_baseline": "05.00",
        "s2:generation_time": "2023-06-30T02:24:13.000000Z",
    }
    return [_item(scene, PRODUCT.replace("_N0500", ""), "sentinel-2-l2a", properties, assets)]


def cdse(scene: Scene, url: str) -> list[Item]:
    """STAC 1.1, an asset a band and resolution, JPEG2000 in a bucket; the offset is stated and meant."""
    assets = {}
    for name, key, res in _bands():
        for at in (10, 20, 60):
            if at < res and (key, at) != ("B01", 20):  # which is there, upsampled
                continue
            where = f"s3://eodata/raw/{key}.jp2" if at == res else f"s3://eodata/gone/{key}_{at}m.jp2"
            asset = {
                "href": where,
                "type": "image/jp2",
                "roles": ["data", f"gsd:{at}m"],
                "gsd": at,
                "nodata": 0,
                "data_type": "uint16",
                "proj:code": scene.crs,
                **_grid(scene, at),
                "alternate": {"https": {"href": f"{url}/odata/{key}"}},
                "alternate:name": "S3",
            }
            if name != "scl":
                asset |= {"bands": [{"name": key, "eo:common_name": name}]}
                asset |= {"raster:scale": 0.0001, "raster:offset": -0.1}
            assets[f"{key}_{at}m"] = asset
    properties = {
        "platform": "sentinel-2a",
        "grid:code": f"MGRS-{TILE}",
        "eo:cloud_cover": 5.0,
        "processing:version": "05.00",
        "processing:datetime": "2023-06-30T02:24:13.000000Z",
    }
    return [_item(scene, PRODUCT, "sentinel-2-l2a", properties, assets, "1.1.0")]


def lpcloud(scene: Scene, url: str) -> list[Item]:
    """No projection, no media types, hardly a property; files behind a bearer token and a redirect."""
    assets = {
        key: {"href": f"{url}/lp-prod-protected/applied/{key}.tif", "roles": ["data"]}
        for _, key, _ in _bands()
    }
    assets["browse"] = {"href": f"{url}/files/browse.jpg", "type": "image/jpeg", "roles": ["browse"]}
    properties = {"eo:cloud_cover": 5, "start_datetime": scene.time, "end_datetime": scene.time}
    return [_item(scene, f"HLS.S30.T{TILE}.2021161T101031.v2.0", "HLSS30_2.0", properties, assets)]


def usgs(scene: Scene, url: str) -> list[Item]:
    """https hrefs that want a browser; the same files in a bucket whose readers pay."""
    assets = {
        name: {
            "href": f"{url}/data/gone/{key}.TIF",
            "type": "image/vnd.stac.geotiff; cloud-optimized=true",
            "roles": ["data"],
            "eo:bands": [{"name": key, "common_name": name, "gsd": res}],
            "alternate": {
                "s3": {
                    "storage:platform": "AWS",
                    "storage:requester_pays": True,
                    "href": f"s3://usgs-landsat/applied/{key}.tif",
                }
            },
        }
        for name, key, res in _bands()
    }
    properties = {"platform": "LANDSAT_8", "proj:epsg": scene.epsg, **_grid(scene, 60), "eo:cloud_cover": 5.0}
    return [
        _item(scene, "LC08_L2SP_192029_20210610_20210621_02_T1_SR", "landsat-c2l2-sr", properties, assets)
    ]


def deafrica(scene: Scene, url: str) -> list[Item]:
    """Collection 1: no flag, and an offset that is stated and meant; a bucket that anybody may read."""
    del url
    assets = {
        name: _with_offset(scene, f"s3://deafrica-sentinel-2-l2a-c1/raw/{key}.tif", name, key, res)
        for name, key, res in _bands()
    }
    properties = {
        "platform": "sentinel-2a",
        "proj:epsg": scene.epsg,
        "grid:code": f"MGRS-{TILE}",
        "eo:cloud_cover": 5.0,
        "s2:processing_baseline": "05.00",
    }
    return [_item(scene, f"S2A_T{TILE}_20210610T101031_L2A", "s2_l2a_c1", properties, assets)]


def dea(scene: Scene, url: str) -> list[Item]:
    """No collection named, keys of its own, hrefs relative to the item."""
    del url
    assets = {
        f"nbart_{name}": {
            "href": f"../../../files/applied/{key}.tif",
            "type": "image/tiff; application=geotiff",
            "roles": ["data"],
            "eo:bands": [{"name": f"nbart_{name}"}],
            **_grid(scene, res),
        }
        for name, key, res in _bands()
    }
    properties = {"platform": "landsat-8", "proj:epsg": scene.epsg, **_grid(scene, 10), "eo:cloud_cover": 5.0}
    made = _item(
        scene, "2aa69fcf-aa55-4747-9d95-3652f9fe79b0", "ga_ls8c_ard_3", properties, assets, "1.0.0-beta.2"
    )
    del made["collection"]
    return [made]


def bare(scene: Scene, url: str) -> list[Item]:
    """Neither geometry nor projection: the tile in the id tells the place."""
    made = earth_search_v0(scene, url)[0]
    made |= {"id": PRODUCT.replace("_N0500", ""), "geometry": None, "stac_version": "0.7.0"}
    made["properties"] = {
        "datetime": scene.time,
        "collection": made.pop("collection"),
        "eo:bands": [{"name": key, "common_name": name} for name, key, _ in _bands()],
    }
    for n, (_, key, _) in enumerate(_bands()):
        made["assets"][f"asset{n}"] = {"href": f"{url}/files/applied/{key}.tif", "eo:bands": [n]}
        del made["assets"][key]
    del made["bbox"]
    return [made]


def placeless(scene: Scene, url: str) -> list[Item]:
    """Not even the tile is told: the header of a file does."""
    made = bare(scene, url)[0]
    return [made | {"id": "a-scene-of-june"}]


@dataclass(frozen=True)
class Dialect:
    """A provider as it is played.

    `provider` is the provider file that ships, empty where none does; `more` is put into it; `page` writes the links
    of an answer, given the request, the first item that it does not hold, and the search's URL.
    """

    items: Callable[[Scene, str], list[Item]]
    provider: str = ""
    more: dict = field(default_factory=dict)
    page: Callable[[dict, int, str], list[dict]] = lambda *_: []
    whole: bool = False


def _body(name: str, **more):
    """A next link whose body is the whole of the next request, or (`merge`) what is new in it."""

    def links(asked: dict, start: int, url: str) -> list[dict]:
        body = {name: str(start)} if more.get("merge") else {**asked, name: str(start)}
        return [{"rel": "next", "method": "POST", "href": url, "body": body, **more}]

    return links


def _relative(asked: dict, start: int, url: str) -> list[dict]:
    return _body("next", merge=True)(asked, start, urlsplit(url).path)


def _link(name: str, **more):
    """A next link that is asked by GET."""

    def links(asked: dict, start: int, url: str) -> list[dict]:
        flat = {k: ",".join(map(str, v)) if isinstance(v, list) else v for k, v in asked.items()}
        return [{"rel": "next", "href": f"{url}?{urlencode({**flat, name: start})}", **more}]

    return links


def _like(collection: str, keys: Callable[[str, str], str]) -> dict:
    """What a provider file would say that had Sentinel-2 under that name: values without an offset."""
    named = {name: keys(name, key) for name, key, _ in _bands()}
    return {"collections": {"sentinel-2-l2a": {"name": collection, "offset": "none", "keys": named}}}


DIALECTS: dict[str, Dialect] = {
    "earth-search": Dialect(earth_search, "earth-search", page=_body("next", merge=False)),
    "earth-search-v0": Dialect(earth_search_v0, page=_body("page", merge=False)),
    "planetary-computer": Dialect(planetary_computer, "planetary-computer", page=_body("token")),
    "cdse": Dialect(cdse, "cdse", whole=True),
    "lpcloud": Dialect(lpcloud, "lpcloud", _like("HLSS30_2.0", lambda _, key: key), _link("cursor")),
    "usgs": Dialect(usgs, "usgs", _like("landsat-c2l2-sr", lambda name, _: name), _relative),
    "deafrica": Dialect(deafrica, "deafrica", page=_link("_o", method="GET")),
    "dea": Dialect(dea, "dea", _like("ga_ls8c_ard_3", lambda name, _: f"nbart_{name}"), _link("_o")),
    "bare": Dialect(bare, page=_body("next", merge=False)),
    "placeless": Dialect(placeless, page=_body("next", merge=False)),
}


def provider_file(name: str, folder: Path, url: str) -> Path | None:
    """The provider file that ships, with what it names moved to `url`, below a catalogs folder; gives that folder."""
    dialect = DIALECTS[name]
    if not dialect.provider:
        return None
    shipped = catalogs_root() / "providers" / f"{dialect.provider}.yaml"
    held = yaml.safe_load(shipped.read_text(encoding="utf-8"))
    held |= {"endpoint": url, "rate": 0, **dialect.more}
    for rule in held["access"]:
        if "hosts" in rule and rule["kind"] != "open":
            rule["hosts"] = [urlsplit(url).netloc]
        if rule["kind"] == "sas":
            rule["endpoint"] = f"{url}/sas/token"
        if rule["kind"] == "s3":
            rule["endpoint"] = url
    path = folder / "catalogs" / "providers" / f"{dialect.provider}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(held), encoding="utf-8")
    return folder / "catalogs"


def local_catalog(folder: Path, scene: Scene) -> Path:
    """The scene in a file beside its files: what every dialect must give the values of."""
    made = earth_search_v0(scene, "")[0]
    for asset in made["assets"].values():
        asset["href"] = asset["href"].replace("/files/", "./")
    path = folder / "local.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [made]}), encoding="utf-8")
    return path
