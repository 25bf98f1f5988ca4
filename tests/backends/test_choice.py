"""Choosing a backend: words, refusals, what jax is left like, and no compilation for a data set of another size."""

from __future__ import annotations

import pickle
import sys
from contextlib import nullcontext

import jax
import jax.numpy as jnp
import numpy as np
import polars as pl
import pytest

from inference_core import model, set_backend
from inference_core.backends import chosen_backend, jax_runtime
from inference_core.errors import InferenceError


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    set_backend("auto")


@pytest.fixture(scope="module")
def compilations():
    """Counts what jax compiles, or reads from its folder."""
    seen = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, _duration, **_: seen.append(event) if event.endswith("jaxpr_trace_duration") else None
    )
    return seen


def data_of(n: int) -> pl.DataFrame:
    rng = np.random.default_rng(n)
    x, z = rng.normal(size=n), rng.normal(size=n)
    return pl.DataFrame({
        "x": x, "z": z, "y": x + rng.normal(size=n), "count": rng.poisson(np.exp(0.3 * x)).astype(float)
    })  # fmt: skip


def test_the_default_follows_set_backend():
    assert chosen_backend() == "numpy"  # auto
    set_backend("jax")
    assert chosen_backend() == "jax"
    stream = model("y ~ x", data_of(30)).fit().draw_stream("boot", seed=1)
    assert stream.kernel.jax is not None
    stream = model("y ~ x", data_of(30), backend="numpy").fit().draw_stream("boot", seed=1)
    assert stream.kernel.jax is None


@pytest.mark.parametrize("word", ["torch", "", None, 3, "JAX"])
def test_other_words_are_refused(word):
    with pytest.raises(InferenceError, match="'numpy', 'jax'"):
        set_backend(word)
    with pytest.raises(InferenceError, match="'numpy', 'jax'"):
        model("y ~ x", data_of(30), backend=word)


@pytest.mark.parametrize("ask", [lambda: set_backend("jax"), lambda: model("y ~ x", data_of(30), backend="jax")])
def test_a_missing_jax_is_said(monkeypatch, ask):
    monkeypatch.setitem(sys.modules, "jax", None)
    jax_runtime._jax.cache_clear()
    try:
        with pytest.raises(InferenceError, match=r"jax cannot be imported[\s\S]*pip install jax"):
            ask()
    finally:
        monkeypatch.undo()
        jax_runtime._jax.cache_clear()


def test_a_jax_without_float64_is_said(monkeypatch):
    monkeypatch.setattr(jax_runtime, "float64", nullcontext)
    with pytest.raises(InferenceError, match="single precision"):
        set_backend("jax")


def test_jax_is_left_in_single_precision():
    before = jnp.ones(2).dtype
    model("y ~ x", data_of(30), backend="jax").fit().infer(how="boot", n_boot=100, seed=1)
    assert jnp.ones(2).dtype == before == np.float32


@pytest.mark.parametrize(("formula", "options"), [("y ~ x + z", {}), ("count ~ x + z", {"family": "poisson"})])
def test_another_size_does_not_compile_again(compilations, formula, options):
    """65 to 128 rows are one shape, two columns or one more another."""

    def run(n):
        m = model(formula, data_of(n), backend="jax", **options).fit()
        m.infer(how="boot", n_boot=300, seed=1, ci_type="percentile")

    run(100)
    before = len(compilations)
    assert before > 0
    run(77)
    run(128)
    assert len(compilations) == before


def test_other_groups_and_rows_of_a_mixed_model_do_not_compile_again(compilations):
    def run(groups, rows):
        rng = np.random.default_rng(groups)
        g = np.repeat(np.arange(groups), rows)
        x = rng.normal(size=g.size)
        y = x + rng.normal(size=groups)[g] + rng.normal(size=g.size)
        m = model("y ~ x + (1 | g)", pl.DataFrame({"x": x, "y": y, "g": g.astype(str)}), backend="jax").fit()
        m.draw_stream("boot", scheme="parametric", seed=1).collect(100)

    run(20, 6)
    before = len(compilations)
    run(27, 5)
    run(18, 9)
    assert len(compilations) == before


@pytest.mark.parametrize(("formula", "options"), [("y ~ x", {}), ("count ~ x", {"family": "poisson"})])
def test_a_kernel_travels_in_double_precision(formula, options):
    """Another process has not switched it on when it unpickles."""
    stream = model(formula, data_of(40), backend="jax", **options).fit().draw_stream("boot", seed=1)
    counts = stream.rng.counts(0, 16, 40).astype(float)
    there = pickle.loads(pickle.dumps(stream.kernel))
    np.testing.assert_array_equal(there.refit(counts)[0], stream.kernel.refit(counts)[0])


def test_padded_sizes():
    assert [jax_runtime.padded_rows(n) for n in (1, 64, 65, 128, 1000)] == [64, 64, 128, 128, 1024]
    assert [jax_runtime.padded_columns(r) for r in (1, 2, 3, 4, 5, 7, 9, 13, 17)] == [2, 2, 3, 4, 6, 8, 12, 16, 24]
    assert [jax_runtime.padded_lanes(b, 2048) for b in (1, 17, 300, 2048, 5000)] == [16, 256, 2048, 2048, 8192]
    assert [jax_runtime.padded_lanes(b, 64) for b in (1, 17, 65)] == [16, 64, 128]


def test_the_cache_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert jax_runtime.cache_folder() == tmp_path / "inference_core" / "jax"
