"""Panels: widgets wired to state, compute and charts. The only part of bossaviz that imports ipywidgets."""
