"""Measurements: ratios in one run against a stated peer, never seconds that a test would fail on."""
