"""One serial build in this process, by stages: ``python -m benchmarks.child RECIPE OUT [--tile-px N]``.

Prints what `run.build` gives, the CPU seconds of import, plan and the rest, the wall time of these two, and the blocks
decoded after the plan.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path


def main() -> None:
    """Import, plan, build; say what each took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--tile-px", type=int)
    args = parser.parse_args()
    from chipweave import run  # noqa: PLC0415 - what the import takes is part of the figures
    from chipweave.pixels import counts  # noqa: PLC0415
    from chipweave.recipe import load_recipe  # noqa: PLC0415

    marks = [time.process_time()]
    begin = time.monotonic()
    loaded = load_recipe(args.recipe)
    if args.tile_px is None:  # `plan` knows no size of tiles, and a build must go on with that of its plan
        run.plan(loaded, args.out, workers=0)
    marks.append(time.process_time())
    surveyed = counts.decoded
    counts.reset()
    made = run.build(loaded, args.out, workers=0, tile_px=args.tile_px)
    marks.append(time.process_time())
    facts = {
        "written": made["written"],
        "decoded": counts.decoded,
        "surveyed": surveyed,
        "cpu_import_s": marks[0],
        "cpu_plan_s": marks[1] - marks[0],
        "cpu_rest_s": marks[2] - marks[1],
        "wall_s": time.monotonic() - begin,
    }
    sys.stdout.write(json.dumps(facts) + "\n")


if __name__ == "__main__":
    main()
