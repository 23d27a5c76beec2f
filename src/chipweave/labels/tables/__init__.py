"""Tables of features: one record a polygon, from the imagery of its chip."""

from chipweave.labels.tables.reduce import (
    Stack,
    check_statistics,
    reduce_features,
    table_document,
    table_of,
    table_schema,
)
from chipweave.labels.tables.source import TableRead

__all__ = [
    "Stack",
    "TableRead",
    "check_statistics",
    "reduce_features",
    "table_document",
    "table_of",
    "table_schema",
]
