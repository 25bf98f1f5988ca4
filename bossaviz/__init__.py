"""Live panels for statistical inference in Jupyter."""
