"""`croissant.json`: the dataset as Croissant 1.0 tells it (https://docs.mlcommons.org/croissant/docs/croissant-spec.html).

Its records are the rows of the index; the tars, the Zarr stores and the card are told as files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from chipweave.catalog.licences import licence_of, spdx
from chipweave.describe.card import default_description
from chipweave.describe.summary import Summary
from chipweave.describe.text import paragraphs, plain
from chipweave.files import atomic_write_text, sha256_file
from chipweave.model import LayerSpec
from chipweave.shards.index import NAME as INDEX

NAME: Final = "croissant.json"

CONTEXT: Final[dict[str, Any]] = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty", "samplingRate": "cr:samplingRate",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract",
    "field": "cr:field", "fileObject": "cr:fileObject", "fileProperty": "cr:fileProperty", "fileSet": "cr:fileSet",
    "format": "cr:format", "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath",
    "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/", "recordSet": "cr:recordSet", "references": "cr:references",
    "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace", "sc": "https://schema.org/",
    "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip
"""The context of the specification, word for word as it asks for it."""

_TYPES: Final = (
    (pa.types.is_string, "sc:Text"),
    (pa.types.is_integer, "sc:Integer"),
    (pa.types.is_floating, "sc:Float"),
    (pa.types.is_boolean, "sc:Boolean"),
)


def write_croissant(
    folder: Path, recipe: Mapping[str, Any], layers: Sequence[LayerSpec], summary: Summary
) -> Path:
    """Write the file; it names the index by its SHA-256, so the index must stand.

    Parameters
    ----------
    folder
        The dataset.
    recipe
        Of its keys, `name, title, description, licence, citation` are told.
    layers, summary
        All layers, and what the folder holds.
    """
    licence = licence_of(recipe.get("licence"), layers) or ""
    known = spdx(licence)
    name = plain(recipe.get("name") or "dataset")
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": paragraphs(recipe.get("description") or "") or default_description(layers, summary),
        "license": f"https://spdx.org/licenses/{known}.html" if known else "ATTRIBUTION.md",
        "url": "README.md",
        "version": "1.0.0",
        "keywords": sorted({"earth observation", *(plain(s.collection) for s in layers if s.collection)}),
        **({"citeAs": paragraphs(recipe["citation"])} if recipe.get("citation") else {}),
        "distribution": _files(folder, summary),
        "recordSet": [_records(folder)],
    }
    path = folder / NAME
    atomic_write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def _files(folder: Path, summary: Summary) -> list[dict[str, Any]]:
    index = folder / INDEX
    files: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject", "@id": INDEX, "name": INDEX, "description": "One row a sample.",
            "contentUrl": INDEX, "contentSize": f"{index.stat().st_size} B",
            "encodingFormat": "application/x-parquet", "sha256": sha256_file(index),
        }
    ]  # fmt: skip
    tar = "application/x-tar"
    held = {
        "webdataset": [
            ("shards", "shards/*.tar", tar, "Samples as WebDataset."),
            *(
                (f"shards-{n}", f"shards-{n}/*.tar", tar, "Layers of another licence.")
                for n in summary.beside
            ),
        ],
        "zarr": [("zarr", "zarr/*.zarr/**", "application/vnd.zarr", "The same samples as Zarr v3.")],
    }
    files += [
        {
            "@type": "cr:FileSet", "@id": name, "name": name, "description": text, "encodingFormat": kind,
            "includes": pattern,
        }
        for key, every in held.items()
        for name, pattern, kind, text in every
        if key in summary.formats
    ]  # fmt: skip
    return files


def _records(folder: Path) -> dict[str, Any]:
    """The index's plain columns; lists, structs and geometry have no word in Croissant that readers agree on."""
    schema = pq.read_schema(folder / INDEX)
    fields = []
    for column in schema:
        kind = next((name for test, name in _TYPES if test(column.type)), None)
        if kind is None:
            continue
        source = {"fileObject": {"@id": INDEX}, "extract": {"column": column.name}}
        field = {"@type": "cr:Field", "@id": f"samples/{column.name}", "name": column.name}
        fields.append({**field, "dataType": kind, "source": source})
    return {
        "@type": "cr:RecordSet", "@id": "samples", "name": "samples", "key": {"@id": "samples/key"}, "field": fields,
    }  # fmt: skip
