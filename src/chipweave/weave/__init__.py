"""A batch of the plan to its part, tile by tile: the only place where pixels of all layers meet.

A pure function of the plan, the files that it names and the library versions: the same bytes whatever the number
of workers, their order, a crash or a resume.
"""

from __future__ import annotations

from chipweave.weave.batch import Batch, batches_of, weave_batch, weave_task
from chipweave.weave.labelled import label_warnings
from chipweave.weave.samples import offset_warnings

__all__ = ["Batch", "batches_of", "label_warnings", "offset_warnings", "weave_batch", "weave_task"]
