"""Points with values, such as survey clusters, LUCAS or GEDI footprints, as sparse rasters and tables."""

from chipweave.labels.points.source import PointsRead
from chipweave.labels.points.tables import PointTable, Values, open_points, prepare_points

__all__ = ["PointTable", "PointsRead", "Values", "open_points", "prepare_points"]
