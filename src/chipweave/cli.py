"""The command line: arguments in, public functions called, text and exit code out.

Results go to stdout, progress and logs to stderr. Exit codes stand in `chipweave.errors`.
"""

from __future__ import annotations

import gc
import json
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from chipweave import __version__, cli_tables, console
from chipweave.errors import ChipweaveError, NotBuiltError, UsageError, VerifyError

if TYPE_CHECKING:
    from chipweave.audit import Report

log = logging.getLogger("chipweave")

app = typer.Typer(
    name="chipweave",
    help="Earth observation archives in, verified ML-ready shards out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

RecipeArg = Annotated[Path, typer.Argument(help="The recipe, a YAML file.", show_default=False)]
FolderArg = Annotated[Path, typer.Argument(help="Folder of a dataset.", show_default=False)]
Out = Annotated[
    str,
    typer.Option(
        "-o", "--out", help="Folder of the dataset, or its URL: s3://…, gs://…, az://…", show_default=False
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="A.B=C", help="Override a key; may be repeated.")
]
CatalogOption = Annotated[str | None, typer.Option("--catalog", help="Replaces the recipe's top `catalog`.")]
Workers = Annotated[int | None, typer.Option(min=0, help="Processes; 0: serial, here. Default: one a core.")]
Scheduler = Annotated[str | None, typer.Option(help="Address of a running Dask scheduler, tcp://…")]
LockOption = Annotated[
    Path | None, typer.Option("--lock", help="Take the snapshot of this dataset, search nothing.")
]
PictureOption = Annotated[
    Path | None,
    typer.Option(
        "-o", "--out", help="A PNG: the map of splits with their gaps, and distances.", show_default=False
    ),
]
LoaderOption = Annotated[str, typer.Option(help="Who reads pixels: native; odc or stackstac as references.")]


def _examples(*lines: str) -> str:
    """What stands at the end of a command's help: lines as they are."""
    return "\n".join(["\b", "Examples:", *(f"  chipweave {line}" for line in lines)])


def _emit(result: Mapping[str, Any], as_json: bool, text: Callable[[Mapping[str, Any]], str]) -> None:
    typer.echo(console.harmless(json.dumps(result, ensure_ascii=False) if as_json else text(result)))


def _load(recipe: Path, sets: Sequence[str] | None, catalog: str | None) -> Any:
    from chipweave.recipe import load_recipe  # noqa: PLC0415 - `--help` must not wait for the geo stack

    return load_recipe(recipe, sets=sets or (), catalog=catalog)


def _run() -> Any:
    """The room `run`, and with it all libraries: for good, so the collector never looks through them."""
    gc.disable()
    try:
        from chipweave import run  # noqa: PLC0415 - `--help` must not wait for the geo stack
    finally:
        gc.enable()
    gc.freeze()
    return run


@app.command(
    epilog=_examples(
        "build recipe.yaml -o data",
        "build recipe.yaml -o data --limit 20 --workers 0",
        "build recipe.yaml -o data --set imagery.s2.max_cloud=5",
        "build recipe.yaml -o s3://bucket/data --scheduler tcp://10.0.0.1:8786",
    )
)
def build(
    recipe: RecipeArg,
    out: Out,
    workers: Workers = None,
    scheduler: Scheduler = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Whole tiles with about this many chips.")] = None,
    lock: LockOption = None,
    loader: LoaderOption = "native",
    catalog: CatalogOption = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Build a dataset from a recipe; a stopped build goes on where it was."""
    run = _run()
    done = run.build(
        _load(recipe, sets, catalog), out, workers=workers, scheduler=scheduler, limit=limit, lock=lock, loader=loader,
    )  # fmt: skip
    _emit(done, as_json, console.yield_text)


@app.command(epilog=_examples("plan recipe.yaml -o data", "plan recipe.yaml -o data --json"))
def plan(
    recipe: RecipeArg,
    out: Out,
    workers: Workers = None,
    scheduler: Scheduler = None,
    lock: LockOption = None,
    loader: LoaderOption = "native",
    catalog: CatalogOption = None,
    sets: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Place, search, survey and split; print what a build would yield."""
    run = _run()
    loaded = _load(recipe, sets, catalog)
    done = run.plan(loaded, out, workers=workers, scheduler=scheduler, lock=lock, loader=loader)
    _emit(done, as_json, console.yield_text)


@app.command(epilog=_examples("check recipe.yaml", "check recipe.yaml --catalog planetary-computer"))
def check(
    recipe: RecipeArg, catalog: CatalogOption = None, sets: Sets = None, as_json: AsJson = False
) -> None:
    """Read a recipe and say what is wrong with it; no network."""
    from chipweave import recipe as room  # noqa: PLC0415
    from chipweave.catalog.request import admit  # noqa: PLC0415

    loaded = _load(recipe, sets, catalog)
    warnings = room.check(loaded)
    admit(loaded)
    for text in warnings:
        log.warning("warning: %s", text)
    result = {
        "recipe": str(recipe),
        "name": loaded.recipe.name,
        "sha256": loaded.digest,
        "warnings": warnings,
    }
    _emit(result, as_json, lambda r: f"{r['recipe']}: ok ({len(warnings)} warnings)")


@app.command(epilog=_examples("new first", "new first --like demo"))
def new(
    name: Annotated[
        str, typer.Argument(help="Name of the recipe; NAME.yaml is written here.", show_default=False)
    ],
    like: Annotated[str, typer.Option(help="Built-in recipe to begin from; see `recipes`.")] = "landcover",
    as_json: AsJson = False,
) -> None:
    """Write a new recipe from a built-in one."""
    from chipweave import recipe as room  # noqa: PLC0415

    path = room.new(name, like, Path.cwd())
    _emit(
        {"recipe": str(path)},
        as_json,
        lambda r: f"{r['recipe']}: written; next: chipweave check {r['recipe']}",
    )


@app.command(epilog=_examples("recipes", "recipes landcover"))
def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List the built-in recipes, or print one."""
    from chipweave import recipe as room  # noqa: PLC0415

    found = room.builtin_recipes()
    if name is None:
        _emit({"recipes": sorted(found)}, as_json, lambda r: "\n".join(r["recipes"]))
        return
    if name not in found:
        raise UsageError(f"no built-in recipe {name}", hint=f"there are {', '.join(sorted(found))}")
    text = found[name].read_text(encoding="utf-8")
    _emit({"name": name, "recipe": text}, as_json, lambda r: str(r["recipe"]).rstrip("\n"))


@app.command()
def schema(as_json: AsJson = False) -> None:
    """Print the JSON Schema of recipes."""
    from chipweave import recipe as room  # noqa: PLC0415

    _emit(room.schema(), as_json, lambda r: json.dumps(r, indent=2, ensure_ascii=False))


@app.command(
    epilog=_examples(
        "verify data",
        "verify data --leakage --alignment --completeness -o splits.png",
        "verify s3://bucket/data --json",
    )
)
def verify(
    folder: Annotated[str, typer.Argument(help="Folder or URL of a dataset.", show_default=False)],
    leakage: Annotated[
        bool, typer.Option("--leakage", help="Look across splits in every way, near-duplicates included.")
    ] = False,
    alignment: Annotated[
        bool,
        typer.Option("--alignment", help="Read some chips again from their source, and look for shifts."),
    ] = False,
    completeness: Annotated[
        bool, typer.Option("--completeness", help="Account for every layer and date; ask the catalog again.")
    ] = False,
    chips: Annotated[int, typer.Option(min=1, help="Chips that --alignment looks at.")] = 32,
    out: PictureOption = None,
    as_json: AsJson = False,
) -> None:
    """Read everything in a dataset again and hold it against what the dataset says."""
    from chipweave.cli_verify import looked_at  # noqa: PLC0415

    found, after = looked_at(
        folder, out, leakage=leakage, alignment=alignment, completeness=completeness, number=chips
    )
    if after is not None:
        _emit(found.to_dict(), as_json, lambda _: found.to_text())
        _stop(after, as_json=False)
    _told(found, as_json)


def _told(report: Report, as_json: bool) -> None:
    """Say what an audit found; what failed is an error that its report has told already."""
    _emit(report.to_dict(), as_json, lambda _: report.to_text())
    if not report.ok:
        failed = [c.name for c in report.checks if c.verdict == "fail"]
        raise _ToldError(
            f"{report.folder}: {len(failed)} checks failed: {', '.join(failed)}", hint="do not train on it"
        )


class _ToldError(VerifyError):
    """What failed stands in the report, which was printed."""


cli_tables.add_split(
    app,
    _emit,
    _examples(
        "split samples.parquet --method blocks --block-km 10 --buffer-m 640 -o split.parquet",
        "split patches.parquet --method inside_tile -o split.parquet",
        "split plots.parquet --method groups --by country --fractions train=0.7,test=0.3 -o split.parquet",
        "split plots.parquet --method time --time date --set cutoffs=[2020] -o split.parquet",
    ),
)
cli_tables.add_audit(
    app,
    _told,
    _examples("audit samples.parquet --buffer-m 640", "audit samples.parquet --label class -o splits.png"),
)


@app.command(epilog=_examples("show data -o sheet.png"))
def show(
    folder: FolderArg,
    keys: Annotated[
        list[str] | None, typer.Argument(help="Chips to show; some of every split if left out.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The picture.")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw a contact sheet: imagery, labels, and the map of splits."""
    from chipweave.describe.show import show as draw  # noqa: PLC0415

    path = draw(folder, keys or (), out)
    _emit({"picture": str(path)}, as_json, lambda r: str(r["picture"]))


@app.command(epilog=_examples("report data -o page.html"))
def report(
    folder: FolderArg,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Write the page anew, there.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say where a dataset's page is: map, yield, values, classes, samples; it opens in a browser, offline."""
    from chipweave.describe.report import page_of  # noqa: PLC0415

    path = page_of(folder, out)
    _emit({"report": str(path)}, as_json, lambda r: str(r["report"]))


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where the demo is made.")] = Path("chipweave-demo"),
    workers: Workers = None,
    as_json: AsJson = False,
) -> None:
    """Make a small Earth with its own STAC API, build a dataset from it, verify it and draw it."""
    from chipweave.demo import tour as room  # noqa: PLC0415

    _emit(room.run_demo(folder, workers=workers), as_json, room.demo_text)


def _add_later(name: str, instead: str) -> None:
    """Add a command of the contract whose room is not built: it is refused by name, as keys are."""

    @app.command(
        name, hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
    )
    def later() -> None:
        """Not built yet."""
        raise NotBuiltError(f"the command {name} is known, but not built yet", hint=instead)


_add_later(
    "refresh",
    "`chipweave verify DIR --completeness` says what the catalog has by now; build into another folder, with "
    "`split: {previous: DIR}` to keep the splits",
)
_add_later("export", "`output: {formats: […]}` in a recipe says what a build writes")


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _main(
    _show_version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Warnings and errors alone on stderr.")
    ] = False,
    log_format: Annotated[
        console.LogFormat,
        typer.Option(help="What stderr is written as: text, with bars on a terminal, or json."),
    ] = console.LogFormat.TEXT,
) -> None:
    console.begin(log_format, quiet=quiet)


_MisusedError: type[Exception] = typer.BadParameter.__mro__[1]
"""What the parser says of an unknown command or option, a missing one, a value that is none."""


def _misused(error: Any, given: Sequence[str]) -> NoReturn:
    as_json = "--json" in given
    if "--log-format=json" in " ".join(given).replace("--log-format json", "--log-format=json"):
        console.begin(
            console.LogFormat.JSON, quiet=False
        )  # an unknown command is found before options are read
    if as_json or console.in_json():
        facts = {"error": "usage", "message": error.format_message(), "hint": "", "exit": error.exit_code}
        console.refuse(facts, as_json=as_json)
    else:
        error.show()
    sys.exit(error.exit_code)


def _interrupted(signum: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG001 - a handler's signature
    said = "interrupted: run the same command again to go on"
    console.complain(said, {"error": "interrupted", "message": said, "exit": 130})
    sys.exit(130)


def _stop(error: ChipweaveError, as_json: bool) -> NoReturn:
    console.refuse(error.facts(), as_json=as_json)
    sys.exit(error.exit_code)


def main(args: Sequence[str] | None = None, program: typer.Typer = app) -> NoReturn:
    """Run the command line, or another program of its kind, and leave with the contract's exit code."""
    given = list(sys.argv[1:] if args is None else args)
    # Not KeyboardInterrupt: typer would answer it with exit 1.
    signal.signal(signal.SIGINT, _interrupted)
    try:
        code = program(args=given, standalone_mode=False)
    except _MisusedError as error:
        _misused(error, given)
    except ChipweaveError as error:
        _stop(error, "--json" in given and not isinstance(error, _ToldError))
    except OSError as error:
        from chipweave.files import friendly_os_error  # noqa: PLC0415

        _stop(friendly_os_error(error, error.filename or "the output"), "--json" in given)
    finally:  # typer leaves by an exception, too
        console.end()
        gc.freeze()  # the process ends: a last look for what could be freed would cost as much as a hundred chips
    sys.exit(code if type(code) is int else 0)  # `--help` and the like give one
