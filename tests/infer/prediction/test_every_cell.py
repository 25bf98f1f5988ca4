"""Every kind of model with what models come with: finite limits in order, or a refusal that names the way out."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest

from inference_core import load_dataset, model
from inference_core.errors import InferenceCoreError


def _penguins() -> pl.DataFrame:
    frame = load_dataset("penguins_na")
    return frame.with_columns(w=1.0 + pl.int_range(frame.height) % 3, off=0.1 * (pl.int_range(frame.height) % 5))


def _sleep() -> pl.DataFrame:
    frame = load_dataset("sleepstudy")
    return frame.with_columns(
        w=1.0 + pl.int_range(frame.height) % 3, off=0.1 * (pl.int_range(frame.height) % 5),
        late=pl.when(pl.col("Days") > 4).then(pl.lit("late")).otherwise(pl.lit("early")),
        count=(pl.col("Reaction") / 20).round(),
    )  # fmt: skip


MODELS = {
    "lm weights": ("body_mass_g ~ species * sex + bill_length_mm", _penguins, {"weights": "w"}),
    "lm offset, bs": ("body_mass_g ~ bs(flipper_length_mm, 4) + offset(off)", _penguins, {}),
    "lm rank": ("body_mass_g ~ flipper_length_mm + I(2 * flipper_length_mm) + species", _penguins, {}),
    "glm weights, probit": ("sex ~ body_mass_g + species", _penguins, {"family": "binomial", "link": "probit"}),
    "glm gamma weights": ("body_mass_g ~ poly(flipper_length_mm, 2) + sex", _penguins,
                          {"family": "gamma", "link": "log", "weights": "w", "offset": "off"}),
    "glm sqrt": ("count ~ Days * late", _sleep, {"family": "poisson", "link": "sqrt"}),
    "lmer weights": ("Reaction ~ poly(Days, 2) + late + (1 | Subject)", _sleep, {"weights": "w"}),
    "lmer offset": ("Reaction ~ Days + I(2 * Days) + offset(off) + (Days || Subject)", _sleep, {}),
    "lmer ml": ("log(Reaction) ~ Days + (Days | Subject)", _sleep, {"method": "ml"}),
    "glmer offset": ("count ~ Days + offset(off) + (1 | Subject)", _sleep, {"family": "poisson"}),
    "glmer gamma": ("Reaction ~ Days + (1 | Subject)", _sleep, {"family": "gamma", "link": "log"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def fits():
    made = {}

    def fitted(name):
        if name not in made:
            formula, frame, options = MODELS[name]
            made[name] = model(formula, frame(), **options).fit()
        return made[name]

    return fitted


CELLS = [
    (name, how, varying)
    for name in MODELS for how in ("asymp", "boot", "cv")
    for varying in (("exclude", "include") if "mer" in name else ("exclude",))
]  # fmt: skip


@pytest.mark.parametrize(("name", "how", "varying"), CELLS)
def test_cell(fits, name, how, varying):
    m = fits(name)
    options = {"how": how}
    if how == "boot":
        options |= {"seed": 1, "n_boot": 99, "ci_type": "percentile", "conf_level": 0.8}
    if how == "cv":
        options |= {"seed": 1, "k": 4}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few draws and folds, told elsewhere
        table = m.predict(varying=varying).infer(**options).predictions
    fitted = table["fitted"].to_numpy()
    assert table.height == m.bundle.n
    assert np.isfinite(fitted).all()
    if how == "cv":
        held = table["cv_fitted"].to_numpy()
        assert np.isfinite(held).all()
        np.testing.assert_allclose(held + table["cv_residual"].to_numpy(), m.bundle.y, rtol=1e-9)
        return
    se, low, high = (table[name].to_numpy() for name in ("se", "ci_lower", "ci_upper"))
    assert np.all(se > 0)
    assert np.all(low < high)
    if table["pi_lower"].null_count() == table.height:
        assert any("no prediction limits" in note for note in m.state.pred.inference.notes)
        return
    assert np.all(table["pi_upper"].to_numpy() - table["pi_lower"].to_numpy() > high - low)


@pytest.mark.parametrize("name", MODELS)
def test_shuffles_name_the_way_out_and_joint_tests_are_those_of_the_fit(fits, name):
    m = fits(name).predict()
    with pytest.raises(InferenceCoreError, match="how='boot' or how='asymp', or explore a contrast"):
        m.infer(how="perm")
    assert m.infer(how="joint").effects.height >= 1


@pytest.mark.parametrize("name", ["lm weights", "glm sqrt", "lmer ml"])  # one of each: profiles take their time
def test_profiles_are_those_of_the_fit(fits, name):
    m = fits(name).predict()
    there = m.infer(how="profile").params
    assert there.equals(m.fit().infer(how="profile").params)
