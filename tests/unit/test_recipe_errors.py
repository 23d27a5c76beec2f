"""Wrong recipes: every problem is told with its line, its key, what was got and what is expected."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from chipweave.errors import RecipeError
from chipweave.recipe import load_recipe

GOOD = """\
version: 1
name: test
catalog: http://127.0.0.1:8080
area: {geojson: aoi.geojson}
chips: {size: 128, resolution: 10}
imagery:
  s2:
    collection: sentinel-2-l2a
    bands: [blue, green]
labels:
  corine: {collection: corine, edition: 2018}
"""


def refusal(tmp_path: Path, text: str) -> list[str]:
    """Lines of the error that a recipe is refused with, its folder taken out."""
    path = tmp_path / "r.yaml"
    path.write_text(textwrap.dedent(text), encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert caught.value.exit_code == 3
    assert "pydantic" not in str(caught.value)
    return str(caught.value).replace(f"{tmp_path}/", "").splitlines()


def test_the_good_one_is_good(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD, encoding="utf-8")
    assert load_recipe(tmp_path / "r.yaml").recipe.name == "test"


REPLACED = [
    # what is replaced in GOOD, by what, the line, the message
    ("version: 1", "version: 2", "r.yaml:1: version: got 2, expected 1"),
    ("version: 1\n", "", "r.yaml:1: version: missing"),
    ("name: test", "name: a b", "r.yaml:2: name: got 'a b', expected a name of letters, digits, _ and -"),
    ("name: test", "name: 2021", "r.yaml:2: name: got 2021, expected text; put it in quotes"),
    ("name: test", "nam: test", "r.yaml:2: nam: unknown key; did you mean 'name'?"),
    (
        "name: test",
        "seed: 1",
        "r.yaml:2: seed: unknown key; did you mean 'extends'? ('seed' belongs in split)",
    ),
    ("name: test", "5: 1", "r.yaml:2: 5: unknown key; did you mean "),
    ("geojson: aoi.geojson", "gejson: aoi", "r.yaml:4: area.gejson: unknown key; did you mean 'geojson'?"),
    (
        "geojson: aoi.geojson",
        "",
        "r.yaml:4: area: nothing says where; give exactly one of bbox, geojson, file, ",
    ),
    (
        "aoi.geojson",
        "a, bbox: [0, 0, 1, 1]",
        "r.yaml:4: area: bbox and geojson exclude each other; give exactly",
    ),
    ("aoi.geojson", "a, where: x", "r.yaml:4: area.where: goes with 'file' only"),
    ("geojson: aoi.geojson", "bbox: [0, 1, 2]", "r.yaml:4: area.bbox.3: missing"),
    ("geojson: aoi.geojson", "bbox: [0, 2, 1, 1]", "r.yaml:4: area.bbox: got [0, 2, 1, 1], expected [west, "),
    (
        "geojson: aoi.geojson",
        "bbox: [0, 0, 181, 1]",
        "r.yaml:4: area.bbox: got [0, 0, 181, 1], expected [west, ",
    ),
    (
        "geojson: aoi.geojson",
        "bbox: [3, 0, 3, 1]",
        "r.yaml:4: area.bbox: got [3, 0, 3, 1], expected [west, so",
    ),
    (
        "area: {geojson: aoi.geojson}\n",
        "",
        "r.yaml:1: area: missing; say where, such as area: {geojson: aoi.geojson}",
    ),
    ("size: 128", "size: 0", "r.yaml:5: chips.size: got 0, expected more than 0"),
    ("size: 128", "size: 12.5", "r.yaml:5: chips.size: got 12.5, expected a whole number"),
    (
        "size: 128",
        "size: '128'",
        "r.yaml:5: chips.size: got '128', expected a whole number of pixels, or {m:, px:}",
    ),
    ("size: 128", "size: {m: 1280, pix: 4}", "r.yaml:5: chips.size.pix: unknown key; did you mean 'px'?"),
    (
        "size: 128",
        "size: {m: 100, px: 4}",
        "r.yaml:5: chips.resolution: got 10, but size says 25; leave one out",
    ),
    ("resolution: 10", "resolution: -1", "r.yaml:5: chips.resolution: got -1, expected more than 0"),
    ("resolution: 10", "resolution: .inf", "r.yaml:5: chips.resolution: got inf, expected a finite number"),
    (
        "resolution: 10",
        "crs: EPSG:99999999",
        "r.yaml:5: chips.crs: got 'EPSG:99999999', expected 'utm' or a CRS such",
    ),
    (
        "resolution: 10",
        "crs: EPSG:5773",
        "r.yaml:5: chips.crs: got 'EPSG:5773', expected 'utm' or a CRS of the plane",
    ),
    (
        "resolution: 10",
        "crs: EPSG:4326",
        "r.yaml:5: chips.resolution: is needed, in degrees, in a geographic CRS",
    ),
    ("resolution: 10", "max_overlap: 1.5", "r.yaml:5: chips.max_overlap: got 1.5, expected at most 1"),
    (
        "resolution: 10",
        "lattice: {anchor: s3}",
        "r.yaml:5: chips.lattice.anchor: got 's3', expected 's2' or 'landsat'",
    ),
    (
        "resolution: 10",
        "lattice: {anchor: 3}",
        "r.yaml:5: chips.lattice.anchor: got 3, expected 's2', 'landsat' or [x",
    ),
    (
        "resolution: 10",
        "sampling: {method: gird}",
        "r.yaml:5: chips.sampling.method: got 'gird', expected 'grid', ",
    ),
    ("resolution: 10", "sampling: {km: 3}", "r.yaml:5: chips.sampling.km: is no option of method 'grid'"),
    (
        "resolution: 10",
        "sampling: {method: points}",
        "r.yaml:5: chips.sampling: method 'points' needs 'file'",
    ),
    (
        "  s2:",
        "  S2:",
        "r.yaml:7: imagery.S2: got 'S2', expected a name of a-z, 0-9 and _ that begins with a letter",
    ),
    ("  corine:", "  s2:", "r.yaml:11: labels.s2: the name is taken by imagery.s2"),
    ("  corine:", "  s2_mask:", "r.yaml:11: labels.s2_mask: the name is taken by the mask of imagery.s2"),
    ("[blue, green]", "[blue, blue]", "r.yaml:9: imagery.s2.bands.1: 'blue' stands twice"),
    ("[blue, green]", "[]", "r.yaml:9: imagery.s2.bands: got [], expected a list of at least 1"),
    ("[blue, green]", "blue", "r.yaml:9: imagery.s2.bands: got 'blue', expected a list"),
    ("    bands: [blue, green]\n", "", "r.yaml:7: imagery.s2.bands: missing"),
    (
        ", edition: 2018",
        ", edition: '2018'",
        "r.yaml:11: labels.corine.edition: got '2018', expected a whole number; ta",
    ),
    (", edition: 2018", ", edition: 18", "r.yaml:11: labels.corine.edition: got 18, expected at least 1900"),
    (
        "collection: corine, ",
        "",
        "r.yaml:11: labels.corine: nothing says where it comes from; give exactly one of col",
    ),
    (
        "collection: corine",
        "file: c.tif",
        "r.yaml:11: labels.corine.edition: goes with 'collection' only; a file has a",
    ),
    (
        "edition: 2018",
        "file: c.tif",
        "r.yaml:11: labels.corine: collection and file exclude each other; give exactly",
    ),
    ("edition: 2018", "legend: c", "r.yaml:11: labels.corine.legend: goes with 'file' only"),
]


@pytest.mark.parametrize(
    ("old", "new", "message"), REPLACED, ids=[m.split(": ", 1)[1][:50] for *_, m in REPLACED]
)
def test_one_wrong_value(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert GOOD.count(old) == 1
    (line,) = refusal(tmp_path, GOOD.replace(old, new))
    assert line.startswith(message)


ADDED_TO_S2 = [
    ("max_clouds: 10", "max_clouds: unknown key; did you mean 'max_cloud'?"),
    ("block_km: 10", "block_km: unknown key; did you mean 'dilate_m'? ('block_km' belongs in split)"),
    ("max_cloud: 101", "max_cloud: got 101, expected at most 100"),
    ("min_valid: -1", "min_valid: got -1, expected at least 0"),
    ("min_valid: yes", "min_valid: got 'yes', expected a number"),
    ("write_mask: yes", "write_mask: got 'yes', expected true or false"),
    ("mask: blnk", "mask: got 'blnk', expected 'keep' or 'blank'; did you mean 'blank'?"),
    ("bad: 3", "bad: got 3, expected a list"),
    ("bad: [3, x]", "bad.1: got 'x', expected a whole number"),
    (
        "time: 2021-06-31",
        "time: got '2021-06-31', expected an interval such as 2021-06-01/2021-08-31 ('2021-06-31' is no",
    ),
    (
        "time: 2021-06-02/2021-06-01",
        "time: got '2021-06-02/2021-06-01', expected an interval such as 2021-06-01/2021-0",
    ),
    ("time: 2021", "time: got 2021, expected an interval such as 2021-06-01/2021-08-31"),
    ("time: {yeers: 2017/2018}", "time.yeers: unknown key; did you mean 'years'?"),
    (
        "select: {method: least_clowdy}",
        "select.method: got 'least_clowdy', expected 'least_cloudy', 'newest', ",
    ),
    ("select: {max: 3}", "select.max: is no option of method 'least_cloudy'"),
    ("select: {from: {harvest: x}}", "select.from: is no option of method 'least_cloudy'"),
    ("max_candidates: 0", "max_candidates: got 0, expected more than 0"),
    ("where: {cloud: '<'}", "where.cloud: got '<', expected a comparison such as '<20'"),
    (
        "where: {cloud: {a: 1}}",
        "where.cloud: got a mapping, expected a value, a comparison such as '<20', or a list of",
    ),
    (
        "resample: cubik",
        "resample: got 'cubik', expected 'auto', 'nearest', 'bilinear', 'cubic', 'mean' or 'mode'; did",
    ),
    ("resample: {blue: mean, red: mean}", "resample.red: 'red' is none of this layer's bands"),
    ("pair: {within_days: 3}", "pair.with: missing"),
    ("pair: {wih: s1, within_days: 3}", "pair.wih: unknown key; did you mean 'with'?"),
    ("pair: {with: s2, within_days: 3}", "pair.with: got 's2', expected another layer"),
    ("register: {max_shift_px: 2}", "register.to: missing"),
    ("encode: {fill: {max: 1}}", "encode.fill.max: got 1, expected text; put it in quotes"),
    ("encode: {fill: {max: 101%}}", "encode.fill.max: 101% is more than all of a picture"),
    ("encode: {scale: 0}", "encode.scale: 0 leaves nothing of the values"),
    ("encode: {clip: [3, 3]}", "encode.clip: 3 is not below 3"),
    ("encode: {stretch: {quantile: [98, 2]}}", "encode.stretch.quantile: 98 is not below 2"),
    ("encode: {stretch: {quantile: [2, 98]}, clip: [0, 1]}", "encode.stretch: clip beside it"),
    (
        "encode: {add: 1, stretch: {quantile: [2, 98]}}",
        "encode.stretch: add beside it: the stretch says both",
    ),
    ("bad: [3, -1]", "bad.1: got -1, expected at least 0"),
    ("time: {years: 2018/2017}", "time.years: 2018/2017: it ends before it begins"),
    ("collection: x", "the key 'collection' stands twice (first in line 8)"),
]


@pytest.mark.parametrize(("added", "message"), ADDED_TO_S2, ids=[a for a, _ in ADDED_TO_S2])
def test_one_wrong_key_of_a_layer(tmp_path: Path, added: str, message: str) -> None:
    lines = refusal(tmp_path, GOOD.replace("labels:\n", f"    {added}\nlabels:\n"))
    key = "" if message.startswith("the key") else "imagery.s2."
    assert any(line.startswith(f"r.yaml:10: {key}{message}") for line in lines), lines


ADDED_AT_THE_END = [
    ("keep: ['corrine.ignored < 1']", "keep.0: unknown layer 'corrine'; did you mean 'corine'?"),
    (
        "keep: ['corine.ignord < 1']",
        "keep.0: got 'corine.ignord < 1', expected a condition such as 'worldcover.80 < 0.9'",
    ),
    ("keep: ['corine < 1']", "keep.0: got 'corine < 1', expected a condition"),
    ("keep: ['s2.80 < 1']", "keep.0: 's2' has no '80', only nodata, cloud_fraction, valid_fraction"),
    (
        "keep: ['corine.cloud_fraction < 1']",
        "keep.0: 'corine' has no 'cloud_fraction', only a class code, ignored, no",
    ),
    ("keep: corine.ignored < 1", "keep: got 'corine.ignored < 1', expected a list"),
    ("split: {fractions: {train: 0.5, val: 0.4}}", "split.fractions: they sum to 0.9, not to 1"),
    ("split: {fractions: {train: 1, val: 0}}", "split.fractions.val: got 0, expected more than 0"),
    ("split: {fractions: {Train: 1}}", "split.fractions.Train: got 'Train', expected a name of a-z"),
    ("split: {buffer_m: aut}", "split.buffer_m: got 'aut', expected 'auto'"),
    ("split: {buffer_m: [1]}", "split.buffer_m: got [1], expected metres, or 'auto'"),
    ("split: {seed: 1.5}", "split.seed: got 1.5, expected a whole number"),
    (
        "split: {stratify: corin}",
        "split.stratify: got 'corin', expected a layer of this recipe; did you mean 'corine'?",
    ),
    ("split: {blok_km: 3}", "split.blok_km: unknown key; did you mean 'block_km'?"),
    ("allow: {failed: 2}", "allow.failed: got 2, expected at most 1"),
    ("allow: {faild: 0.5}", "allow.faild: unknown key; did you mean 'failed'?"),
    (
        "output: {formats: [webdatset]}",
        "output.formats.0: got 'webdatset', expected 'webdataset', 'zarr', 'geotiff' or",
    ),
    ("output: {formats: []}", "output.formats: got [], expected a list of at least 1"),
    ("output: {shuffle: {windw: 3}}", "output.shuffle.windw: unknown key; did you mean 'window'?"),
    ("output: {columns: {renam: {}}}", "output.columns.renam: unknown key; did you mean 'rename'?"),
    ("attributes: {a: {file: x, colum: y}}", "attributes.a.colum: unknown key; did you mean 'column'?"),
    ("balance: {by: corine}", "balance: give exactly one of max_ratio, quota"),
    (
        "text: {t: {kind: vqa, from: corin}}",
        "text.t.from: got 'corin', expected a layer of this recipe; did you mean",
    ),
    ("local_roots: [1]", "local_roots.0: got 1, expected text; put it in quotes"),
    ("output:", "output: got nothing, expected a mapping"),
    ("area: {bbox: [0, 0, 1, 1]}", "the key 'area' stands twice (first in line 4)"),
    ("? [a]\n: 1", "a key must be text or a whole number"),
    ("title: !!str x", "tags are not allowed"),
    ("title: !!python/object/apply:os.system [ls]", "tags are not allowed"),
    ('title: "a\\u0000b"', "a control character in a text"),
    ('title: "a\\u0085b"', "a control character in a text"),
    ('title: "a\\x9bb"', "a control character in a text"),
    ("split: {seed: 99999999999999999999}", "a number that is too large"),
    ("title: [", "not YAML: "),
    ("title: *x", "not YAML: found undefined alias"),
]


@pytest.mark.parametrize(("added", "message"), ADDED_AT_THE_END, ids=[a for a, _ in ADDED_AT_THE_END])
def test_one_wrong_key_at_the_top(tmp_path: Path, added: str, message: str) -> None:
    (line,) = refusal(tmp_path, f"{GOOD}{added}\n")
    place = "r.yaml:13: " if added == "title: [" else "r.yaml:12: "
    assert line.startswith(place + message), line


def test_all_problems_come_together_in_the_order_of_lines(tmp_path: Path) -> None:
    wrong = (
        GOOD.replace("name: test", "nam: test")
        .replace("size: 128", "size: 0")
        .replace("s2:", "s2:\n    bnds: [x]")
    )
    assert refusal(tmp_path, f"{wrong}keep: ['corin.1 < 1']\n") == [
        "r.yaml:2: nam: unknown key; did you mean 'name'?",
        "r.yaml:5: chips.size: got 0, expected more than 0",
        "r.yaml:8: imagery.s2.bnds: unknown key; did you mean 'bands'?",
        "r.yaml:13: keep.0: unknown layer 'corin'; did you mean 'corine'?",
    ]


def test_a_misspelt_section_is_one_problem(tmp_path: Path) -> None:
    wrong = GOOD.replace("imagery:", "imagry:").replace("labels:", "label:") + "keep: ['s2.nodata < 1']\n"
    assert refusal(tmp_path, wrong) == [
        "r.yaml:6: imagry: unknown key; did you mean 'imagery'?",
        "r.yaml:10: label: unknown key; did you mean 'labels'?",
    ]


def test_a_layer_that_is_searched_for_needs_a_catalog(tmp_path: Path) -> None:
    assert refusal(tmp_path, GOOD.replace("catalog: http://127.0.0.1:8080\n", "")) == [
        "r.yaml:6: imagery.s2: catalog: missing; give one here or at the top",
        "r.yaml:10: labels.corine: catalog: missing; give one here or at the top",
    ]


def test_a_recipe_needs_a_layer(tmp_path: Path) -> None:
    text = GOOD[: GOOD.index("imagery:")]
    assert refusal(tmp_path, text) == ["r.yaml:1: no layer: give at least one under imagery or labels"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "r.yaml:1: empty; a recipe begins with 'version: 1'"),
        (b"# only a comment\n", "r.yaml:1: empty; a recipe begins with 'version: 1'"),
        (b"- a\n", "r.yaml:1: not a mapping at the top; a recipe begins with 'version: 1'"),
        (b"a: 1\n\xff\n", "r.yaml:2: not UTF-8 text"),
        (b"a: 1\nb: \x01\n", "r.yaml:2: not YAML: a character that may not stand in it"),
        (b"a: 1\n---\nb: 2\n", "r.yaml:2: not YAML: but found another document"),
        (b"a: 1\n\tb: 2\n", "r.yaml:2: not YAML: "),
        (b"#" * (1 << 20) + b"\n", "r.yaml: larger than 1 MiB; a recipe is a short text"),
        (b"a: " + b"[" * 70 + b"]" * 70, "r.yaml:1: nested deeper than 64 levels"),
        (b"a: &a [*a]\n", "r.yaml:1: nested deeper than 64 levels"),
        (b'a: "\\U99999999"\n', "r.yaml:1: not YAML: "),
        (b'a: "\\ud800"\n', "r.yaml:1: a control character in a text"),
        (b"a: 1e999\n", "r.yaml:1: a number that is too large"),
        (b"a: " + b"9" * 5000 + b"\n", "r.yaml:1: a number that is too large"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_bytes(data)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value).replace(f"{tmp_path}/", "").startswith(message)


def test_an_alias_bomb_is_refused_quickly(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30))
    (line,) = refusal(tmp_path, bomb)
    assert "more than 100000 values once its aliases are written out" in line


def test_an_alias_is_written_out(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(GOOD.replace("name: test", "name: &n test") + "title: *n\n", encoding="utf-8")
    assert load_recipe(path).recipe.title == "test"


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.yaml: no such recipe file"):
        load_recipe(tmp_path / "none.yaml")
    with pytest.raises(RecipeError, match="cannot be read: Is a directory"):
        load_recipe(tmp_path)
    with pytest.raises(RecipeError, match="cannot be read: "):
        load_recipe(tmp_path / ("x" * 300))


def test_an_attribute_takes_no_name_of_the_index(tmp_path: Path) -> None:
    """Columns that end in _offset are where readers of the index find layers."""
    (line,) = refusal(tmp_path, GOOD + "attributes: {sea_offset: {file: a.gpkg, column: m}}\n")
    assert "attributes.sea_offset: the name is taken: columns that end so" in line
