"""OpenStreetMap: objects of an extract, by their tags, as classed features."""

from chipweave.labels.osm.scheme import DEFAULT, Scheme, load_scheme
from chipweave.labels.osm.source import OsmRead, collection_of, prepare_osm

__all__ = ["DEFAULT", "OsmRead", "Scheme", "collection_of", "load_scheme", "prepare_osm"]
