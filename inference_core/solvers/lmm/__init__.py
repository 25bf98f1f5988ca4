"""Linear mixed models: arrays in, arrays out. T is unconstrained, and B problems advance in one loop."""
