"""Numerical kernels: arrays in, arrays out."""

from .lstsq import LstsqResult, lstsq, rank_of_design

__all__ = ["LstsqResult", "lstsq", "rank_of_design"]
