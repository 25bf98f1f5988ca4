"""Terms and data to arrays: the bundle that every solver starts from."""

from .build import build_bundle
from .newdata import design_new
from .read import read_frame

__all__ = ["build_bundle", "design_new", "read_frame"]
