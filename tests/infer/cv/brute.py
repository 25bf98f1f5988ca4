"""Cross-validation the long way: fit the training frame through the public API, predict the rest, fold by fold."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl

from inference_core import model
from inference_core.design import design_new
from inference_core.design.random import random_new
from inference_core.errors import InferenceCoreWarning
from inference_core.fit.predict import linear_predictor


def held_out(formula, frame, folds, *, conditional=False, fit=None, **arguments):
    """(n,) linear predictors of each row by a model of the rows of the other folds."""
    eta = np.full(frame.height, np.nan)
    for fold in np.unique(folds):
        train, test = frame.filter(pl.Series(folds != fold)), frame.filter(pl.Series(folds == fold))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InferenceCoreWarning)
            m = model(formula, train, **arguments).fit(**(fit or {}))
        X, offset = design_new(m.bundle, test)
        value = linear_predictor(m.fit_state, X, offset)
        if conditional:
            effects = m.bundle.re_metadata.split_effects(m.fit_state.b)
            for rows, b in zip(random_new(m.bundle, test, allow_new_levels=True), effects, strict=True):
                b = np.vstack([b, np.zeros(b.shape[1])])  # index -1: a group without training rows
                value = value + np.einsum("nk,nk->n", b[rows.group_index], rows.X_re)
        eta[folds == fold] = value
    return eta
