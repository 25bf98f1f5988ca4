"""Resampling: draws, refits of all draws at once, and what they share."""
