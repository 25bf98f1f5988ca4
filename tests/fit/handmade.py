"""Bundles from bare arrays, so that fits are tested apart from formulas."""

import numpy as np

from inference_core.fit import fit_model
from inference_core.solvers import rank_of_design
from inference_core.states import DataBundle, ModelSpec


def make(X, y, family="gaussian", link=None, *, names=None, terms=None, weights=None, offset=None, trials=None,
         intercept=True, y_name="y", **changes):  # fmt: skip
    """(spec, bundle) of a design whose first column is the intercept unless told otherwise."""
    from inference_core.families import default_link

    X, y = np.ascontiguousarray(X, dtype=float), np.asarray(y, dtype=float)
    n, p = X.shape
    if names is None:
        names = tuple(["(Intercept)"] * intercept + [f"x{j}" for j in range(int(intercept), p)])
    if terms is None:
        terms = np.arange(p) - int(intercept)
    sources = tuple(dict.fromkeys(names[int(intercept) :])) if max(terms, default=-1) < p else ()
    link = default_link(family) if link is None else link
    spec = ModelSpec("y ~ x", y_name, fixed_terms=sources, family=family, link=link, has_intercept=intercept)
    bundle = DataBundle(
        y=y, X=X, X_names=tuple(names), term_of_column=np.asarray(terms), source_terms=sources, y_name=y_name,
        valid_mask=changes.pop("valid_mask", np.ones(n, bool)), n_total=changes.pop("n_total", n),
        rank_info=rank_of_design(X, names=tuple(names)), weights=weights, offset=offset, trials=trials, **changes,
    )  # fmt: skip
    return spec, bundle


def fit(*args, **options):
    """The fit of a handmade bundle."""
    return fit_model(*make(*args, **options))


def random_design(seed, n=30, p=3):
    """Intercept and p - 1 normal columns, and a response that depends on them."""
    rng = np.random.default_rng(seed)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, p - 1))])
    return X, X @ np.linspace(1, -1, p) + rng.normal(size=n)
