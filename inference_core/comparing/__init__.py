"""Models beside each other: nested tests and information criteria."""

from .compare import compare

__all__ = ["compare"]
