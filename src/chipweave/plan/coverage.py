"""How much of a series is clear, over ground and over time: the assessment of Sentinel-2 coverage by its classes.

After F. Mena, SITS_S2Coverage; the columns have its names, as it spells them. What is clear is for the recipe to say
(`bad`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from chipweave.errors import UsageError

COLUMNS = (
    "num_timesteps", "num_timesteps_missing", "avg_spatial_coverage", "num_timesteps_abovecov", "temporal_coverage",
    "assesment_temporal", "assesment_spatial",
)  # fmt: skip


def coverage(
    dataset: Path | str,
    layer: str,
    *,
    spatial: float = 50.0,
    temporal: float = 50.0,
    dates: Literal["chosen", "measured"] = "chosen",
) -> pd.DataFrame:
    """Assess a layer of a dataset, or of a plan, from the masks that survey measured.

    Parameters
    ----------
    dataset
        Its folder.
    layer
        An imagery layer.
    spatial, temporal
        Thresholds in percent: of a date's ground that is clear, and of the dates that reach that.
    dates
        Those that became steps, or all that were looked at.

    Returns
    -------
    DataFrame
        One row a chip, by `key`. A date's spatial coverage is the share of the chip that is data and not bad, in
        percent; ``temporal_coverage`` the share of dates that reach `spatial`; the assessments are ``high`` or ``low``.

    Raises
    ------
    UsageError
        No plan in the folder, or no such layer in it.
    """
    path = Path(dataset) / "plan" / "matches.parquet"
    if not path.exists():
        raise UsageError(f"{path}: no such file", hint="give the folder of a dataset or of a plan")
    wanted = ["key", "step", "rank", "datetime", "cloud_fraction", "valid_fraction", "chosen"]
    rows = pq.read_table(path, columns=wanted, filters=[("layer", "==", layer)]).to_pandas()
    if rows.empty:
        raise UsageError(f"{path}: names no layer {layer!r}")
    rows = rows[rows["chosen"] if dates == "chosen" else rows["valid_fraction"].notna()]
    # Scenes of one datatake are one date, and one that serves two steps too.
    rows = rows.drop_duplicates(["key", "datetime"])
    clear = 100 * (1 - rows["cloud_fraction"]) * rows["valid_fraction"]
    own = rows.assign(clear=clear, whole=np.isclose(clear, 100), reach=clear >= spatial).groupby("key")
    found = pd.DataFrame(
        {
            "num_timesteps": own.size(),
            "num_timesteps_missing": own.size() - own["whole"].sum(),
            "avg_spatial_coverage": own["clear"].mean(),
            "num_timesteps_abovecov": own["reach"].sum(),
            "temporal_coverage": 100 * own["reach"].mean(),
        }
    )
    for name, column, least in (
        ("temporal", "temporal_coverage", temporal), ("spatial", "avg_spatial_coverage", spatial)
    ):  # fmt: skip
        found[f"assesment_{name}"] = np.where(found[column] >= least, "high", "low")
    return found[list(COLUMNS)]
