"""Captions and questions, by rule and seed, with the facts behind each; a kind is one file."""

from chipweave.labels.text.registry import KINDS, text_source

__all__ = ["KINDS", "text_source"]
