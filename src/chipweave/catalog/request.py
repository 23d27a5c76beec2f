"""What each layer of a recipe asks its catalog for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

from chipweave.catalog.collections import LOCAL, load_collection, refusal_of
from chipweave.catalog.documents import unknown
from chipweave.catalog.hrefs import env_roots, is_database, is_http, redact, scheme_of
from chipweave.catalog.legends import legend_of_file, load_legend
from chipweave.catalog.own import own_collection
from chipweave.catalog.pinned import pinned_ids
from chipweave.catalog.providers import UNKNOWN, Provider, load_provider, provider_at
from chipweave.errors import RecipeError
from chipweave.model import Collection, Legend
from chipweave.recipe.data import find, listing
from chipweave.recipe.loaded import LoadedRecipe
from chipweave.recipe.models import Imagery, Label
from chipweave.recipe.paths import looks_like_path
from chipweave.recipe.windows import wider

DATELESS: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Time of a scene without a date: of a label file, or of a model of the terrain."""

FILE_BAND: Final = "classes"
"""Band under which a label file's raster stands in `Scene.assets`."""


Form = Literal["raster", "vector", "osm", "points"]

VECTORS: Final = frozenset(
    {".gpkg", ".shp", ".parquet", ".geoparquet", ".geojson", ".json", ".fgb", ".gml", ".gdb", ".kml", ".zip"}
)
"""How vector files end."""


def form_of(layer: Label) -> Form:
    """What a label's source is: told by the keys that only one kind has, else by how its file ends."""
    if layer.points is not None:
        return "points"
    if layer.classes is not None or (layer.file or "").lower().endswith(".pbf"):
        return "osm"
    if is_database(layer.file or ""):
        return "vector"
    return "vector" if Path(layer.file or "").suffix.lower() in VECTORS else "raster"


@dataclass(frozen=True, slots=True)
class LayerRequest:
    """One imagery or label layer of a recipe, ready to be searched for.

    Parameters
    ----------
    layer, kind
        Name of the layer; ``imagery`` or ``label``.
    collection
        What it asks for; None for a label from a file.
    catalog
        http(s) URL, or absolute path; of a label from a database its URL; empty for a label from a file.
    provider
        Name of the provider whose names and rules hold, or empty.
    bands
        Common names. The mask band comes last where the collection has one and the recipe does not list it.
    time
        First and last moment, UTC, both inclusive; None for labels.
    times
        Intervals in it that are searched, where not all of it is: those of chips that have their own.
    where
        Properties that items must have.
    edition
        Asked edition of a label, or of imagery that has some; or None.
    items
        Ids of the only items that are taken, or None.
    file, nodata, date, legend
        Of a label from a file; `date` and `legend` as the recipe writes them.
    base
        Folder that relative paths of the recipe are relative to.
    local_roots
        Folders below which the catalog may name local files.
    extra
        Further `catalogs/` folders of the recipe.
    form
        What a label's source is.
    """

    layer: str
    kind: Literal["imagery", "label"]
    collection: Collection | None
    catalog: str = ""
    provider: str = ""
    bands: tuple[str, ...] = ()
    time: tuple[datetime, datetime] | None = None
    where: Mapping[str, object] = field(default_factory=dict)
    edition: int | None = None
    file: Path | None = None
    nodata: float | None = None
    date: str = ""
    legend: str = ""
    base: Path = Path()
    local_roots: tuple[Path, ...] = ()
    extra: tuple[Path, ...] = ()
    times: tuple[tuple[datetime, datetime], ...] = ()
    form: Form = "raster"
    items: frozenset[str] | None = None


def requests(loaded: LoadedRecipe) -> tuple[LayerRequest, ...]:
    """One request for each imagery and label layer of a recipe, in the recipe's order.

    Parameters
    ----------
    loaded
        The recipe.

    Raises
    ------
    RecipeError
        An unknown collection, provider or band (naming the nearest), a collection of the other kind, a band
        twice, a layer without a catalog, or a path that does not exist.
    """
    recipe = loaded.recipe
    extra = loaded.catalogs
    roots = (*(loaded.resolve(p) for p in recipe.local_roots), *env_roots())
    context = _Context(loaded, extra, roots)
    imagery = [context.imagery(name, layer) for name, layer in recipe.imagery.items()]
    return (*imagery, *(context.label(name, layer) for name, layer in recipe.labels.items()))


def admit(loaded: LoadedRecipe) -> None:
    """Refuse collections that are not read, as far as the recipe alone tells; no catalog is asked.

    Raises
    ------
    RecipeError
        A layer's collection is not read at its provider.
    """
    recipe, extra = loaded.recipe, loaded.catalogs
    context = _Context(loaded, extra, ())
    for name, layer in recipe.imagery.items():
        if find("collections", layer.collection, extra) is None:
            continue
        stated = layer.catalog or recipe.catalog or ""
        provider = layer.provider or ("" if layer.catalog else recipe.provider) or ""
        if not provider and is_http(stated):
            provider = provider_at(stated, extra).name
        if not provider and find("providers", stated, extra) is not None:
            provider = stated
        context.admit(f"imagery.{name}", layer.collection, provider)


def request_legend(request: LayerRequest) -> Legend:
    """Legend of a label layer: of its collection, as the recipe names it, or of the codes in its file.

    Raises
    ------
    RecipeError
        As `load_legend` and `legend_of_file`.
    """
    name = request.legend or (request.collection.legend if request.collection else "")
    if name:
        return load_legend(name, request.base, request.extra)
    if request.file is None:
        raise RecipeError(f"labels.{request.layer}: its collection has no legend")
    return legend_of_file(request.file, request.layer, request.nodata)


@dataclass(frozen=True, slots=True)
class _Context:
    """What all layers of a recipe share."""

    loaded: LoadedRecipe
    extra: tuple[Path, ...]
    roots: tuple[Path, ...]

    def imagery(self, name: str, layer: Imagery) -> LayerRequest:
        if layer.collection == LOCAL:
            catalog, provider = self._catalog(f"imagery.{name}", layer)
            collection = own_collection(f"imagery.{name}", LOCAL, layer.bands, catalog)
        else:
            collection = self._collection(f"imagery.{name}", layer.collection, "imagery")
            catalog, provider = self._catalog(f"imagery.{name}", layer)
            self.admit(f"imagery.{name}", collection.name, provider)
        return LayerRequest(
            layer=name,
            kind="imagery",
            collection=collection,
            catalog=catalog,
            provider=provider,
            bands=_bands(f"imagery.{name}", layer.bands, collection),
            time=_searched(self.loaded.recipe.imagery, name),
            where=dict(layer.where),
            edition=_edition(f"imagery.{name}", layer.edition, collection),
            items=self._items(f"imagery.{name}.items.file", layer),
            base=self.loaded.base,
            local_roots=self.roots,
            extra=self.extra,
        )

    def label(self, name: str, layer: Label) -> LayerRequest:
        source = layer.file or (layer.points.file if layer.points is not None else None)
        if source is not None:
            return LayerRequest(
                layer=name,
                kind="label",
                collection=None,
                bands=(FILE_BAND,),
                file=None if is_database(source) else self.loaded.resolve(source),
                catalog=redact(source) if is_database(source) else "",
                form=form_of(layer),
                nodata=layer.nodata,
                date=layer.date or "",
                legend=layer.legend or "",
                base=self.loaded.base,
                extra=self.extra,
            )
        collection = self._collection(f"labels.{name}", layer.collection or "", "label")
        catalog, provider = self._catalog(f"labels.{name}", layer)
        return LayerRequest(
            layer=name,
            kind="label",
            collection=collection,
            catalog=catalog,
            provider=provider,
            bands=(collection.bands[0].name,),
            edition=layer.edition,
            base=self.loaded.base,
            local_roots=self.roots,
            extra=self.extra,
        )

    def _items(self, where: str, layer: Imagery) -> frozenset[str] | None:
        return None if layer.items is None else pinned_ids(self.loaded.resolve(layer.items.file), where)

    def _collection(self, where: str, name: str, kind: str) -> Collection:
        try:
            found = load_collection(name, self.extra)
        except RecipeError as error:
            raise RecipeError(f"{where}.collection: {error.message}", hint=error.hint) from None
        if found.kind != kind and not (
            kind == "label" and found.static
        ):  # heights are learned from, and learned
            section = "imagery" if found.kind == "imagery" else "labels"
            raise RecipeError(f"{where}.collection: {name!r} belongs under {section}")
        return found

    def admit(self, where: str, name: str, provider: str) -> None:
        """Refuse a collection that cannot be put on a map, unless the provider serves it so."""
        why = refusal_of(load_provider(provider, self.extra), name, self.extra)
        if why is not None:
            raise RecipeError(
                f"{where}.collection: {name}: {why[0]}", hint=f"take {why[1]}" if why[1] else ""
            )

    def _catalog(self, where: str, layer: Imagery | Label) -> tuple[str, str]:
        """Location of a layer's catalog, and the provider whose rules hold."""
        stated = layer.catalog or self.loaded.recipe.catalog
        if not stated:
            raise RecipeError(
                f"{where}: no catalog", hint="set catalog at the top of the recipe or in the layer"
            )
        location, known = self._locate(where, stated)
        # The top provider describes the top catalog; a layer with its own catalog has its own provider.
        forced = layer.provider or ("" if layer.catalog else self.loaded.recipe.provider)
        return location, load_provider(forced, self.extra).name if forced else known.name

    def _locate(self, where: str, stated: str) -> tuple[str, Provider]:
        if is_http(stated):
            return stated, provider_at(stated, self.extra)
        if scheme_of(stated):
            raise RecipeError(
                f"{where}.catalog: {redact(stated)}: not an http(s) URL, a path or a provider's name"
            )
        if find("providers", stated, self.extra) and not looks_like_path(stated):
            known = load_provider(stated, self.extra)
            if not known.endpoint:
                raise RecipeError(f"{where}.catalog: the provider {stated!r} states no endpoint")
            return known.endpoint, known
        path = self.loaded.resolve(stated)
        if not path.exists():
            names = list(listing("providers", self.extra))
            if looks_like_path(stated):
                raise RecipeError(f"{where}.catalog: {path}: no such file or folder")
            guess = unknown("provider", stated, names)
            raise RecipeError(f"{where}.catalog: {guess.message}; nor is it a path", hint=guess.hint)
        return os.path.abspath(path), UNKNOWN  # noqa: PTH100 - absolute, and symlinks as the user wrote them


def _edition(where: str, asked: int | None, collection: Collection) -> int | None:
    """The edition that imagery is asked for.

    Raises
    ------
    RecipeError
        The collection has none, or not that one.
    """
    if asked is None or asked in collection.editions:
        return asked
    known = ", ".join(map(str, collection.editions))
    raise RecipeError(
        f"{where}.edition: {collection.name} has {f'the editions {known}' if known else 'no editions'}",
        hint=f"take one of {known}" if known else "choose by time",
    )


def _searched(layers: Mapping[str, Imagery], name: str) -> tuple[datetime, datetime] | None:
    """Time of a layer; where it has none and goes with another, that layer's, as wide as they may lie apart."""
    layer = layers[name]
    if layer.time is not None or layer.pair is None:
        return layer.searched
    time = _searched(layers, layer.pair.with_)
    return None if time is None else wider(time, timedelta(days=layer.pair.within_days))


def _bands(where: str, wanted: Sequence[str], collection: Collection) -> tuple[str, ...]:
    """Common names of the wanted bands, and of the mask band."""
    found: list[str] = []
    for name in wanted:
        band = collection.band(name)
        if band is None:
            guess = unknown("band", name, [b.name for b in collection.bands])
            raise RecipeError(f"{where}.bands: {guess.message}", hint=guess.hint)
        if band.name in found:
            raise RecipeError(f"{where}.bands: {name!r} is {band.name!r}, which stands there already")
        found.append(band.name)
    mask = collection.mask.band if collection.mask else ""
    return (*found, *([mask] if mask and mask not in found else []))
