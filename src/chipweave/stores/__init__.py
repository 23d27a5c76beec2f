"""Datasets in object stores: built in scratch of this machine, then put there file by file, the manifest last.

What a reader finds under the manifest's name is whole, and so is every object. Nothing is ever listed: the names of a
dataset's files follow from its plan and its manifest. One build holds a dataset at a time, by a lease that it renews.
"""

from chipweave.stores.homes import Home, copied, home
from chipweave.stores.owning import own
from chipweave.stores.store import is_url

__all__ = ["Home", "copied", "home", "is_url", "own"]
