"""`chipweave verify` without its words: a folder or a URL in, a report out, and a picture beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chipweave.audit import verify
from chipweave.audit.report import Report
from chipweave.errors import ChipweaveError, UsageError, VerifyError
from chipweave.files import friendly_os_error
from chipweave.stores import copied, is_url


def looked_at(folder: str, picture: Path | None, **options: Any) -> tuple[Report, ChipweaveError | None]:
    """Verify a dataset, wherever it lies.

    Parameters
    ----------
    folder
        Or the URL.
    picture
        A PNG to draw, outside of the dataset.
    options
        As `verify` takes them.

    Returns
    -------
    Report, ChipweaveError or None
        The report, and what kept its picture from being drawn: it is no reason to lose the report.

    Raises
    ------
    UsageError
        There is no dataset, or the picture may not lie there; that is looked at before all else.
    VerifyError
        The folder cannot be read.
    """
    if picture is not None:
        _drawable(picture, folder)
    seen: list[Report] = []
    after: ChipweaveError | None = None
    try:
        with copied(folder) as here:
            # The first is what counts: the same twice, or the only one where there is nothing to draw of it.
            seen.append(verify(here, picture=picture, copied=is_url(folder), told=seen.append, **options))
    except (ChipweaveError, OSError) as error:
        after = _friendly(error, picture if seen else None, folder)
        if not seen:
            raise after from error
    return Report(folder, seen[0].checks), after


def _drawable(picture: Path, folder: str) -> None:
    """Refuse a picture that would lie in the dataset unlisted, and one whose name says that it is no PNG."""
    if picture.is_dir():
        raise UsageError(f"{picture}: is a folder", hint="name the PNG that is to be drawn")
    if picture.suffix.lower() not in {"", ".png"}:
        raise UsageError(
            f"{picture}: what is drawn is a PNG", hint=f"name it {picture.with_suffix('.png').name}"
        )
    if picture.resolve().is_relative_to(Path(folder).resolve()):
        raise UsageError(
            f"{picture} lies in the dataset, whose manifest does not list it",
            hint="name a file outside of the dataset",
        )


def _friendly(error: ChipweaveError | OSError, picture: Path | None, folder: str) -> ChipweaveError:
    """An error in a user's words. Only the picture is written: all other files are read."""
    if isinstance(error, ChipweaveError):
        return error
    if picture is not None:
        return friendly_os_error(error, picture)
    what, why = error.filename or folder, error.strerror or error
    return VerifyError(f"{what} cannot be read: {why}", hint="see that you may read all of the dataset")
