"""What every sample of a build carries, and how each layer of it is read: decided once a build."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyproj
from affine import Affine

from chipweave.catalog import LayerRequest
from chipweave.catalog.licences import check_licence, is_share_alike, kept_apart, owed
from chipweave.errors import NotBuiltError, PermanentSourceError, RecipeError
from chipweave.labels import LabelRead
from chipweave.model import Collection, Credit, LayerSpec, MaskRule, Scene
from chipweave.pixels import LayerRead, Method, choose_method, gdal_session, source_grid
from chipweave.pixels.ahead import ahead
from chipweave.pixels.composite import index_bands
from chipweave.pixels.lattice import reproject
from chipweave.pixels.loaders import DEFAULT
from chipweave.plain import plain
from chipweave.plan.classes import remap_notes
from chipweave.plan.grids import in_metres, layer_grid
from chipweave.plan.labelling import label_source, text_sources
from chipweave.plan.onto import layers_onto
from chipweave.plan.pairs import in_order, layer_rule
from chipweave.plan.rules import aged_layers
from chipweave.plan.select import Limits
from chipweave.plan.select.registry import most_candidates, timeless
from chipweave.plan.survey import Reads
from chipweave.plan.targets import LabelSource
from chipweave.plan.values import filled_share, value_rule
from chipweave.recipe import LoadedRecipe
from chipweave.recipe.formula import Formula
from chipweave.recipe.imagery import Imagery

_GEOD = pyproj.Geod(ellps="WGS84")

BITS = 16
"""Bits of a quality band."""

PROBES = 5
"""Scenes that are tried for the size of a layer's source pixels, before the collection's own figure is taken."""


@dataclass(frozen=True, slots=True)
class BuildLayers:
    """Layers of a build: `specs` in the order of a sample, `reads`, which layers blank bad pixels."""

    specs: tuple[LayerSpec, ...]
    reads: Reads
    blank: frozenset[str]
    methods: Mapping[str, Mapping[str, str]]
    notes: tuple[str, ...] = ()

    @property
    def sample_bytes(self) -> int:
        """Bytes of a sample's arrays with their headers, for the forecast."""
        arrays = sum(int(np.prod(s.shape)) * s.numpy_dtype.itemsize for s in self.specs if not s.document)
        return arrays + 1024 * len(self.specs) + 4096


def build_layers(
    loaded: LoadedRecipe,
    requests: Sequence[LayerRequest],
    scenes: Sequence[Scene],
    centre: tuple[float, float],
    loader: str = DEFAULT,
    stores: Path | None = None,
    places: Path | None = None,
) -> BuildLayers:
    """Decide layers from the recipe, its collections, and the frozen scenes.

    Parameters
    ----------
    loaded, requests
        The recipe, and its layers as the catalog room sees them.
    scenes
        The snapshot.
    centre
        (lon, lat) at which ground areas of source pixels are taken (contract, section 3).
    loader
        Who reads pixels: see `pixels.loaders`.
    stores
        Folder for what is made of label sources before chips are read from them; none where no layer needs it.
    places
        Table of the places, whose attributes may say how labels are made.

    Raises
    ------
    RecipeError
        Where `max_cloud` or `mask: blank` stands over scenes without their mask, or the recipe's licence is weaker than
        a source's.
    """
    made = _Made()
    by_layer: dict[str, dict[str, Scene]] = {r.layer: {} for r in requests}
    for scene in scenes:
        by_layer[scene.layer][scene.id] = scene
    target = _target_area(loaded, centre, loaded.recipe.chips.metres_per_pixel)
    with gdal_session(loaded.catalogs):
        ahead.headers(_probed(requests, by_layer))
        for request in requests:
            own = list(by_layer[request.layer].values())
            areas = _source_areas(own, request, centre)
            if request.kind == "imagery":
                made.picture(loaded, request, own, areas, centre, loader)
            else:
                made.label(
                    loaded,
                    request.layer,
                    label_source(loaded, request, own, areas, target, loader, stores, places),
                )
    specs, imagery, limits, labels = made.specs, made.imagery, made.limits, made.labels
    texts = text_sources(loaded, specs, centre, labels)
    specs += [spec for text in texts.values() for spec in text.specs]
    collections = {r.layer: _collection(r) for r in requests if r.kind == "imagery"}
    grids = {layer: _grid(loaded, layer) for layer in imagery}
    for layer, onto in layers_onto(loaded, collections, imagery, limits, grids).items():
        imagery[layer] = replace(imagery[layer], onto=onto)
    blank = frozenset(n for n, i in loaded.recipe.imagery.items() if i.mask == "blank")
    turn = in_order(loaded.recipe.imagery)  # those that others go with choose before them
    reads = Reads(
        {n: imagery[n] for n in turn}, {n: limits[n] for n in turn}, labels, by_layer, loaded.catalogs,
        texts, dated=tuple(r.layer for r in requests if _is_dated(r)), aged=aged_layers(loaded),
    )  # fmt: skip
    check_licence(loaded.recipe.licence, owed(specs))
    return BuildLayers(kept_apart(specs), reads, blank, made.methods, remap_notes(loaded, labels))


@dataclass(slots=True)
class _Made:
    """Layers as they are decided one by one: their members, and how each is read."""

    specs: list[LayerSpec] = field(default_factory=list)
    imagery: dict[str, LayerRead] = field(default_factory=dict)
    limits: dict[str, Limits] = field(default_factory=dict)
    labels: dict[str, LabelSource] = field(default_factory=dict)
    methods: dict[str, Mapping[str, Method]] = field(default_factory=dict)

    def picture(
        self,
        loaded: LoadedRecipe,
        request: LayerRequest,
        scenes: Sequence[Scene],
        areas: Mapping[str, float],
        centre: tuple[float, float],
        loader: str,
    ) -> None:
        """Add an imagery layer and its mask."""
        target = _target_area(loaded, centre, _grid(loaded, request.layer)[1])
        read, mask_spec = _imagery(loaded, request, scenes, areas, target)
        limits = _limits(loaded, request.layer)
        if request.collection is not None and request.collection.static:
            limits = replace(limits, rule=timeless(limits.rule))
        self.imagery[request.layer], self.limits[request.layer] = replace(read, loader=loader), limits
        self.methods[request.layer] = read.methods
        self.specs += [_imagery_spec(loaded, request), *mask_spec]

    def label(self, loaded: LoadedRecipe, layer: str, source: LabelSource) -> None:
        """Add a label layer."""
        self.labels[layer] = source
        self.methods[layer] = {source.band: source.method} if isinstance(source, LabelRead) else {}
        self.specs += _declared(loaded, layer, source.specs)


def _declared(loaded: LoadedRecipe, layer: str, specs: Sequence[LayerSpec]) -> list[LayerSpec]:
    """Members of a label under the licence that the recipe states for its file, where it does."""
    own = loaded.recipe.labels[layer]
    if own.licence is None:
        return list(specs)
    credit = Credit(plain(own.licence), "", plain(own.credit or ""))
    return [replace(spec, credit=replace(credit, share_alike=is_share_alike(credit))) for spec in specs]


def _is_dated(request: LayerRequest) -> bool:
    """Whether a layer is imagery whose scenes have dates."""
    return request.kind == "imagery" and request.collection is not None and not request.collection.static


def _pixel_area(crs: str, affine: Affine, lon: float, lat: float) -> float:
    """Ground area in m² of the pixel of a grid that holds a point; NaN where the grid's CRS does not reach it."""
    x, y = reproject(np.array([lon]), np.array([lat]), "EPSG:4326", crs)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return float("nan")
    col, row = ~affine * (float(x[0]), float(y[0]))
    corners = [affine * (col + i, row + j) for i, j in ((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5))]
    xs, ys = (np.array(c, np.float64) for c in zip(*corners, strict=True))
    lons, lats = reproject(xs, ys, crs, "EPSG:4326")
    area, _ = _GEOD.polygon_area_perimeter(lons, lats)
    return abs(float(area))


def _grid(loaded: LoadedRecipe, layer: str) -> tuple[int, float]:
    """Pixels a side, and metres a pixel, of a layer: the chips' own where it has none."""
    chips = loaded.recipe.chips
    return layer_grid(loaded, layer) or (chips.pixels, chips.metres_per_pixel)


def _target_area(loaded: LoadedRecipe, centre: tuple[float, float], resolution: float) -> float:
    """Of a pixel of a layer in m²: on the ground as that of a source, but nominal in UTM, which hardly differs."""
    chips = loaded.recipe.chips
    if chips.crs == "utm":
        return float(resolution**2)
    return _pixel_area(chips.crs, Affine(resolution, 0, 0, 0, -resolution, 0), *centre)


def _probed(requests: Sequence[LayerRequest], scenes: Mapping[str, Mapping[str, Scene]]) -> Iterator[str]:
    """Files that `_source_areas` opens, where the first of each is good."""
    for request in requests:
        for band in request.bands:
            first = next((s for s in scenes[request.layer].values() if band in s.assets), None)
            if first is not None:
                yield first.assets[band].href


def _source_areas(
    scenes: Sequence[Scene], request: LayerRequest, centre: tuple[float, float]
) -> dict[str, float]:
    """Ground area of a source pixel by band, from the first scene whose file opens, else from the collection."""
    areas: dict[str, float] = {}
    for band in request.bands:
        for scene in [s for s in scenes if band in s.assets][:PROBES]:
            try:
                source = source_grid(scene.assets[band].href, scene.assets[band].index)
            except PermanentSourceError:
                continue  # survey will say what is wrong with it, chip by chip
            areas[band] = _pixel_area(source.grid.crs, source.grid.affine, *centre)
            break
        if not np.isfinite(areas.get(band, np.nan)):
            known = request.collection.band(band) if request.collection else None
            areas[band] = known.gsd**2 if known else 1.0
    return areas


def _limits(loaded: LoadedRecipe, layer: str) -> Limits:
    wish = loaded.recipe.imagery[layer]
    # 99.9 / 100 is a little more than 0.999, which a chip of 1000 pixels may just have.
    return Limits(
        max_cloud=None if wish.max_cloud is None else round(wish.max_cloud / 100, 12),
        min_valid=None if wish.min_valid is None else round(wish.min_valid / 100, 12),
        max_candidates=most_candidates(wish),
        rule=layer_rule(loaded.recipe.imagery, layer),
    )


def _imagery(
    loaded: LoadedRecipe,
    request: LayerRequest,
    scenes: Sequence[Scene],
    areas: Mapping[str, float],
    target: float,
) -> tuple[LayerRead, list[LayerSpec]]:
    wish = loaded.recipe.imagery[request.layer]
    collection = _collection(request)
    rule = collection.mask
    if rule is not None and rule.band in {known.name for b in wish.bands if (known := collection.band(b))}:
        raise RecipeError(
            f"imagery.{request.layer}.bands: {rule.band} is the mask of {collection.name}, no band of its picture",
            hint=f"leave it out: it is written as {request.layer}_mask",
        )
    bands = tuple(b for b in request.bands if rule is None or b != rule.band)
    methods: dict[str, Method] = {}
    for band in bands:
        asked = wish.resample if isinstance(wish.resample, str) else _asked(wish.resample, band, collection)
        methods[band] = choose_method("imagery", areas[band], target, asked)
    write = rule is not None and wish.write_mask
    if rule is not None:
        methods[rule.band] = choose_method("class", areas[rule.band], target)
        rule = _asked_rule(request.layer, wish, rule)
        without = [s.id for s in scenes if rule.band in s.missing]
        if without:
            write = False
            if wish.max_cloud is not None or wish.mask == "blank":
                key = "max_cloud" if wish.max_cloud is not None else "mask: blank"
                raise RecipeError(
                    f"imagery.{request.layer}.{key}: {len(without)} scenes lack their mask "
                    f"({rule.band}), {without[0]} first",
                    hint=f"leave {key} out, or exclude those scenes with `where`",
                )
    elif wish.max_cloud is not None or wish.mask == "blank" or wish.bad is not None or wish.dilate_m:
        raise RecipeError(
            f"imagery.{request.layer}: collection {collection.name} has no mask for max_cloud, mask: blank, bad or "
            "dilate_m"
        )
    derive = {b.name: b.derive for b in collection.bands if b.derive and b.name in bands}
    if wish.dilate_m or derive:
        _in_metres(loaded, request.layer, "dilate_m" if wish.dilate_m else f"bands: {next(iter(derive))}")
    if wish.select.stat == "max_ndvi" and index_bands(bands) is None:
        raise RecipeError(
            f"imagery.{request.layer}.select.stat: max_ndvi needs the bands red and nir",
            hint="add them to bands, or take another statistic",
        )
    values = value_rule(request.layer, collection, bands, wish.unit, wish.encode)
    read = LayerRead(
        bands, methods, collection.nodata, rule, dtype=values.dtype, scales=values.scales, power=values.power,
        decibel=values.power != "" and values.unit == "dB", dilate_m=wish.dilate_m,
        derive=derive, coding=values.coding, grid=layer_grid(loaded, request.layer), physical=values.physical,
        indices=_indices(request.layer, wish, bands, collection), fill=filled_share(wish.encode),
    )  # fmt: skip
    return read, [_mask_spec(loaded, request)] if write else []


def _asked_rule(layer: str, wish: Imagery, rule: MaskRule) -> MaskRule:
    """The collection's rule with the recipe's `bad`: codes, or numbers of bits where the collection has bits."""
    if wish.bad is None:
        return rule
    if rule.bits and any(bit >= BITS for bit in wish.bad):
        raise RecipeError(
            f"imagery.{layer}.bad: {max(wish.bad)}: {rule.band} is read by its bits, 0 to {BITS - 1}",
            hint=f"bits of bad pixels are {', '.join(map(str, rule.bad))} unless the recipe says so",
        )
    return replace(rule, bad=tuple(wish.bad))


def _in_metres(loaded: LoadedRecipe, layer: str, key: str) -> None:
    """Refuse what counts in metres on a grid whose pixels are none."""
    crs = loaded.recipe.chips.crs
    if not in_metres(crs):
        raise NotBuiltError(
            f"imagery.{layer}.{key}: known, but not built yet where the chips' CRS ({crs}) is not in metres",
            hint="leave it out, or take crs: utm",
        )


def _indices(
    layer: str, wish: Imagery, bands: Sequence[str], collection: Collection
) -> tuple[tuple[str, Formula], ...]:
    """Further bands of a layer, whose formulas speak of its own, by common name or a provider's key."""
    found = []
    for name, written in wish.derive.items():
        formula, text = Formula(written), written
        for key in sorted(formula.names - set(bands)):
            known = collection.band(key)
            text = text if known is None else re.sub(rf"\b{key}\b", known.name, text)
        formula = Formula(text)
        lacking = sorted(formula.names - set(bands))
        if lacking:
            raise RecipeError(
                f"imagery.{layer}.derive.{name}: {', '.join(lacking)}: none of this layer's bands",
                hint=f"add it to bands, or name one of {', '.join(bands)}",
            )
        if name in bands:
            raise RecipeError(f"imagery.{layer}.derive.{name}: is a band of the layer already")
        found.append((name, formula))
    return tuple(found)


def _asked(wish: Mapping[str, str], band: str, collection: Collection) -> str:
    for name, method in wish.items():
        known = collection.band(name)
        if known is not None and known.name == band:
            return method
    return "auto"


def _collection(request: LayerRequest) -> Collection:
    if request.collection is None:
        raise RecipeError(f"{request.layer}: names no collection")
    return request.collection


def _imagery_spec(loaded: LoadedRecipe, request: LayerRequest) -> LayerSpec:
    collection = _collection(request)
    size, resolution = _grid(loaded, request.layer)
    bands = tuple(b for b in request.bands if collection.mask is None or b != collection.mask.band)
    written = (*bands, *loaded.recipe.imagery[request.layer].derive)
    dims, steps = _time(loaded, request)
    wish = loaded.recipe.imagery[request.layer]
    values = value_rule(request.layer, collection, bands, wish.unit, wish.encode)
    dtype, nodata = values.stored
    return LayerSpec(
        name=request.layer, kind="imagery", collection=collection.name, bands=written,
        dims=(*dims, "band", "y", "x"),
        dtype=dtype, shape=(*steps, len(written), size, size), resolution=resolution,
        nodata=nodata, scale=values.scale, offset=values.offset, unit=values.written,
        credit=collection.credit if collection.credit.licence else None,
    )  # fmt: skip


def _time(loaded: LoadedRecipe, request: LayerRequest) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The axis of time and its length, where there is one."""
    rule = layer_rule(loaded.recipe.imagery, request.layer)
    return (("time",), (rule.steps,)) if rule.series else ((), ())


def _mask_spec(loaded: LoadedRecipe, request: LayerRequest) -> LayerSpec:
    size, resolution = _grid(loaded, request.layer)
    dims, steps = _time(loaded, request)
    return LayerSpec(
        name=f"{request.layer}_mask", kind="mask", collection=_collection(request).name, bands=("mask",),
        dims=(*dims, "y", "x"), dtype="uint8", shape=(*steps, size, size),
        resolution=resolution, nodata=255, unit="code",
        credit=_collection(request).credit if _collection(request).credit.licence else None,
    )  # fmt: skip
