"""Samples to files and back: parts, deal, tars, Zarr, index, statistics, manifest."""
