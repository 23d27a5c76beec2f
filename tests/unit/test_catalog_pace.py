"""How often a provider is asked."""

from __future__ import annotations

import pytest

from catalog_world import make_item, serve
from chipweave.catalog.notes import Notes
from chipweave.catalog.pace import Pace
from chipweave.catalog.providers import Provider
from chipweave.catalog.sources import api as module
from chipweave.catalog.sources import open_source


class TestPace:
    def test_so_many_a_second(self):
        slept, now = [], [0.0]

        def sleep(seconds):
            slept.append(seconds)
            now[0] += seconds

        pace = Pace(4.0, lambda: now[0], sleep)
        for _ in range(3):
            pace.wait()
        assert slept == [0.25, 0.25]
        now[0] += 10.0
        pace.wait()
        assert slept == [0.25, 0.25]

    def test_none(self):
        Pace(0.0, sleep=lambda _: pytest.fail("waited")).wait()

    def test_searches_keep_it(self, monkeypatch):
        waits = []
        pace = Pace(5.0, lambda: 0.0, waits.append)
        monkeypatch.setattr(
            module, "pace_of", lambda name, rate: pace if (name, rate) == ("slow", 5.0) else None
        )
        with serve([make_item(str(n)) for n in range(5)], page=2) as world:
            source = open_source(world.url, Notes(), Provider("slow", "slow", world.url, rate=5.0))
            list(source.search(["sentinel-2-l2a"], (8.2, 47.2, 8.8, 47.8), None, 2))
        assert waits == [0.2, 0.4]  # three pages
