"""Generalized linear mixed models: penalised modes, Laplace and quadrature deviances with exact gradients."""
