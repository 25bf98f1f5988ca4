"""Pure charts: numbers in, Vega-Lite specifications and columns of data out. No widgets, no model, no clock."""
