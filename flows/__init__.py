"""Prefect, and nothing else: thin flows over the public functions."""
