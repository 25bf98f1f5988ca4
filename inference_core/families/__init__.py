"""Response distributions and links, as frozen tuples of pure functions."""

from .family import Family
from .links import LINKS, Link
from .registry import FAMILIES, canonical_family, default_link, get_family, get_link, links_of, with_params

__all__ = ["FAMILIES", "LINKS", "Family", "Link", "canonical_family", "default_link", "get_family",
           "get_link", "links_of", "with_params"]  # fmt: skip
