"""Commands for tables that were made elsewhere, `audit` and `split`; `chipweave.cli` adds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from chipweave.audit import Report

TableArg = Annotated[
    Path, typer.Argument(help="A GeoParquet, one geometry a sample.", show_default=False, metavar="TABLE")
]


def _column(what: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(help=f"Column: {what}.", show_default=False)
    return option


def add_audit(app: typer.Typer, told: Callable[[Report, bool], None], epilog: str) -> None:
    """Add `audit`; `told` prints its report and leaves with the exit code."""

    @app.command(epilog=epilog)
    def audit(
        table: TableArg,
        split: Annotated[
            str, typer.Option(help="Column: train, val, test; gap or nothing for none.")
        ] = "split",
        key: Annotated[str | None, _column("name of a sample")] = None,
        group: Annotated[str | None, _column("what must not be in two splits")] = None,
        label: Annotated[str | None, _column("a class or a number")] = None,
        time: Annotated[str | None, _column("when it was taken")] = None,
        buffer_m: Annotated[
            float, typer.Option(min=0, help="Metres that footprints of two splits have to be apart.")
        ] = 0.0,
        jitter_m: Annotated[
            float, typer.Option(min=0, help="How far each position may be off, metres.")
        ] = 0.0,
        leakage: Annotated[str, typer.Option(help="What leakage does: fail or warn.")] = "fail",
        out: Annotated[
            Path | None,
            typer.Option("-o", "--out", help="A PNG: the map of splits, and distances.", show_default=False),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        """Say of samples that were made elsewhere whether their splits leak."""
        from chipweave.audit.elsewhere import Columns, audit_table  # noqa: PLC0415
        from chipweave.errors import UsageError  # noqa: PLC0415

        if leakage not in {"fail", "warn"}:
            raise UsageError(f"--leakage {leakage}: say fail or warn")
        columns = Columns(split, key, group, label, time)
        told(
            audit_table(
                table, columns, buffer_m=buffer_m, jitter_m=jitter_m, picture=out,
                leakage="warn" if leakage == "warn" else "fail",
            ),
            as_json,
        )  # fmt: skip


_Many = Annotated[list[str] | None, typer.Option(help="Columns or layers to be alike in all splits.")]


def add_split(app: typer.Typer, emit: Callable[..., None], epilog: str) -> None:
    """Add `split`; `emit` prints its result, as text or JSON."""

    @app.command(epilog=epilog, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
    def split(
        context: typer.Context,
        table: TableArg,
        out: Annotated[
            Path, typer.Option("-o", "--out", help="The table with a column split.", show_default=False)
        ],
        method: Annotated[str, typer.Option(help="How; docs/splits.md tells the methods apart.")] = "blocks",
        fractions: Annotated[str | None, typer.Option(help="Such as train=0.6,val=0.2,test=0.2")] = None,
        seed: Annotated[int | None, typer.Option(help="Of every random choice.")] = None,
        block_km: Annotated[
            float | None, typer.Option("--block-km", "--block_km", help="Side of a block, kilometres.")
        ] = None,
        buffer_m: Annotated[
            str | None, typer.Option("--buffer-m", "--buffer_m", help="Metres between splits, or auto.")
        ] = None,
        by: Annotated[str | None, _column("what the method goes by")] = None,
        group: Annotated[str | None, _column("the same, for groups and folds")] = None,
        key: Annotated[str | None, _column("name of a row")] = None,
        place: Annotated[
            str | None, _column("what stays together; rows of one geometry do without it")
        ] = None,
        time: Annotated[str | None, _column("date of a row")] = None,
        tile: Annotated[str, _column("tile of a row; its bounds are TILE_xmin and so on")] = "tile",
        crs: Annotated[str, _column("CRS of these bounds, row by row")] = "crs",
        error: Annotated[str | None, _column("how far a position may be off, metres")] = None,
        jitter_m: Annotated[
            float, typer.Option(min=0, help="How far each position may be off, metres.")
        ] = 0.0,
        stratify: _Many = None,
        labels: Annotated[
            list[str] | None, typer.Option(help="Columns whose variogram gives buffer auto.")
        ] = None,
        override: Annotated[str | None, typer.Option(help="A table of key and split that holds.")] = None,
        previous: Annotated[str | None, typer.Option(help="An earlier dataset or table: it is kept.")] = None,
        sets: Annotated[
            list[str] | None,
            typer.Option("--set", metavar="A=B", help="Any other key of `split` in a recipe."),
        ] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ) -> None:
        """Split samples that were made elsewhere: writes the table with a column split, train, val, test or gap.

        Every key of a recipe's `split` is an option, too: --angle-deg 30, --folds 5, --cells h3.
        """
        from chipweave.errors import UsageError  # noqa: PLC0415
        from chipweave.splits import Columns, option_values, split_file  # noqa: PLC0415

        if None not in {by, group} and by != group:
            raise UsageError("--by and --group name one thing, and say two", hint="give one of them")
        given = {
            "fractions": fractions, "seed": seed, "block_km": block_km, "buffer_m": buffer_m, "by": by or group,
            "stratify": list(stratify) if stratify else None, "override": override, "previous": previous,
        }  # fmt: skip
        columns = Columns(key, place, time, tile, crs, error, tuple(labels or ()))
        done = split_file(
            table,
            out,
            method,
            columns=columns,
            jitter_m=jitter_m,
            **option_values(given, [*further(context.args), *(sets or ())]),
        )
        emit(done, as_json, _split_text)


def further(args: Sequence[str]) -> list[str]:
    """Options that `split` does not list, as ``key=value``: ``--angle-deg 30`` is ``angle_deg=30``.

    Raises
    ------
    UsageError
        One without a value, or a value without one.
    """
    from chipweave.errors import UsageError  # noqa: PLC0415

    found, rest = [], list(args)
    while rest:
        name, mark, value = rest.pop(0).partition("=")
        if not name.startswith("--") or (not mark and (not rest or rest[0].startswith("--"))):
            raise UsageError(f"{name}: expected an option and its value", hint="chipweave split --help")
        found.append(f"{name.removeprefix('--').replace('-', '_')}={value if mark else rest.pop(0)}")
    return found


def _split_text(done: Mapping[str, Any]) -> str:
    """What `split` did, for a person."""
    lines = [f"{done['out']}: {done['rows']:,} rows, {done['places']:,} places, by {done['method']}"]
    lines += [f"  {name:<28} {n:>10,}" for name, n in done["splits"].items()]
    return "\n".join([*lines, *(f"note: {note}" for note in done["notes"])])
