"""From a fitted model and a question to rows: reference grids, means, slopes and contrasts of them."""

from .build import explore

__all__ = ["explore"]
