"""Vector files as labels: features burned by rules, numbered, boxed, and written beside the raster.

`store` makes of a file, once a build, what workers read chip by chip; `source.VectorRead` is what they are sent.
"""

from chipweave.labels.vectors.rules import Rule
from chipweave.labels.vectors.source import Reading, VectorRead
from chipweave.labels.vectors.store import StoreFacts, prepare_store

__all__ = ["Reading", "Rule", "StoreFacts", "VectorRead", "prepare_store"]
