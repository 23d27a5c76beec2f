"""`chipweave build` as a Prefect flow: a task a stage, and one a group of batches.

    python flows/build.py RECIPE -o DIR

The folder's own receipts and ledger, not Prefect's cache, know what is done: a flow that was stopped goes on when it
is run again. What goes through Prefect is small: numbers, never pixels. All tasks run in the process that holds the
folder; its executor, processes of this machine or a Dask cluster, does the work.
"""

from __future__ import annotations

import functools
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from prefect import flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.settings import PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS, temporary_settings

from chipweave import cli, console, run
from chipweave.describe import text
from chipweave.errors import ChipweaveError, TransientSourceError, YieldError
from chipweave.recipe import load_recipe

P = ParamSpec("P")
R = TypeVar("R")

DELAYS = (30.0, 120.0, 600.0)
"""Seconds before each retry of a stage whose sources did not answer; requests were retried before that."""

GROUP = 64
"""Batches a task: a batch is seconds of work, and a build should be hundreds of tasks, not a hundred thousand."""


def _may_pass(_task: object, _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.data, TransientSourceError)


def _bare(function: Callable[P, R]) -> Callable[P, R]:
    """Errors without their causes: Prefect logs the whole chain, and a library's own error may show a signed URL."""

    @functools.wraps(function)
    def bare(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except ChipweaveError as error:
            raise error.with_traceback(None) from None

    return bare


STAGE: Any = {
    "cache_policy": NO_CACHE, "persist_result": False,
    "retries": len(DELAYS), "retry_delay_seconds": list(DELAYS), "retry_condition_fn": _may_pass,
}  # fmt: skip
"""How every task is run."""


@task(name="plan", **STAGE)
@_bare
def plan(job: run.Build, lock: str | None) -> dict[str, Any]:
    """Place, lock, survey and split: the forecast."""
    job.plan(lock=lock)
    return job.forecast()


@task(name="weave", task_run_name="weave-{first}-{last}", **STAGE)
@_bare
def weave(job: run.Build, first: int, last: int) -> int:
    """Weave some batches: the number of samples. In a retry those that are done already are only looked at."""
    return job.weave_group(first, last)


@task(name="seal", **STAGE)
@_bare
def seal(job: run.Build) -> dict[str, Any]:
    """Deal, index, describe and seal, and bring it all to the store that was named, if one was: the yield."""
    job.seal()
    return job.summary()


@flow(name="chipweave-build", flow_run_name="build {out}", persist_result=False)
@_bare
def build(
    recipe: str,
    out: str,
    workers: int | None = None,
    scheduler: str | None = None,
    limit: int | None = None,
    lock: str | None = None,
    loader: str = "native",
    catalog: str | None = None,
    sets: list[str] | None = None,
    group: int = GROUP,
) -> dict[str, Any]:
    """Build a dataset from a recipe; a stopped build goes on where it was.

    Parameters
    ----------
    recipe, out
        The recipe's file and the dataset's folder.
    workers, scheduler, limit, lock, loader, catalog, sets
        As the options of ``chipweave build``; `sets` as ``a.b=c``.
    group
        Batches a task; windows, where the recipe has them, are the groups.

    Returns
    -------
    dict
        As `chipweave.build`. It is also shown as an artifact, as is the ledger's account where too little was written.

    Raises
    ------
    ChipweaveError
        One of its kinds.
    """
    with _logs():
        loaded = load_recipe(recipe, sets=sets or (), catalog=catalog)
        begun = run.begin(
            loaded, out, workers=workers, scheduler=scheduler or None, limit=limit, loader=loader
        )
        with begun as job:
            try:
                result = job.summary() if job.finished else _stages(job, lock, group)
            except YieldError as error:
                if fates := job.fates():
                    _show(loaded.recipe.name, {"folder": out, "warnings": [error.message], **fates})
                raise
        _show(loaded.recipe.name, result)
        return result


def _stages(job: run.Build, lock: str | None, group: int) -> dict[str, Any]:
    plan(job, lock)
    job.weave(functools.partial(weave, job), group)
    return seal(job)


def _show(name: str, result: Mapping[str, Any]) -> None:
    key = "yield-" + re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    create_markdown_artifact(yield_markdown(result), key=key, description=f"Yield of {name}")


def yield_markdown(result: Mapping[str, Any]) -> str:
    """The yield as Markdown: chips placed, written, dropped by reason and failed, samples by split, warnings."""
    rows = [(name, result[name]) for name in ("placed", "written", "failed")]
    rows += [(f"dropped: {text.code(reason)}", n) for reason, n in result["dropped"].items()]
    parts = [
        f"# {text.markdown(result['folder'])}",
        text.table(("chips", "number"), [(a, f"{n:,}") for a, n in rows]),
    ]
    if result.get("splits"):
        splits = [(text.markdown(name), f"{n:,}") for name, n in result["splits"].items()]
        parts.append(text.table(("split", "samples"), splits))
    if result["warnings"]:
        parts.append("\n".join(f"- {text.markdown(warning)}" for warning in result["warnings"]))
    return "\n\n".join(parts) + "\n"


@contextmanager
def _logs() -> Iterator[None]:
    """What chipweave says also goes to the run's page: by the handlers that Prefect gives to loggers of others."""
    ours = logging.getLogger("chipweave")
    fresh = [h for h in logging.getLogger("prefect.extra").handlers if h not in ours.handlers]
    level, seldom = ours.level, console.Seldom()
    ours.setLevel(logging.INFO)
    ours.addFilter(seldom)
    for handler in fresh:
        ours.addHandler(handler)
    try:
        yield
    finally:
        for handler in fresh:
            ours.removeHandler(handler)
        ours.removeFilter(seldom)
        ours.setLevel(level)


app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)


@app.command()
def main(
    recipe: cli.RecipeArg,
    out: cli.Out,
    workers: cli.Workers = None,
    scheduler: cli.Scheduler = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Whole tiles with about this many chips.")] = None,
    lock: cli.LockOption = None,
    loader: cli.LoaderOption = "native",
    catalog: cli.CatalogOption = None,
    sets: cli.Sets = None,
    group: Annotated[int, typer.Option(min=1, help="Batches a task.")] = GROUP,
    as_json: cli.AsJson = False,
) -> None:
    """Build a dataset from a recipe as a Prefect flow; a stopped build goes on where it was."""
    load_recipe(recipe, sets=sets or (), catalog=catalog)  # a wrong one needs no server to be told so
    # Without PREFECT_API_URL Prefect starts a server of its own, whose first start makes a database: 20 s are few.
    with temporary_settings({PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS: 120}):
        result = build(
            str(recipe), str(out), workers=workers, scheduler=scheduler, limit=limit,
            lock=str(lock) if lock else None, loader=loader, catalog=catalog, sets=sets, group=group,
        )  # fmt: skip
    typer.echo(
        console.harmless(json.dumps(result, ensure_ascii=False) if as_json else yield_markdown(result))
    )


if __name__ == "__main__":
    cli.main(program=app)
